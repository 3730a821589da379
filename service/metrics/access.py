"""Metrics of authentication and TLS; every series exists at 0 from the start."""

from prometheus_client import CollectorRegistry, Counter

from service.metrics.merging import make_gauge


class AccessMetrics:
    """Failed loads of the token file, and failed authentications. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load_failed = make_gauge(
            "tokens_load_failed",
            "1 while the token file is unusable and the previous tokens stay in force",
            merge="max",
            registry=registry,
        )
        self._failures = Counter(
            "lensgate_authentication_failures", "Requests with an unknown token or session", registry=registry
        )

    def observe_load(self, *, failed: bool) -> None:
        """Report the result of reading the token file."""
        self._load_failed.set(failed)

    def observe_failure(self) -> None:
        """Count one request with an unknown token or session."""
        self._failures.inc()


class CertificateMetrics:
    """Failed loads and the end of the certificate. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load_failed = make_gauge(
            "certificate_load_failed",
            "1 while the certificate on disk is unusable and the previous one stays in use",
            merge="max",
            registry=registry,
        )
        self._end = make_gauge(
            "certificate_end_timestamp_seconds",
            "End of the validity of the certificate in use, seconds since 1970; 0 without a certificate",
            merge="min",
            registry=registry,
        )

    def observe_load(self, *, failed: bool) -> None:
        """Report the result of reading the certificate."""
        self._load_failed.set(failed)

    def observe_end(self, end: float) -> None:
        """Report when the certificate in use expires."""
        self._end.set(end)
