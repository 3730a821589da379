"""TLS: the certificate in use, taken up anew when its files change."""

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
    """A certificate with its key, for as many handshakes as come; one that cannot be used leaves the one before.

    Args:
        certificate: PEM file of the chain.
        key: PEM file of its key.
        metrics: are told whether it could be loaded.

    Raises:
        SettingsError: it cannot be used at the start.
    """

    def __init__(self, certificate: Path, key: Path, *, metrics: CertificateMetrics) -> None:
        self._files = (certificate, key)
        self._metrics = metrics
        self.watch = FileWatch(self._files, self.load)
        self.context = load_context(certificate, key)
        self._current = self.context
        # The context that listens stays: each handshake goes on with the one that was loaded last, which was whole.
        self.context.sni_callback = self._choose

    def load(self) -> None:
        """Read the files again."""
        try:
            self._current = load_context(*self._files)
        except SettingsError as error:
            self._metrics.observe_load(failed=True)
            log.error("the certificate stays as it was: %s", error)
            return
        self._metrics.observe_load(failed=False)
        log.info("certificate loaded")

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, first: ssl.SSLContext) -> None:  # noqa: ARG002
        connection.context = self._current


def load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context for a server with this certificate: TLS 1.2 and later, HTTP/1.1.

    Raises:
        SettingsError: the files cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _check_readable(certificate, "LENSGATE_TLS_CERTIFICATE")
    _check_readable(key, "LENSGATE_TLS_KEY")
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"{certificate} and {key} are no certificate and its key: {_describe(error)}") from error
    return context


def _check_readable(path: Path, setting: str) -> None:
    try:
        read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"{setting}: {error}") from error


def _describe(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is another certificate's"
    return "no PEM, or a key with a password" if isinstance(error, ssl.SSLError) else str(error)
