"""What is known already: the scores of images by the hash of their bytes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gate.scorer import Score, Scores


@dataclass(frozen=True, slots=True)
class ScoreCache:
    """SHA-256 -> scores, 40 bytes an image: `hashes` is `S32` `[N]`, sorted; the others float32 `[N]`.

    `novelty` is NaN where the model says none.
    """

    hashes: NDArray[np.bytes_]
    probability: NDArray[np.float32]
    novelty: NDArray[np.float32]

    @classmethod
    def nothing(cls) -> Self:
        """Of a run into an empty folder."""
        return cls(np.empty(0, "S32"), np.empty(0, np.float32), np.empty(0, np.float32))

    @classmethod
    def of(cls, hashes: NDArray[np.bytes_], probability: NDArray[np.float32], novelty: NDArray[np.float32]) -> Self:
        """Sort what was read; of one image that was scored twice one score is kept."""
        _, first = np.unique(hashes, return_index=True)
        return cls(hashes[first], probability[first], novelty[first])

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, sha256: bytes) -> Score | None:
        """What the model said of these 32 bytes' image, if it was asked."""
        if not len(self.hashes):
            return None
        index = int(np.searchsorted(self.hashes, np.bytes_(sha256)))
        # NumPy leaves zero bytes off the end of both, so that they compare as they should.
        if index == len(self.hashes) or self.hashes[index] != np.bytes_(sha256).rstrip(b"\0"):
            return None
        novelty = self.novelty[index : index + 1]
        scores = Scores(self.probability[index : index + 1], None if np.isnan(novelty[0]) else novelty)
        return scores.each()[0]
