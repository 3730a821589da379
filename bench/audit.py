"""Flip labels on purpose: measure how many `lensgate train audit` finds, and the gain from removing them.

    python -m bench.audit ../shared/faces

11.6 % of the labels outside the test split are flipped, the share that the paper's author found in Kaggle's data. After
the audit, its own network is trained three times each on the true labels, on the flipped labels, and on the flipped
labels without the flagged ones, and evaluated on the test split, whose labels are unchanged.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.arguments import read_places
from training.data.dataset import Split, read_dataset
from training.data.records import Records, load_records, write_records
from training.evaluation.label_audit import AUDIT_PRESET, audit
from training.model.train import predict_logits, train_network

FLIPPED_SHARE = 0.116
FLIPS = (1, 2, 3)
"""Seeds of the flips and of the audit."""
TRAININGS = (101, 102, 103)
PRESET = AUDIT_PRESET

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FlipAudit:
    """The result and duration of an audit of flipped labels."""

    flipped: Records
    is_flip: Mask
    is_flagged: Mask
    seconds: float

    @property
    def recall(self) -> float:
        """Share of the flips that were flagged."""
        return float(self.is_flagged[self.is_flip].mean())

    @property
    def precision(self) -> float:
        """Share of the flags that were flips."""
        return float(self.is_flip[self.is_flagged].mean()) if self.is_flagged.any() else 0.0


def main(folder: Path) -> int:
    """Print the measurements; return the exit status."""
    data = read_dataset(folder)
    with tempfile.TemporaryDirectory() as work:
        write_records([data], Path(work) / "records", sizes=[PRESET.size], seed=0)
        train = load_records(Path(work) / "records", Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
        test = load_records(Path(work) / "records", Split.TEST)
        print(f"{len(train)} labels, {FLIPPED_SHARE:.1%} of them flipped; accuracy on {len(test)} test images")
        print(f"{'seed':>4} {'flips':>6} {'flagged':>8} {'recall':>7} {'precision':>10} {'seconds':>8}", end="")
        print(f" {'clean':>7} {'flipped':>8} {'audited':>8} {'audited - clean':>16}", flush=True)
        clean = _accuracy(train, test)
        for seed in FLIPS:
            result = _audited(train, Path(work) / str(seed), seed)
            noisy = _accuracy(result.flipped, test)
            left = _accuracy(result.flipped.select(~result.is_flagged), test)
            print(f"{seed:4} {result.is_flip.sum():6} {result.is_flagged.sum():8} {result.recall:7.3f}", end="")
            print(f" {result.precision:10.3f} {result.seconds:8.0f}", end="")
            print(f" {clean:7.4f} {noisy:8.4f} {left:8.4f} {left - clean:+16.4f}", flush=True)
    return 0


def _audited(train: Records, out: Path, seed: int) -> FlipAudit:
    rng = np.random.default_rng(seed)
    is_flip = np.zeros(len(train), np.bool_)
    is_flip[rng.choice(len(train), round(len(train) * FLIPPED_SHARE), replace=False)] = True
    flipped = train.relabelled(np.where(is_flip, 1 - train.labels, train.labels).astype(np.float32))
    started = time.monotonic()
    issues = {(issue.data_set, issue.name) for issue in audit(flipped, out, preset=PRESET, seed=seed)}
    keys = zip(train.data_sets, train.names, strict=True)
    return FlipAudit(flipped, is_flip, np.array([key in issues for key in keys]), time.monotonic() - started)


def _accuracy(train: Records, test: Records) -> float:
    """Average over `TRAININGS`, because the spread of single runs exceeds the differences of interest."""
    watched = train.select(np.arange(PRESET.batch_size))
    networks = (train_network(train, watched, preset=PRESET, seed=seed).network for seed in TRAININGS)
    right = [(predict_logits(network, test.images) >= 0) == (test.labels == 1) for network in networks]
    return float(np.mean(right))


if __name__ == "__main__":
    sys.exit(main(*read_places("bench.audit", __doc__, folder="data set in the Kaggle layout")))
