"""The settings of a training run, in one frozen object that is copied into the model's card."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from common.storage import AnyPath
from common.suggestion import did_you_mean
from gate.validation import explain
from training.errors import DataError

SIZES = (32, 64, 128)
"""Input sizes that the paper compares, in pixels."""
MIN_TOWERS_SIZE = 128
"""Smallest input, in pixels, for a second tower: below it thin frames are less than a pixel wide."""

_LISTS = ("filters", "band_filters")

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Settings of network and training; the defaults are the paper's, `PRESETS` holds the named alternatives."""

    size: Count = 64  # edge of the input in pixels, one of `SIZES`
    filters: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 128)  # one block each
    band_filters: tuple[Count, ...] = ()  # blocks of a second tower, which sees the eyes; empty: one tower
    kernel: Count = 3  # edge of a convolution
    pooling: Literal["max", "average"] = "max"  # at the end of a block
    normalisation: Literal["after pooling", "before activation"] = "after pooling"  # place of it in a block
    head: Literal["flatten", "average", "average and maximum"] = "flatten"  # how the last maps become a vector
    dense: Annotated[int, Field(ge=0)] = 0  # neurons of an extra dense layer; 0: no extra layer
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # before each dense layer
    batch_size: Count = 32
    learning_rate: Annotated[float, Field(gt=0, lt=math.inf)] = 1e-3  # Adam's, at the start
    schedule: Literal["exponential", "cosine"] = "exponential"
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.9  # exponential: factor per decay step
    decay_steps: Count = 150  # exponential: batches per decay step
    epochs: Count = 40  # maximum
    patience: Annotated[int, Field(ge=0)] = 10  # epochs without improvement before early stopping; 0: never stop early
    augment: Share = 0.0  # strength of augmentation, 0 (none) to 1
    # Pictures drawn from training portraits without glasses, as shares of their number:
    thin_frames: Share = 0.0  # thin frames, labelled glasses
    ghosts: Share = 0.0  # parts of a pair, with the label 0.5
    creases: Share = 0.0  # lines that resemble a rim, labelled none
    exchanged_eyes: Share = 0.0  # eyes of one training face on another, as a share of all, with the label of the eyes

    def settings(self) -> dict[str, float | int | str | bool]:
        """Return the settings in the form of the card."""
        return {**asdict(self), **{name: " ".join(map(str, getattr(self, name))) for name in _LISTS}}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Preset":
        """Parse settings, in the form of the card or as JSON; a missing one is the paper's.

        Raises:
            ValueError: a setting is unknown or invalid; the text names it.
        """
        known = [field.name for field in fields(cls)]
        if unknown := next((name for name in settings if name not in known), None):
            raise ValueError(f"{unknown} is not a setting{did_you_mean(unknown, known)}")
        lists = {name: settings[name].split() for name in _LISTS if isinstance(settings.get(name), str)}
        try:
            return TypeAdapter(cls).validate_python({**settings, **lists})
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {explain(fault)}" for fault in error.errors())
            raise ValueError(f"invalid setting: {faults}") from error

    @classmethod
    def read(cls, path: AnyPath) -> "Preset":
        """Read a JSON object of settings, as `lensgate train tune` writes it; a missing setting is the paper's.

        Raises:
            DataError: the file is missing or invalid.
        """
        try:
            return cls.from_settings(read_settings(path))
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error

    def changed(self, **options: Any) -> "Preset":
        """Return a copy with the given options; None keeps a setting.

        Raises:
            DataError: the image is too small for the number of blocks.
        """
        changed = replace(self, **{key: value for key, value in options.items() if value is not None})
        # With two towers, the first sees the image at half the size.
        edge = changed.size // 2 if changed.band_filters else changed.size
        if edge < 2 ** len(changed.filters):
            raise DataError(f"{len(changed.filters)} blocks reduce {edge} pixels to 0: use fewer")
        if changed.band_filters and changed.size < MIN_TOWERS_SIZE:
            raise DataError(
                f"a second tower (band_filters) needs at least {MIN_TOWERS_SIZE} pixels: prepare the records with "
                f"--size {MIN_TOWERS_SIZE}, or use --preset paper"
            )
        return changed


def read_settings(path: AnyPath) -> dict[str, Any]:
    """Read a JSON object without checking its settings.

    Raises:
        DataError: the file is missing, not such an object, or sets something twice.
    """
    try:
        settings = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no settings ({error}): `lensgate train tune` writes a best.json") from error
    if not isinstance(settings, dict):
        raise DataError(f'{path} holds no settings: they are a JSON object such as {{"epochs": 10}}')
    return settings


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in pairs:
        if name in settings:
            raise ValueError(f"{name} is set twice")
        settings[name] = value
    return settings


PRESETS = {
    # The paper's: three blocks, an exponential schedule, images as they are.
    "paper": Preset(),
    # The shipped model: two towers, as thin frames are half a pixel wide in the 64 pixels that one tower can afford.
    # Augmentation and drawn pictures are for unseen generators; the cosine schedule makes the last epoch stable.
    "gate": Preset(
        size=128,
        filters=(16, 32, 64, 128),
        band_filters=(16, 32, 64, 64),
        normalisation="before activation",
        head="average and maximum",
        schedule="cosine",
        learning_rate=2e-3,
        batch_size=64,
        augment=0.7,
        thin_frames=0.5,
        ghosts=0.2,
        creases=0.25,
        exchanged_eyes=1.0,
        epochs=22,
        patience=0,
    ),
}
