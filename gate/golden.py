"""Golden samples: check that a model scores the same here as on the machine that exported it."""

from typing import Protocol

import numpy as np

from gate.card import Card, GoldenSample
from gate.errors import ImageError, ModelError
from gate.model_store import Model
from gate.pixels import read_pixels
from gate.scorer import CUDA, Score, Scorer, Scores
from gate.time_limit import LOAD_SECONDS, TimeLimit
from gate.types import Device, Pixels

# Other CPU kernels change the shipped graph's outputs by 1e-6 of their value; a decoder that is off by one level of 255
# changes them by more than this tolerance. CUDA multiplies with ten bits of mantissa (TF32), which changes real faces
# by up to 1.2e-3 and their novelty by up to 1e-2 of its value, and drawn faces by a tenth of that.
CPU_TOLERANCE = 1e-3
CUDA_TOLERANCE = 1e-2


class CanVerify(Protocol):
    """A scorer on its device, for uint8 `[N, size, size, 3]`."""

    @property
    def provider(self) -> str: ...

    def score(self, images: Pixels) -> Scores: ...


def open_scorer(model: Model, *, device: Device = "auto", max_batch_size: int, seconds: float = LOAD_SECONDS) -> Scorer:
    """Put a model on its device, check its golden samples there, and warm it.

    Args:
        model: the verified model.
        device: `cuda` is an error if CUDA cannot be used; `auto` uses it if possible.
        max_batch_size: the most images that are scored at a time.
        seconds: time limit of all this.

    Raises:
        DeviceError: the device or the runtime cannot be used.
        ModelError: the graph does not load in time, differs from its card, or scores a sample differently here.
        ScoringError: the model failed.
    """
    with TimeLimit(seconds) as limit:
        scorer = Scorer(model, device=device, limit=limit)
        with scorer.limited(limit):
            check_golden(scorer, model.card)
            if scorer.provider == CUDA:
                # CUDA prepares each new batch size on first use, so only a few are used, and all of them now.
                scorer.fix_batch_sizes(max_batch_size)
    return scorer


def check_golden(scorer: CanVerify, card: Card) -> None:
    """Compare the scores of the card's golden samples with those at export.

    The samples are decoded like any image, so decoder, runtime and device are verified together. A probability may
    differ by 1e-3 on the CPU and by 1e-2 on CUDA; a novelty by that share of its value, or of 1 if the value is less.
    A card without samples passes.

    Raises:
        ModelError: a sample cannot be decoded, or its scores differ.
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
        actual = float("nan") if score.novelty is None else score.novelty
        pairs.append(("novelty", golden.novelty, actual, tolerance * max(1.0, abs(golden.novelty))))
    for output, expected, actual, allowed in pairs:
        if not abs(actual - expected) <= allowed:
            raise ModelError(
                f"the golden sample {golden.name!r} scores differently here than at export: {output} was expected to "
                f"be {expected:g} and is {actual:g}, which differ by more than {allowed:g}"
            )
