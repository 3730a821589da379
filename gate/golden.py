"""Golden samples: whether a model computes on this machine what its exported graph computed where it was made."""

from typing import Protocol

import numpy as np

from gate.card import Card, GoldenSample
from gate.errors import ImageError, ModelError
from gate.pixels import read_pixels
from gate.scorer import CUDA, Score, Scores
from gate.types import Pixels

# Other kernels move the shipped graph by 1e-6 of its value; a decoder that errs by one level of 255 moves it by more
# than this. CUDA multiplies with ten bits of mantissa (TF32): so rounded, real faces move by up to 1.2e-3 and their
# novelty by up to 1e-2 of its value, drawn ones by a tenth of that.
CPU_TOLERANCE = 1e-3
CUDA_TOLERANCE = 1e-2


class CanVerify(Protocol):
    """What is verified: a scorer on its device, for uint8 `[N, size, size, 3]`."""

    @property
    def provider(self) -> str: ...

    def score(self, images: Pixels) -> Scores: ...


def check_golden(scorer: CanVerify, card: Card) -> None:
    """Hold what `scorer` says of the card's golden samples against what was said at export.

    The samples are decoded as any image is, so that decoder, runtime and device are verified together. A probability
    may differ by 1e-3 on the CPU and by 1e-2 on CUDA; a novelty by that much of its value, or of 1 where that is less.
    A card without samples passes.

    Raises:
        ModelError: a sample cannot be decoded, or scores otherwise.
        ScoringError: the model failed.
    """
    if not card.golden:
        return
    tolerance = CUDA_TOLERANCE if scorer.provider == CUDA else CPU_TOLERANCE
    images = np.stack([_read(golden, card.input.size) for golden in card.golden])
    for golden, score in zip(card.golden, scorer.score(images).each(), strict=True):
        _compare(golden, score, tolerance)


def _read(golden: GoldenSample, size: int) -> Pixels:
    try:
        return read_pixels(golden.png, size)
    except ImageError as error:
        raise ModelError(f"the golden sample {golden.name!r} cannot be decoded: {error}") from error


def _compare(golden: GoldenSample, score: Score, tolerance: float) -> None:
    pairs = [("glasses_probability", golden.glasses_probability, score.probability, tolerance)]
    if golden.novelty is not None:
        found = float("nan") if score.novelty is None else score.novelty
        pairs.append(("novelty", golden.novelty, found, tolerance * max(1.0, abs(golden.novelty))))
    for output, expected, found, allowed in pairs:
        if not abs(found - expected) <= allowed:
            raise ModelError(
                f"the golden sample {golden.name!r} scores otherwise here than at export: {output} was expected to be "
                f"{expected:g} and is {found:g}, which differ by more than {allowed:g}"
            )
