"""Prometheus metrics of the review."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from gate import Label
from service.metrics.merging import make_gauge, or_nan
from service.records.tables import Verdict
from service.review.audit import Audit
from service.review.progress import Waiting
from service.review.second_reading import Agreement
from service.review.served_version import ServedVersion

_ALL = "all"


class ReviewMetrics:
    """Review queue, verdicts and audit.

    All processes that share a store export the same values; only the counter of verdicts is per process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queue = make_gauge(
            "review_queue_images",
            "Images waiting for a verdict, by review kind",
            ["kind"],
            merge="asked",
            registry=registry,
        )
        for kind in ("discarded", "audit", "second"):
            self._queue.labels(kind)
        self._verdicts = Counter(
            "lensgate_verdicts", "Verdicts given through this process", ["verdict"], registry=registry
        )
        for verdict in Verdict:
            self._verdicts.labels(verdict)
        self._errors = _ErrorMetrics(registry)
        self._certificate = _CertificateMetrics(registry)
        self._evidence = _EvidenceMetrics(registry)
        self._kappa = _unknown(
            "audit_kappa", "Cohen's kappa of first and second verdicts on audited images", registry=registry
        )

    def observe_verdict(self, verdict: Verdict) -> None:
        """Count one new or changed verdict."""
        self._verdicts.labels(verdict).inc()

    def update(self, waiting: Waiting, audit: Audit, agreement: Agreement) -> None:
        """Export the latest counts."""
        self._queue.labels("discarded").set(waiting.discarded)
        self._queue.labels("audit").set(waiting.audit)
        self._queue.labels("second").set(waiting.second)
        self._kappa.set(or_nan(agreement.kappa))
        self._errors.update(audit)
        self._evidence.update(audit)

    def update_certificate(self, served: ServedVersion) -> None:
        """Export the certified risks of the served version."""
        self._certificate.update(served)


class _ErrorMetrics:
    """The error of the audited images of the served version, and its interval."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = make_gauge(
            "audit_images",
            "Audited images of the served version with the verdict glasses or no_glasses",
            merge="asked",
            registry=registry,
        )
        self._errors = make_gauge(
            "audit_errors",
            "Audited images whose verdict differs from the model's label",
            merge="asked",
            registry=registry,
        )
        self._ratio = _unknown("audit_error_ratio", "Share of audited images labelled wrongly", registry=registry)
        self._lower = _unknown(
            "audit_error_lower", "Lower bound of the exact 95 % interval of the audit error", registry=registry
        )
        self._upper = _unknown(
            "audit_error_upper", "Upper bound of the exact 95 % interval of the audit error", registry=registry
        )

    def update(self, audit: Audit) -> None:
        self._images.set(audit.images)
        self._errors.set(audit.errors)
        self._ratio.set(or_nan(audit.error_ratio))
        self._lower.set(or_nan(audit.error_lower))
        self._upper.set(or_nan(audit.error_upper))


class _CertificateMetrics:
    """The risks that the card of the served version certifies."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._risk = _unknown(
            "certified_risk", "Error share among accepted images certified by the model's card", registry=registry
        )
        self._class_risk = _unknown_by_label(
            "certified_class_risk",
            "Error share certified among the images accepted with the label; NaN if none is",
            registry=registry,
        )
        self._class_bound = _unknown_by_label(
            "certified_class_bound",
            "Upper bound of the error share among the images accepted with the label",
            registry=registry,
        )

    def update(self, served: ServedVersion) -> None:
        self._risk.set(or_nan(served.certified_risk))
        for label in Label:
            certified = served.classes.get(label)
            self._class_risk.labels(label).set(or_nan(served.promised(label)))
            self._class_bound.labels(label).set(or_nan(certified.bound if certified else None))


class _EvidenceMetrics:
    """The evidence of the verdicts about the certified risks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._above = _unknown_by_label(
            "audit_evidence_above",
            "Evidence (e-value) that the risk of the label exceeds the certified one",
            _ALL,
            registry=registry,
        )
        self._below = _unknown_by_label(
            "audit_evidence_below",
            "Evidence (e-value) that the risk of the label is below the certified one",
            _ALL,
            registry=registry,
        )
        self._broken = _unknown(
            "audit_broken_promise",
            "Evidence (e-value) that the promises of the model's card do not hold together",
            registry=registry,
        )

    def update(self, audit: Audit) -> None:
        self._broken.set(or_nan(audit.broken_promise))
        for label, estimate in ((_ALL, audit), *audit.classes.items()):
            self._above.labels(label).set(or_nan(estimate.evidence_above))
            self._below.labels(label).set(or_nan(estimate.evidence_below))


def _unknown(name: str, text: str, *, registry: CollectorRegistry) -> Gauge:
    """Make a gauge that is NaN until its value is read from the store."""
    gauge = make_gauge(name, text, merge="asked", registry=registry)
    gauge.set(math.nan)
    return gauge


def _unknown_by_label(name: str, text: str, *others: str, registry: CollectorRegistry) -> Gauge:
    """Make a gauge for each label of an image, and for `others`, that is NaN until its value is read."""
    gauge = make_gauge(name, text, ["label"], merge="asked", registry=registry)
    for label in (*Label, *others):
        gauge.labels(label).set(math.nan)
    return gauge
