"""What the gate says of an image."""

from dataclasses import dataclass
from typing import Literal

from lensgate_client.errors import GateError

Label = Literal["glasses", "no_glasses"]
"""What a picture shows, and what a generator may have been asked for."""


@dataclass(frozen=True, slots=True)
class Band:
    """The probabilities, edges included, that the gate takes for too uncertain."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a gate serves: `size` is the edge of its input in pixels."""

    name: str
    version: str
    size: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer about one image.

    `reason` is one of `confident`, `uncertain`, `unfamiliar` and `contradicted`; `novelty` is None where the model has
    none; `band` is None where the image was sent as a tensor, since that protocol does not tell it. The gate's record
    has the decision under `id`.
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
        """Whether the image is to be kept."""
        return self.decision == "accept"


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """An image that was not judged, where others were: the fault is its own."""

    id: str
    error: GateError

    def __post_init__(self) -> None:
        # Where it was raised is of no use to who reads outcomes, and would hold the image.
        self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None

    @property
    def code(self) -> str:
        """What is wrong: `not_square`, `corrupt_image` ..."""
        return self.error.code

    @property
    def detail(self) -> str:
        """The same for people."""
        return self.error.detail

    @property
    def accepted(self) -> bool:
        """Never."""
        return False


Outcome = Decision | ImageFailed
"""What becomes of one of many images."""
