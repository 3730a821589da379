"""All settings of a run in one frozen object: a flag overrides `LENSGATE_<NAME>`, which overrides the default."""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bulk.errors import UsageError
from bulk.job import BulkJob, Columns
from bulk.work_unit import SourceKind
from common.identity import ID_RULE, is_identity
from common.settings import add_flags, load_settings, variables_of
from common.storage import full_url
from gate import MAX_DECODE_BYTES, Label, ModelStore
from gate.card import Probability, Version
from gate.default_models import default_models

Count = Annotated[int, Field(ge=1)]

POSITIONAL = ("src", "dst")
"""Fields that the command takes as positional arguments."""

# Settings that the service has too, read from the same environment variables.
_SHARED = ("models", "device", "band_low", "band_high", "max_decode_bytes")

# The headings of `lensgate bulk --help`, by the first setting below each.
_GROUPS = {
    "keep": "input and output",
    "models": "model",
    "batch_size": "work",
    "storage_options": "storage and exit status",
}


def _read_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error


class Settings(BaseModel):
    """Built once and passed down. Each field's description is its line in `lensgate bulk --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # A length makes pydantic refuse text that is not UTF-8.
    src: str = Field(
        min_length=1, description="folder, glob, tar shards such as 'x-{000..099}.tar', or Parquet files to judge"
    )
    dst: str = Field(min_length=1, description="folder for the table, a Parquet data set")
    keep: str | None = Field(None, min_length=1, description="folder for the accepted images, as WebDataset tars")
    format: SourceKind | None = Field(None, description="format of SRC (detected)")
    image_column: str | None = Field(None, description="Parquet column with the images (detected)")
    id_column: str | None = Field(None, description="Parquet column with the ids (id, or the row number)")
    expected: Label | None = Field(None, description="requested label of all images")
    expected_column: str | None = Field(
        None, description="Parquet column, or field of a sample's .json, with the requested label"
    )
    source: str | None = Field(None, description="source of all images: the generator, checkpoint or run")
    source_column: str | None = Field(
        None, description="Parquet column, or field of a sample's .json, with the source of each image"
    )
    models: Path = Field(
        default_factory=default_models,
        description="folder of exported models (models if it is here, otherwise the installed model)",
    )
    version: Version | None = Field(None, description="model version (the current one)")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="runs the model; auto takes a GPU if there is one, cuda is an error without one"
    )
    band_low: Probability | None = Field(None, description="lower edge of the band that is discarded (the card's)")
    band_high: Probability | None = Field(None, description="upper edge of the band that is discarded (the card's)")
    batch_size: Count = Field(32, le=1024, description="images in one run of the model")
    engine: Literal["local", "ray"] = Field("local", description="local: threads of this process; ray: a Ray cluster")
    workers: Count | None = Field(None, description="decoding threads (one per core; with ray, 1 per actor)")
    max_decode_bytes: Count = Field(
        MAX_DECODE_BYTES, description="memory limit of the decoders in bytes (with ray, per actor); further images wait"
    )
    ray_address: str | None = Field(None, description="address of the Ray cluster (starts one on this machine)")
    ray_actors: Count | None = Field(None, description="number of scoring actors (as many as fit on the cluster)")
    storage_options: Annotated[dict[str, Any], BeforeValidator(_read_json)] = Field(
        {},
        repr=False,
        description="JSON object of fsspec options for all URLs; pass secrets in the environment instead",
    )
    max_reject_ratio: Probability = Field(
        1.0, description="exit with status 3 if a larger share of SRC was discarded or could not be judged"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.expected is not None and self.expected_column is not None:
            raise ValueError("--expected and --expected-column exclude each other")
        if self.source is not None and self.source_column is not None:
            raise ValueError("--source and --source-column exclude each other")
        if self.source is not None and not is_identity(self.source):
            raise ValueError(f"--source must be {ID_RULE}")
        if self.engine != "ray" and (self.ray_address or self.ray_actors):
            raise ValueError("--ray-address and --ray-actors need --engine ray")
        return self

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Merge flags that are not None over the environment over the defaults.

        Raises:
            UsageError: a value is invalid; the text names the key as it was given.
        """
        variables = variables_of(_SHARED)
        return load_settings(cls, flags, environment, variables=variables, error=UsageError, positional=POSITIONAL)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add SRC, DST and a flag for each other setting."""
        add_flags(parser, cls, groups=_GROUPS, positional=POSITIONAL, joined=("storage_options",))

    def job(self) -> BulkJob:
        """Return the job for the workers, with the model loaded and verified.

        Raises:
            ModelError: the model is missing or damaged.
            UsageError: the band is invalid.
        """
        model = ModelStore(self.models).load(self.version)
        try:
            band = model.card.band.changed(self.band_low, self.band_high)
        except ValueError as error:
            raise UsageError(f"--band-low and --band-high over the model's card: {error}") from error
        columns = Columns(
            image=self.image_column, id=self.id_column, expected=self.expected_column, source=self.source_column
        )
        return BulkJob(
            model,
            band,
            full_url(self.dst, self.storage_options),
            keep=full_url(self.keep, self.storage_options) if self.keep else None,
            device=self.device,
            batch_size=self.batch_size,
            expected=self.expected,
            source=self.source,
            columns=columns,
            max_decode_bytes=self.max_decode_bytes,
            storage_options=self.storage_options,
        )
