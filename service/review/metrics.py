"""Prometheus metrics of the review."""

import math
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from gate import Label
from service.metrics.merging import make_gauge
from service.records.tables import Verdict
from service.review.audit import Audit
from service.review.progress import Waiting
from service.review.second_reading import Agreement
from service.review.served import Served

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

        def gauge(name: str, text: str) -> Gauge:
            return make_gauge(name, text, merge="asked", registry=registry)

        def by_label(name: str, text: str, others: Sequence[str] = ()) -> Gauge:
            made = make_gauge(name, text, ["label"], merge="asked", registry=registry)
            for label in (*Label, *others):
                made.labels(label).set(math.nan)
            return made

        self._images = gauge(
            "audit_images", "Audited images of the served version with the verdict glasses or no_glasses"
        )
        self._errors = gauge("audit_errors", "Audited images whose verdict differs from the model's label")
        self._ratio = gauge("audit_error_ratio", "Share of audited images labelled wrongly")
        self._lower = gauge("audit_error_lower", "Lower bound of the exact 95 % interval of the audit error")
        self._upper = gauge("audit_error_upper", "Upper bound of the exact 95 % interval of the audit error")
        self._certified = gauge("certified_risk", "Error share among accepted images certified by the model's card")
        self._class_risk = by_label(
            "certified_class_risk", "Error share certified among the images accepted with the label; NaN if none is"
        )
        self._class_bound = by_label(
            "certified_class_bound", "Upper bound of the error share among the images accepted with the label"
        )
        self._above = by_label(
            "audit_evidence_above", "Evidence (e-value) that the risk of the label exceeds the certified one", [_ALL]
        )
        self._below = by_label(
            "audit_evidence_below", "Evidence (e-value) that the risk of the label is below the certified one", [_ALL]
        )
        self._broken = gauge(
            "audit_broken_promise", "Evidence (e-value) that the promises of the model's card do not hold together"
        )
        self._kappa = gauge("audit_kappa", "Cohen's kappa of first and second verdicts on audited images")
        for unknown in (self._kappa, self._broken, self._ratio, self._lower, self._upper, self._certified):
            unknown.set(math.nan)

    def observe_verdict(self, verdict: Verdict) -> None:
        """Count one new or changed verdict."""
        self._verdicts.labels(verdict).inc()

    def update(self, waiting: Waiting, audit: Audit, agreement: Agreement) -> None:
        """Export the latest counts."""
        self._queue.labels("discarded").set(waiting.discarded)
        self._queue.labels("audit").set(waiting.audit)
        self._queue.labels("second").set(waiting.second)
        self._kappa.set(_number(agreement.kappa))
        self._images.set(audit.images)
        self._errors.set(audit.errors)
        self._ratio.set(_number(audit.error_ratio))
        self._lower.set(_number(audit.error_lower))
        self._upper.set(_number(audit.error_upper))
        self._broken.set(_number(audit.broken_promise))
        for label, one in ((_ALL, audit), *audit.classes.items()):
            self._above.labels(label).set(_number(one.evidence_above))
            self._below.labels(label).set(_number(one.evidence_below))

    def update_certificate(self, served: Served) -> None:
        """Export the certified risks of the served version."""
        self._certified.set(_number(served.certified_risk))
        for label in Label:
            one = served.classes.get(label)
            self._class_risk.labels(label).set(_number(served.promised(label)))
            self._class_bound.labels(label).set(_number(one.bound if one else None))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
