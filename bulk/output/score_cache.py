"""The scores of images from earlier runs, by the hash of their bytes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gate.scorer import Score, Scores


@dataclass(frozen=True, slots=True)
class ScoreCache:
    """SHA-256 -> scores in 40 bytes per image: `hashes` is `S32` `[N]`, sorted; the others are float32 `[N]`.

    `novelty` is NaN if the model has no novelty output.
    """

    hashes: NDArray[np.bytes_]
    probability: NDArray[np.float32]
    novelty: NDArray[np.float32]

    @classmethod
    def empty(cls) -> Self:
        """Return an empty cache."""
        return cls(np.empty(0, "S32"), np.empty(0, np.float32), np.empty(0, np.float32))

    @classmethod
    def of(cls, hashes: NDArray[np.bytes_], probability: NDArray[np.float32], novelty: NDArray[np.float32]) -> Self:
        """Sort hashes, `S32`, probability and novelty, each `[N]`, by hash and keep one score per image."""
        _, first = np.unique(hashes, return_index=True)
        return cls(hashes[first], probability[first], novelty[first])

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, sha256: bytes) -> Score | None:
        """Return the score of the image with this hash of 32 bytes, or None."""
        if not len(self.hashes):
            return None
        index = int(np.searchsorted(self.hashes, np.bytes_(sha256)))
        # NumPy strips trailing zero bytes from both sides, so the comparison is exact.
        if index == len(self.hashes) or self.hashes[index] != np.bytes_(sha256).rstrip(b"\0"):
            return None
        novelty = self.novelty[index : index + 1]
        scores = Scores(self.probability[index : index + 1], None if np.isnan(novelty[0]) else novelty)
        return scores.each()[0]
