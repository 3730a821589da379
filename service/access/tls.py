"""TLS with a certificate that is reloaded when its files change."""

import logging
import ssl
from pathlib import Path

from gate.files import read_regular
from service.errors import SettingsError
from service.file_watch import FileWatch
from service.metrics.access import CertificateMetrics

log = logging.getLogger(__name__)

_MAX_BYTES = 2**20


class Certificate:
    """A certificate and its key. A failed reload keeps the previous certificate in use.

    Args:
        certificate: PEM file of the chain.
        key: PEM file of its key.
        metrics: receives the result of each load.

    Raises:
        SettingsError: the certificate is unusable at startup.
    """

    def __init__(self, certificate: Path, key: Path, *, metrics: CertificateMetrics) -> None:
        self._files = (certificate, key)
        self._metrics = metrics
        self.watch = FileWatch(self._files, self.load)
        self.context = load_context(certificate, key)
        self._current = self.context
        self.pem = self._read_pem()
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
        return "not a PEM file, or an encrypted key"
    return error.reason.replace("_", " ").lower()
