"""Propose the candidate edges that `certify` tests, without the labels that it uses."""

from collections.abc import Mapping, Sequence

import numpy as np

from gate import Label
from training.errors import DataError
from training.evaluation.calibrate import Floats, Values
from training.evaluation.raw_band import SIGNS, RawBand

# Shares of the proposing split's images of a label that the candidates accept: 80 % to 100 % in steps of 0.1 %.
COVERAGES = tuple(round(0.8 + step / 1000, 3) for step in range(201))

Edges = Mapping[Label, Sequence[float]]
"""Raw logits of each label, most careful first."""


def propose_edges(logits: Values, *, coverages: Sequence[float] = COVERAGES) -> dict[Label, tuple[float, ...]]:
    """Propose candidates for `certify`, most careful first: for each label raw logits on its side of 0.

    A label that no image has gets no candidates.

    Args:
        logits: raw, `[N]`, of a split whose labels `certify` does not use; labels are not needed.
        coverages: shares of the images of each label to accept, in (0, 1]; at 1 only logit 0 itself is discarded.

    Raises:
        DataError: there are no logits, or one is not finite.
        ValueError: a coverage is not in (0, 1].
    """
    scores = np.asarray(logits, np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise DataError("proposing a band takes at least one logit, and all must be finite")
    if not all(0.0 < coverage <= 1.0 for coverage in coverages):
        raise ValueError("coverages lie in (0, 1]")
    sides = {Label.GLASSES: scores[scores >= 0], Label.NO_GLASSES: -scores[scores < 0]}
    return {
        label: tuple(
            dict.fromkeys(SIGNS[label] * _edge(np.sort(margins), coverage) for coverage in sorted(coverages))
            if len(margins)
            else ()
        )
        for label, margins in sides.items()
    }


def up_to(edges: Edges, band: RawBand) -> dict[Label, tuple[float, ...]]:
    """End each sequence at the edge of `band`, so that the certified band contains it.

    The share of errors among many easy images can meet the target although the least certain ones are often wrong.
    """
    return {
        label: (*(edge for edge in edges[label] if sign * (edge - band.edge(label)) > 0), band.edge(label))
        for label, sign in SIGNS.items()
    }


def _edge(margins: Floats, coverage: float) -> float:
    # Rounded, because 1 - 0.8 is slightly below 0.2 as a float. Edges are interpolated between images: with few
    # uncertain images, steps from one image to the next would skip most useful edges.
    discarded = round((1 - coverage) * len(margins), 6)
    return float(np.interp(discarded, np.arange(len(margins) + 1), [0.0, *margins]))
