"""The gate's responses about images."""

from dataclasses import dataclass
from typing import Literal

from lensgate_client.errors import GateError

Label = Literal["glasses", "no_glasses"]
"""The content of an image, as the model sees it or as the generator was asked for."""


@dataclass(frozen=True, slots=True)
class Band:
    """Range of probabilities, bounds included, that the gate treats as too uncertain."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a gate serves; `size` is the edge length of its input in pixels."""

    name: str
    version: str
    size: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's decision about one image.

    `id` identifies the decision in the gate's record. `reason` is one of `confident`, `uncertain`, `unfamiliar` and
    `contradicted`. `novelty` is None if the model has no novelty score. `band` is None if the image was sent as a
    tensor, because that protocol does not carry it.
    """

    id: str
    glasses_probability: float
    label: Label
    decision: Literal["accept", "discard"]
    reason: str
    novelty: float | None
    band: Band | None
    model_name: str
    model_version: str

    @property
    def accepted(self) -> bool:
        """Whether the gate accepted the image."""
        return self.decision == "accept"


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """One of several images that could not be scored; the other images are not affected."""

    id: str
    error: GateError

    def __post_init__(self) -> None:
        # The traceback's frames would keep the image in memory.
        self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None

    @property
    def code(self) -> str:
        """Error code: `not_square`, `corrupt_image` or similar."""
        return self.error.code

    @property
    def detail(self) -> str:
        """Error text for people."""
        return self.error.detail

    @property
    def accepted(self) -> bool:
        """Always False."""
        return False


Outcome = Decision | ImageFailed
"""The result for one of several images."""
