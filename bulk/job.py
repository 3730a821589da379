"""The job: all that a worker needs to know, on whichever machine it runs."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from bulk.work_unit import digest
from gate import MAX_DECODE_BYTES, Band, Label, Model
from gate.scorer import Device

LAYOUT = "1"
"""Goes into every key: what another version of this code wrote is written again."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a shard says what is what; None takes what is found.

    `expected` is a column of a Parquet file, or a field of a sample's `.json`.
    """

    image: str | None = None
    id: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class BulkJob:
    """Built once, passed down, and sent to other machines as it is: it holds the model itself.

    Args:
        model: the verified model.
        band: what is too uncertain.
        target: URL of DST.
        keep: URL of KEEP, if accepted images are to be kept.
        device: where the model runs.
        batch_size: images in one run of the model, always this many: the last batch is filled up.
        expected: what the generator was asked for, of all images.
        columns: of shards.
        max_decode_bytes: most bytes that the decoders of one process hold at a time.
        storage_options: what fsspec opens URLs with.
    """

    model: Model
    band: Band
    target: str
    keep: str | None = None
    device: Device = "auto"
    batch_size: int = 32
    expected: Label | None = None
    columns: Columns = Columns()
    max_decode_bytes: int = MAX_DECODE_BYTES
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def score_key(self) -> str:
        """What an image's scores depend on, besides its bytes."""
        return digest(["scores", LAYOUT, self.model.card.sha256])

    @property
    def decision_key(self) -> str:
        """What a part's table depends on, besides its files."""
        band, limit = (self.band.low, self.band.high), self.model.card.novelty_limit
        return digest(["decisions", self.score_key, json.dumps([band, limit, self.expected, astuple(self.columns)])])
