"""The knobs of a training run, in one frozen object that goes into the model's card."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from common.storage import AnyPath
from training.errors import DataError

SIZES = (32, 64, 128)
"""Edges of the input that the paper compares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The paper's network and schedule are the defaults; `PRESETS` names what else was found to be worth its cost."""

    size: int = 64  # edge of the input in pixels, one of `SIZES`
    filters: tuple[int, ...] = (32, 64, 128)  # one block each
    kernel: int = 3  # edge of a convolution
    pooling: Literal["max", "average"] = "max"  # at the end of a block
    head: Literal["flatten", "average"] = "flatten"  # what is left of the picture's places after the last block
    dense: int = 0  # neurons between the last block and the answer; 0: none
    dropout: float = 0.5  # before each dense layer
    batch_size: int = 32
    learning_rate: float = 1e-3  # Adam's, at the start
    schedule: Literal["exponential", "cosine"] = "exponential"
    decay_rate: float = 0.9  # exponential: the rate shrinks by this
    decay_steps: int = 150  # exponential: every so many batches
    epochs: int = 40  # at most
    patience: int = 10  # epochs without a better validation loss before it stops; 0: never
    augment: float = 0.0  # how far images are turned, shifted, zoomed and lit otherwise; 0: not at all, 1: far

    def settings(self) -> dict[str, float | int | str | bool]:
        """As it stands in the card."""
        return {**asdict(self), "filters": " ".join(map(str, self.filters))}

    @classmethod
    def from_settings(cls, settings: dict[str, float | int | str | bool]) -> "Preset":
        """Back from a card."""
        values: dict[str, Any] = {**settings, "filters": tuple(int(one) for one in str(settings["filters"]).split())}
        return cls(**values)

    @classmethod
    def read(cls, path: AnyPath) -> "Preset":
        """The settings in a `best.json` of `lensgate train tune`.

        Raises:
            DataError: it is not there, or is none.
        """
        try:
            return cls.from_settings(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no settings: run `lensgate train tune` first") from error

    def changed(self, **options: Any) -> "Preset":
        """The preset with those options that are not None.

        Raises:
            DataError: the picture would be gone before the last block.
        """
        changed = replace(self, **{key: value for key, value in options.items() if value is not None})
        if changed.size < 2 ** len(changed.filters):
            raise DataError(f"{len(changed.filters)} blocks halve {changed.size} pixels to nothing: take fewer")
        return changed


KNOBS = frozenset(field.name for field in fields(Preset))
"""Names of all settings; what a study varies and a tuner tries is one of these."""

PRESETS = {
    # The paper's: three blocks, an exponential schedule, images as they are.
    "paper": Preset(),
    # The shipped model's. A fourth block and half the filters: a third of the multiplications, .46 ms an image on one
    # core against 1.1. Augmented for generators it has not seen, on a cosine so that its last epoch is a calm one. On
    # the 1,338 stand-in faces and 170 drawn ones of seed 0 it took 5 minutes on two busy cores and reached, on faces of
    # other generators, .996 accuracy and .010 log loss: `make train`. Twice the filters reached .996 and .025.
    "gate": Preset(
        filters=(16, 32, 64, 128), schedule="cosine", learning_rate=2e-3, augment=0.6, epochs=50, patience=0
    ),
}
