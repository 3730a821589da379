"""The job: the complete input of a worker besides its work units, on any machine."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from bulk.work_unit import digest
from gate import MAX_DECODE_BYTES, Band, Label, Model
from gate.pixels import DECODING
from gate.types import Device

LAYOUT = "1"
"""Part of every key: shards from a version with another layout are written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Column names in a shard; None selects the default.

    `expected` and `source` are columns of a Parquet file, or fields of a sample's `.json`.
    """

    image: str | None = None
    id: str | None = None
    expected: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class BulkJob:
    """Built once, passed down, and sent to other machines unchanged; it contains the model itself.

    Args:
        model: the verified model.
        band: probabilities in this band are discarded as uncertain.
        target: URL of DST.
        keep: URL of KEEP, if accepted images are kept.
        device: the device that runs the model.
        batch_size: images in one run of the model; the last batch is padded to this size.
        expected: the requested label of all images.
        source: the generator, checkpoint or run that made all images.
        columns: the column names of shards.
        max_decode_bytes: most bytes that the decoders of one process hold at a time.
        storage_options: arguments of fsspec's file systems.
    """

    model: Model
    band: Band
    target: str
    keep: str | None = None
    device: Device = "auto"
    batch_size: int = 32
    expected: Label | None = None
    source: str | None = None
    columns: Columns = Columns()
    max_decode_bytes: int = MAX_DECODE_BYTES
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def score_key(self) -> str:
        """A digest of everything besides an image's bytes that its scores depend on."""
        return digest(["scores", LAYOUT, DECODING, self.model.card.sha256])

    @property
    def decision_key(self) -> str:
        """A digest of everything besides a unit's files that its shard depends on."""
        band, limit = (self.band.low, self.band.high), self.model.card.novelty_limit
        rule = [band, limit, self.expected, self.source, astuple(self.columns)]
        return digest(["decisions", self.score_key, json.dumps(rule)])
