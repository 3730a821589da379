"""Metrics of the shadow version."""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Histogram

from gate import Card
from service.metrics.instruments import counter_by
from service.metrics.merging import make_gauge

_DIFFERENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

ShadowResult = Literal["scored", "dropped", "failed"]


class ShadowMetrics:
    """Compares the shadow version with the served one; all series stay at 0 without a shadow. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = counter_by(
            "result",
            get_args(ShadowResult),
            name="lensgate_shadow_images",
            text="Images sent to the shadow version",
            registry=registry,
        )
        self._disagreements = counter_by(
            "kind",
            ("label", "decision"),
            name="lensgate_shadow_disagreements",
            text="Images for which the shadow's label or decision differs from the served one",
            registry=registry,
        )
        self._difference = Histogram(
            "lensgate_shadow_score_difference",
            "Absolute difference between the shadow's probability and the served one",
            buckets=_DIFFERENCES,
            registry=registry,
        )
        labels = ("name", "version", "sha256")
        self._info = make_gauge("shadow_info", "The shadow model", labels, merge="max", registry=registry)

    def serve(self, card: Card) -> None:
        """Export the version that shadows."""
        self._info.labels(card.name, card.version, card.sha256).set(1)

    def observe(self, result: ShadowResult, images: int) -> None:
        """Count images by result."""
        self._images.add((result,), images)

    def compare(self, difference: float, *, label: bool, decision: bool) -> None:
        """Record the difference of two probabilities, and whether label and decision differ."""
        self._difference.observe(difference)
        if label:
            self._disagreements.add(("label",))
        if decision:
            self._disagreements.add(("decision",))
