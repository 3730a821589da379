"""What is measured of access; every series exists at 0 from the start."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class AccessMetrics:
    """Tokens that could not be loaded, and callers that could not be told. Safe in threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load_failed = Gauge(
            "lensgate_tokens_load_failed", "1 while the file of tokens is not what is gone by", registry=registry
        )
        self._failures = Counter(
            "lensgate_authentication_failures",
            "Requests with a token or a session that is not known",
            registry=registry,
        )

    def observe_load(self, *, failed: bool) -> None:
        """The file of tokens was read, or could not be."""
        self._load_failed.set(failed)

    def observe_failure(self) -> None:
        """Count one request whose token, or session, is not known."""
        self._failures.inc()


class CertificateMetrics:
    """Whether the certificate on disk is the one in use. Safe in threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load_failed = Gauge(
            "lensgate_certificate_load_failed", "1 while the certificate on disk cannot be used", registry=registry
        )

    def observe_load(self, *, failed: bool) -> None:
        """The certificate was read, or could not be."""
        self._load_failed.set(failed)
