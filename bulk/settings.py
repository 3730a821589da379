"""All settings of a run in one frozen object: a flag wins over `LENSGATE_<NAME>`, that over the default."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bulk.errors import UsageError
from bulk.job import BulkJob, Columns
from bulk.work_unit import SourceKind
from common.settings import load_settings
from common.storage import full_url
from gate import MAX_DECODE_BYTES, Label, ModelStore
from gate.card import Probability, Version

Count = Annotated[int, Field(ge=1)]

POSITIONAL = ("src", "dst")
"""Fields that the command takes as positional arguments."""

# Settings that the service has too, read from the same environment variables.
_SHARED = ("models", "device", "band_low", "band_high", "max_decode_bytes")


def _read_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from error


class Settings(BaseModel):
    """Built once and passed down. Each field's description is its line in `lensgate bulk --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    src: str = Field(min_length=1, description="folder, glob, tar shards such as 'x-{000..099}.tar', or Parquet files")
    dst: str = Field(min_length=1, description="folder of the table, a Parquet data set")
    keep: str | None = Field(None, min_length=1, description="folder for the accepted images, as WebDataset tars")
    format: SourceKind | None = Field(None, description="what SRC holds: images, webdataset or parquet (found out)")
    image_column: str | None = Field(None, description="of Parquet: the column with the images (found out)")
    id_column: str | None = Field(None, description="of Parquet: the column with their names (id, or the row's number)")
    expected: Label | None = Field(None, description="what the generator was asked for: glasses or no_glasses")
    expected_column: str | None = Field(
        None, description="the Parquet column, or field of a sample's .json, that says it"
    )
    models: Path = Field(Path("models"), description="folder of exported models")
    version: Version | None = Field(None, description="the model's version (the current one)")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cuda is an error where there is none")
    band_low: Probability | None = Field(None, description="discard from this probability on (the card's)")
    band_high: Probability | None = Field(None, description="discard up to this probability (the card's)")
    batch_size: Count = Field(32, le=1024, description="images in one run of the model")
    engine: Literal["local", "ray"] = Field("local", description="local: threads of this process; ray: a cluster")
    workers: Count | None = Field(None, description="threads that decode (one per core; with ray, of each actor: 1)")
    max_decode_bytes: Count = Field(
        MAX_DECODE_BYTES, description="most bytes that decoders hold at a time (with ray, of each actor); images wait"
    )
    ray_address: str | None = Field(None, description="the cluster's address (one on this machine)")
    ray_actors: Count | None = Field(None, description="scoring actors (as many as the cluster has room for)")
    storage_options: Annotated[dict[str, Any], BeforeValidator(_read_json)] = Field(
        {},
        repr=False,
        description="JSON object for fsspec, of all URLs; secrets belong into the environment",
    )
    max_reject_ratio: Probability = Field(
        1.0, description="status 3 if a larger share of SRC was discarded or could not be judged"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.expected is not None and self.expected_column is not None:
            raise ValueError("--expected is for all images, --expected-column for each: give one of them")
        if self.engine != "ray" and (self.ray_address or self.ray_actors):
            raise ValueError("--ray-address and --ray-actors go with --engine ray")
        return self

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Merge flags (those not None) over environment over defaults.

        Raises:
            UsageError: a value does not fit; the text names it as it was given.
        """
        variables = {name: f"LENSGATE_{name.upper()}" for name in _SHARED}
        return load_settings(cls, flags, environment, variables=variables, error=UsageError, positional=POSITIONAL)

    def job(self) -> BulkJob:
        """What workers need of it, the model read and verified.

        Raises:
            ModelError: the model is not there, or is not whole.
            UsageError: the band is none.
        """
        model = ModelStore(self.models).load(self.version)
        try:
            band = model.card.band.changed(self.band_low, self.band_high)
        except ValueError as error:
            raise UsageError(f"--band-low and --band-high over the model's card: {error}") from error
        columns = Columns(self.image_column, self.id_column, self.expected_column)
        return BulkJob(
            model,
            band,
            full_url(self.dst, self.storage_options),
            keep=full_url(self.keep, self.storage_options) if self.keep else None,
            device=self.device,
            batch_size=self.batch_size,
            expected=self.expected,
            columns=columns,
            max_decode_bytes=self.max_decode_bytes,
            storage_options=self.storage_options,
        )
