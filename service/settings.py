"""All settings of the service in one frozen object: a flag wins over `LENSGATE_<NAME>`, that over the default."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.settings import flag, load_settings
from gate import MAX_DECODE_BYTES, MAX_PIXELS, Band
from gate.card import CardBand, Probability, Version
from service.errors import SettingsError

ENVIRONMENT_PREFIX = "LENSGATE_"

Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Built once at start and passed down. Each field's description is its line in `lensgate serve --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="serve /metrics, /livez and /readyz on this port alone, without tokens"
    )
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate chain; needs tls_key")
    tls_key: Path | None = Field(None, description="PEM file with the certificate's key")
    tokens: Path | None = Field(None, description="TOML file of bearer tokens; without it nobody is asked for one")
    allow_unauthenticated: bool = Field(
        False, description="listen on other addresses than loopback without tokens all the same"
    )
    allowed_hosts: str = Field(
        "",
        description="names beside localhost and addresses that browsers, and programs that read, may use; "
        "comma-separated, * is any; checked without tokens, or where set",
    )
    records_url: str = Field(
        "sqlite:///lensgate.db", description="where decisions are kept: sqlite:///FILE, postgresql://..., or off"
    )
    records_max_rows: Count = Field(1_000_000, description="most decisions kept; the oldest go first")
    records_max_days: Count = Field(30, description="longest time that a decision is kept")
    records_max_image_bytes: Count = Field(2**30, description="most bytes of small JPEGs kept; the oldest go first")
    audit_ratio: Probability = Field(0.001, description="share of accepted images that are kept for review too")
    models: Path = Field(Path("models"), description="folder of exported models")
    model_poll_seconds: float = Field(
        1.0, ge=0.0, le=3600.0, description="how often CURRENT is looked at for another version to serve; 0 is never"
    )
    model_load_seconds: float = Field(
        120.0, gt=0.0, le=3600.0, description="longest that a model may take to load and to score its golden samples"
    )
    shadow_version: Version | None = Field(
        None, description="score with this version too, behind every answer, and count where it differs"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cuda is an error where there is none")
    band_low: Probability | None = Field(None, description="discard from this probability on (the card's)")
    band_high: Probability | None = Field(None, description="discard up to this probability (the card's)")
    timeout_ms: Count = Field(10_000, description="deadline of a request; its own timeout_ms may only shorten it")
    max_body_bytes: Count = Field(16 * 2**20, description="largest body of one image")
    max_tensor_bytes: Count = Field(64 * 2**20, description="largest body of one V2 request")
    max_header_bytes: Count = Field(16 * 2**10, description="largest head of a request")
    max_pixels: Count = Field(MAX_PIXELS, description="most pixels that are decoded, by the image's header")
    max_decode_bytes: Count = Field(
        MAX_DECODE_BYTES, description="most bytes that decoders hold at a time; further images wait"
    )
    max_inflight_bytes: Count = Field(128 * 2**20, description="most bytes of bodies held at a time")
    max_inflight_images: Count = Field(256, description="most images between admission and answer")
    max_streams: Count = Field(32, description="most batch uploads at a time")
    max_connections: Count = Field(
        1000, description="most open connections of a port; beyond it a new one takes the place of an idle one"
    )
    max_share_per_caller: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="share of images, bytes and streams for one token, or address, whose bodies are on the way",
    )
    min_body_rate: int = Field(
        4096, ge=0, description="bytes a second that a body has to come at after a few seconds; 0 allows any rate"
    )
    decode_threads: int = Field(0, ge=0, description="threads that decode; 0 is one per core")
    max_batch_size: Count = Field(32, le=1024, description="most images in one run of the model")
    max_batch_delay_ms: float = Field(
        20.0, ge=0.0, le=1000.0, description="longest wait for a larger batch while images wait to be decoded"
    )
    traces_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="send traces there by OTLP/HTTP, such as http://collector:4318/v1/traces",
    )
    shared_memory: bool = Field(False, description="let V2 callers name any shared memory of this host")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line logged")

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.band_low is not None and self.band_high is not None and self.band_low > self.band_high:
            raise ValueError("LENSGATE_BAND_LOW is above LENSGATE_BAND_HIGH")
        return self

    @model_validator(mode="after")
    def _one_image_fits(self) -> Self:
        if self.max_inflight_bytes < self.max_body_bytes:
            # Such an image would be told to come back later, for ever.
            raise ValueError("LENSGATE_MAX_INFLIGHT_BYTES is below LENSGATE_MAX_BODY_BYTES")
        if self.max_inflight_bytes < self.max_tensor_bytes and "max_tensor_bytes" in self.model_fields_set:
            raise ValueError("LENSGATE_MAX_INFLIGHT_BYTES is below LENSGATE_MAX_TENSOR_BYTES")
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("LENSGATE_TLS_CERTIFICATE and LENSGATE_TLS_KEY go together")
        return self

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Merge flags (those not None) over environment over defaults.

        Raises:
            SettingsError: a value does not fit; the text names the key as it was given.
        """
        variables = {name: ENVIRONMENT_PREFIX + name.upper() for name in cls.model_fields}
        return load_settings(cls, flags, environment, variables=variables, error=SettingsError)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add a flag for each setting, `--max-batch-size` for `max_batch_size`."""
        for name, field in cls.model_fields.items():
            note = "" if field.default is None else f" ({field.default})"
            parser.add_argument(flag(name), dest=name, metavar="VALUE", help=f"{field.description}{note}")

    def timeout(self, asked_ms: int | None) -> float:
        """Seconds until the deadline of who asks for `asked_ms`, which can only shorten it."""
        return min(self.timeout_ms, asked_ms or self.timeout_ms) / 1000

    def band(self, card: CardBand) -> Band:
        """The card's band with what the operator sets instead.

        Raises:
            SettingsError: the two together are no band.
        """
        try:
            return card.changed(self.band_low, self.band_high)
        except ValueError as error:
            raise SettingsError(f"LENSGATE_BAND_LOW and LENSGATE_BAND_HIGH over the model's card: {error}") from error
