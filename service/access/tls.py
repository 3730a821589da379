"""TLS with a certificate that is reloaded when its files change."""

import logging
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gate.files import read_regular
from service.access.validity import read_ends
from service.concurrency.file_watch import FileWatch
from service.errors import SettingsError
from service.metrics.access import CertificateMetrics

log = logging.getLogger(__name__)

_MAX_BYTES = 2**20
_SOON_SECONDS = 7 * 86_400


class Certificate:
    """A certificate and its key. A failed reload keeps the previous certificate in use.

    Args:
        certificate: PEM file of the chain.
        key: PEM file of its key.
        metrics: receives the result of each load, and the end of the certificate.
        clock: seconds since 1970.

    Raises:
        SettingsError: the certificate is unusable at startup.
    """

    def __init__(
        self, certificate: Path, key: Path, *, metrics: CertificateMetrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._files = (certificate, key)
        self._metrics = metrics
        self._clock = clock
        self.watch = FileWatch(self._files, self.load)
        self.context = load_context(certificate, key)
        self._current = self.context
        self.pem = self._read_pem()
        self._check_end()
        # The listening context stays; each handshake switches to the context of the last successful load.
        self.context.sni_callback = self._choose

    def load(self) -> None:
        """Reload the files."""
        try:
            self._current = load_context(*self._files)
            self.pem = self._read_pem()
        except (SettingsError, OSError) as error:
            self._metrics.observe_load(failed=True)
            log.error("certificate not reloaded, the previous one stays in use: %s", error)
            return
        self._metrics.observe_load(failed=False)
        log.info("certificate loaded")
        self._check_end()

    def _check_end(self) -> None:
        """Warn of certificates that clients refuse or soon will; they stay in use, as there are no better ones."""
        for number, end in enumerate(read_ends(self.pem[0]), 1):
            if number == 1 and end is not None:
                self._metrics.observe_end(end)
            if end is None or end - self._clock() > _SOON_SECONDS:
                continue
            name, day, is_over = self._files[0], datetime.fromtimestamp(end, UTC), end < self._clock()
            if number > 1:
                # Not in the metric: some issuers add a certificate that only old clients need, and let it expire.
                log.warning(
                    "certificate %d in %s, of an issuer, ends on %s: clients that need it then refuse the service",
                    *(number, name, day),
                )
            elif is_over:
                log.error("the certificate %s expired on %s: clients refuse it until it is renewed", name, day)
            else:
                log.warning("the certificate %s expires on %s: renew it, and it is loaded by itself", name, day)

    def _read_pem(self) -> tuple[bytes, bytes]:
        """Return the chain and its key as PEM, for servers that do not use Python's `ssl`."""
        chain, key = self._files
        return read_regular(chain, _MAX_BYTES), read_regular(key, _MAX_BYTES)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, first: ssl.SSLContext) -> None:  # noqa: ARG002
        connection.context = self._current


def load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make a server context with this certificate: TLS 1.2 and later, HTTP/1.1.

    Raises:
        SettingsError: the files are unreadable, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _check_readable(certificate, "LENSGATE_TLS_CERTIFICATE")
    _check_readable(key, "LENSGATE_TLS_KEY")
    try:
        # With a password given, OpenSSL does not prompt for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"cannot use the certificate {certificate} with the key {key}: {_describe(error)}"
        ) from error
    return context


def _check_readable(path: Path, setting: str) -> None:
    try:
        read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"{setting}: {error}") from error


def _describe(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return str(error)
    if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # The latter for a key of another kind.
        return "the key belongs to another certificate, or the chain does not begin with its own"
    if error.reason is None:
        return "both must be PEM files, the first with the certificate, the second with its key, without a password"
    return error.reason.replace("_", " ").lower()
