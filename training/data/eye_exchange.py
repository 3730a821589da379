"""Put the eyes of one training face on another, so that a network learns the eyes and not what surrounds them.

A network that has few faces with glasses also learns which hair, age and background they have, and errs where a
generator combines them otherwise. An exchange keeps the label of the eyes and changes everything else (G. Ghiasi et
al., *Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation*, 2021). Half of the exchanged
eyes wear glasses, and the seam is the same for both labels, so that the network cannot learn the label from it.

Portraits are aligned, so that the eyes of one lie where those of another do.
"""

import numpy as np
from numpy.typing import NDArray

from gate.pixels import Pixels

ROWS, COLUMNS = (0.33, 0.62), (0.15, 0.85)  # The region in shares of the edge.
SOFT_ROWS, SOFT_COLUMNS = 0.06, 0.08  # Width of its border, in which one face turns into the other.


def exchange_eyes(
    faces: Pixels, labels: NDArray[np.float32], count: int, *, seed: int
) -> tuple[Pixels, NDArray[np.float32], NDArray[np.intp]]:
    """Put the eyes of random faces on random faces without glasses.

    Args:
        faces: uint8 `[N, S, S, 3]`.
        labels: `[N]` of 0 and 1.
        count: the number of pictures.
        seed: equal seeds give equal pictures.

    Returns:
        The pictures, uint8 `[count, S, S, 3]`, their labels `[count]`, and the index of the face that each was made
        from, `[count]`. They are empty if no face has glasses, or all have.
    """
    random = np.random.default_rng(seed)
    glasses, none = np.flatnonzero(labels > 0.5), np.flatnonzero(labels <= 0.5)
    if not count or not len(glasses) or not len(none):
        return faces[:0], labels[:0], none[:0]
    eyes = np.concatenate([random.choice(glasses, count // 2), random.choice(none, count - count // 2)])
    onto = random.choice(none, count)
    share = _region(faces.shape[1])
    pictures = [_blended(faces[one], faces[other], share) for one, other in zip(eyes, onto, strict=True)]
    return np.stack(pictures), labels[eyes], onto


def _blended(eyes: Pixels, face: Pixels, share: NDArray[np.float64]) -> Pixels:
    blended: Pixels = np.rint(eyes * share + face * (1 - share)).astype(np.uint8)
    return blended


def _region(size: int) -> NDArray[np.float64]:
    """The share of the eyes in each pixel, `[S, S, 1]`: 1 within the region, 0 outside, between them in its border."""
    return (_soft(size, ROWS, SOFT_ROWS)[:, np.newaxis] * _soft(size, COLUMNS, SOFT_COLUMNS))[..., np.newaxis]


def _soft(size: int, ends: tuple[float, float], border: float) -> NDArray[np.float64]:
    place = np.arange(size) / size
    return np.clip((place - ends[0]) / border, 0, 1) * np.clip((ends[1] - place) / border, 0, 1)
