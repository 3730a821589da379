"""The protocols by which the pipeline reports its work: metrics, shadow and records implement them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gate import Band, Card
from gate.pixels import Pixels
from service.inference.batcher import BatchObserver
from service.inference.preprocess import ModelInputs
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """One request whose N images are decided: N requests, N decisions and the inputs they were scored by."""

    context: RequestContext
    images: Sequence[ImageRequest]
    decisions: Sequence[ImageDecision]
    inputs: ModelInputs


class DecisionObserver(Protocol):
    """Is told about every decided request, in the event loop and before the answer is sent."""

    async def decided(self, request: DecidedRequest) -> None:
        """Note the decisions. The inputs' sources are valid until this returns."""


class InferenceMetrics(BatchObserver, Protocol):
    """Counts runs of the model, and the versions it comes in."""

    def serve(self, card: Card, band: Band, *, provider: str) -> None:
        """Count for another version from now on; the first call is at startup."""

    def observe_load(self, result: Literal["success", "failure"]) -> None:
        """Count one attempt to load the current model."""


class DifferenceObserver(Protocol):
    """Is told about each image that the shadow labels or decides differently, in the shadow's thread."""

    def differs(self, answered: ImageDecision, shadow: ImageDecision, pixels: Pixels) -> None:
        """Note the decisions of both versions, and the image, uint8 `[S, S, 3]`, valid until this returns."""


class ShadowMetrics(Protocol):
    """Counts where the shadow differs from the served version. Called from several threads."""

    def serve(self, card: Card) -> None:
        """Set the version that shadows."""

    def observe(self, result: Literal["scored", "dropped", "failed"], images: int) -> None:
        """Count the outcome of some images."""

    def compare(self, difference: float, *, label: bool, decision: bool) -> None:
        """Note how far apart two probabilities are, and whether label and decision differ."""
