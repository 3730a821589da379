import hashlib
import pickle

import numpy as np

from bulk.output.score_cache import ScoreCache

HASH = hashlib.sha256(b"one").digest()


def hashes(count: int) -> list[bytes]:
    found = [hashlib.sha256(bytes([number])).digest() for number in range(count)]
    # NumPy strips zero bytes at the end of a fixed-width string.
    return [*found, found[0][:31] + b"\0", found[1][:30] + b"\0\0", b"\0" * 32]


def test_scores_are_found_by_the_hash_of_the_bytes() -> None:
    keys = hashes(100)
    probability = np.linspace(0, 1, len(keys), dtype=np.float32)
    cache = pickle.loads(pickle.dumps(ScoreCache.of(np.array(keys, "S32"), probability, -probability)))  # noqa: S301
    for key, value in zip(keys, probability, strict=True):
        score = cache.find(key)
        assert score is not None
        assert np.float32(score.probability) == value
        assert score.novelty == -score.probability
    assert len(cache) == len(keys)
    assert cache.find(hashlib.sha256(b"else").digest()) is None
    assert cache.find(b"\xff" * 32) is None


def test_scores_of_a_model_without_novelty_have_none() -> None:
    cache = ScoreCache.of(np.array([HASH], "S32"), np.zeros(1, np.float32), np.full(1, np.nan, np.float32))
    score = cache.find(HASH)
    assert score is not None
    assert score.novelty is None


def test_an_image_scored_twice_has_one_score_and_an_empty_cache_finds_none() -> None:
    twice = np.array([HASH] * 2, "S32")
    assert len(ScoreCache.of(twice, np.zeros(2, np.float32), np.zeros(2, np.float32))) == 1
    assert ScoreCache.empty().find(b"x" * 32) is None
