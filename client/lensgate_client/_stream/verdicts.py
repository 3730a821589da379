"""Results of a filter that include rejected images."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lensgate_client.models import Outcome

_Order = TypeVar("_Order")


@dataclass(frozen=True, slots=True)
class Sorted:
    """One image of the generator, unchanged, and the gate's outcome."""

    image: Any
    outcome: Outcome

    @property
    def accepted(self) -> bool:
        """Whether the gate accepted the image."""
        return self.outcome.accepted


@dataclass(frozen=True, slots=True)
class Regenerated(Generic[_Order]):
    """One order: the image of its last attempt, the outcome of that image, and the number of attempts."""

    order: _Order
    image: Any
    outcome: Outcome
    attempts: int

    @property
    def accepted(self) -> bool:
        """Whether the gate accepted the image; False after the last of all allowed attempts."""
        return self.outcome.accepted
