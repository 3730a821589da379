"""All settings of the service in one frozen object: flag over `LENSGATE_<NAME>` over default."""

import argparse
import os
import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from common.environment import is_content
from common.identity import ID_RULE, is_identity
from common.settings import add_flags, load_settings, variables_of
from gate import MAX_DECODE_BYTES, MAX_PIXELS, Band
from gate.card import CardBand, Probability, Version
from gate.default_models import default_models
from service.errors import SettingsError

Count = Annotated[int, Field(ge=1)]

MAX_WORKERS = 128
"""Limit of worker processes, far above any machine's need: each takes 256 MiB and divides the limits further."""

MAX_SOURCES = 100
"""Limit of listed sources: each adds 13 time series to every scrape."""

_HOST = re.compile(r"[\w.-]*")
_HOST_HEADER = re.compile(r"\w[\w.-]*", re.ASCII)

_QUOTED = re.compile(r"""^\[["']|(["'])\s*,\s*\1|^(["']).*\2$""")
"""A list in JSON, or one whose names are quoted; a name may have a quote of its own."""

_RESERVED_SOURCES = {"none", "other"}

# The headings of `lensgate serve --help`, by the first setting below each.
_GROUPS = {
    "host": "network",
    "tokens": "access",
    "records_url": "records",
    "models": "model",
    "timeout_ms": "limits",
    "decode_threads": "decoding and batching",
    "traces_endpoint": "other",
}


class Settings(BaseModel):
    """Built once at start and passed down. Each field's description is its line in `lensgate serve --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is all of IPv4, :: all of IPv4 and IPv6")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_WORKERS)] = Field(
        "auto", description="processes that share the port; auto is one for every 8 cores, rounded up"
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="serve /metrics, /livez and /readyz on this port alone, without tokens"
    )
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="also serve the Open Inference Protocol over gRPC on this port"
    )
    grpc_max_message_bytes: int = Field(
        4 * 2**20, ge=2**16, le=2**30, description="largest message of a gRPC call; a larger one is refused unread"
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the certificate chain; goes together with the key"
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's key")
    tokens: Path | None = Field(None, description="TOML file of bearer tokens; without it no token is required")
    allow_unauthenticated: bool = Field(False, description="allow addresses other than loopback without tokens")
    allowed_hosts: str = Field(
        "",
        description="accepted Host names beside localhost and addresses; "
        "comma-separated, * is any; checked without tokens, or where set",
    )
    records_url: str = Field(
        "sqlite:///lensgate.db", description="store of decisions: sqlite:///FILE, postgresql://..., or off"
    )
    records_max_rows: Count = Field(
        1_000_000, description="largest number of decisions kept; the oldest are deleted first"
    )
    records_max_days: Count = Field(30, description="days that a decision is kept")
    records_max_image_bytes: Count = Field(2**30, description="bytes of small JPEGs kept; the oldest are deleted first")
    sources: str = Field(
        "",
        description="sources (generators, checkpoints or runs) with metrics of their own; comma-separated, at most "
        f"{MAX_SOURCES}, all others count as other",
    )
    audit_ratio: Probability = Field(
        0.001,
        description="share of accepted images drawn for the audit, half of them in proportion to the predicted error",
    )
    models: Path = Field(
        default_factory=default_models,
        description="folder of exported models (models if it is here, otherwise the installed model)",
    )
    model_poll_seconds: float = Field(
        1.0,
        ge=0.0,
        le=3600.0,
        description="seconds between two checks of CURRENT for another version to serve; 0 is never",
    )
    model_load_seconds: float = Field(
        120.0, gt=0.0, le=3600.0, description="longest time in which a model must load and score its golden samples"
    )
    shadow_version: Version | None = Field(
        None, description="also score every image with this version, after the answer, and count differing decisions"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="runs the model; auto takes a GPU if there is one, cuda is an error without one"
    )
    band_low: Probability | None = Field(None, description="lower edge of the band that is discarded (the card's)")
    band_high: Probability | None = Field(None, description="upper edge of the band that is discarded (the card's)")
    timeout_ms: Count = Field(10_000, description="deadline of a request; its timeout_ms can only shorten it")
    max_body_bytes: Count = Field(16 * 2**20, description="largest body of one image")
    max_tensor_bytes: Count = Field(64 * 2**20, description="largest body of one V2 request")
    max_header_bytes: Count = Field(16 * 2**10, description="largest header of a request")
    max_pixels: Count = Field(MAX_PIXELS, description="largest number of pixels of an image, by its header")
    max_decode_bytes: Count = Field(
        MAX_DECODE_BYTES, description="limit of the decoders' memory in bytes; further images wait"
    )
    max_inflight_bytes: Count = Field(128 * 2**20, description="limit of the bytes of all bodies held at a time")
    max_inflight_images: Count = Field(256, description="limit of images between admission and answer")
    max_streams: Count = Field(32, description="limit of batch uploads at a time")
    max_connections: Count = Field(
        1000,
        description="limit of open connections of a port; beyond it a new one replaces an idle one",
    )
    max_share_per_caller: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="largest share of images, bytes and streams for one token or address whose bodies are arriving",
    )
    min_body_rate: int = Field(
        4096, ge=0, description="lowest rate of a body in bytes per second, after a few seconds; 0 allows any rate"
    )
    decode_threads: int = Field(
        0, ge=0, description="decode threads, and as many for the model on the CPU; 0 is one per usable core"
    )
    max_batch_size: Count = Field(32, le=1024, description="most images in one run of the model")
    max_batch_delay_ms: float = Field(
        20.0, ge=0.0, le=1000.0, description="longest wait for a larger batch while images are queued for decoding"
    )
    traces_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="send traces there by OTLP/HTTP, such as http://collector:4318/v1/traces",
    )
    grafana_url: str | None = Field(
        None, pattern="^https?://", description="address of Grafana, for a link on the operations page"
    )
    runbooks_url: str | None = Field(
        None, pattern="^https?://", description="address where docs/runbooks.md is shown, for links beside problems"
    )
    shared_memory: bool = Field(False, description="let V2 callers use any shared memory of this host")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line logged")

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        if not _HOST.fullmatch(host) and not _is_ipv6(host):
            raise ValueError(
                f"{host[:128]!r} is not a host: write an address, such as 0.0.0.0 or ::, or a host name alone"
            )
        return host

    @field_validator("tls_certificate", "tls_key", "tokens")
    @classmethod
    def _file_is_a_path(cls, path: Path | None) -> Path | None:
        if path is not None and is_content(str(path)):
            raise ValueError("must be the path of a file, not its content")
        return path

    @field_validator("port", "metrics_port", "grpc_port", mode="before")
    @classmethod
    def _port_is_not_a_service(cls, port: object, info: ValidationInfo) -> object:
        if isinstance(port, str) and "://" in port:
            service = f"lensgate-{info.field_name}"[: -len("-port")]
            raise ValueError(
                f"{port[:128]!r} is not a port: Kubernetes sets this variable for a Service named {service}, unless "
                "the pod has enableServiceLinks: false"
            )
        return port

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: str) -> str:
        for host in _names(hosts):
            if host != "*" and not _HOST_HEADER.fullmatch(host) and not _is_ipv6(host):
                raise ValueError(
                    f"{host[:128]!r} is not a host name: write whole names in ASCII, without scheme and port, with "
                    "commas between"
                )
        return hosts

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.band_low is not None and self.band_high is not None and self.band_low > self.band_high:
            raise ValueError(
                f"LENSGATE_BAND_LOW is {self.band_low:g}, above LENSGATE_BAND_HIGH, {self.band_high:g}: exchange them"
            )
        return self

    @model_validator(mode="after")
    def _sources_can_be_listed(self) -> Self:
        if len(self.listed_sources) > MAX_SOURCES:
            raise ValueError(f"LENSGATE_SOURCES lists {len(self.listed_sources)} sources: {MAX_SOURCES} are allowed")
        if _QUOTED.search(self.sources.strip()):
            raise ValueError("LENSGATE_SOURCES has quotes around names: write them alone, with commas between, no JSON")
        for source in self.listed_sources:
            if source in _RESERVED_SOURCES or not is_identity(source):
                raise ValueError(
                    f"LENSGATE_SOURCES: {source[:128]!r} cannot be listed: a source is {ID_RULE}, and other and none "
                    "are the labels of all other sources and of images without one"
                )
        return self

    @model_validator(mode="after")
    def _one_image_fits(self) -> Self:
        # A larger image would be refused with "try again" forever.
        self._check_in_flight("LENSGATE_MAX_BODY_BYTES", self.max_body_bytes)
        if "max_tensor_bytes" in self.model_fields_set:
            self._check_in_flight("LENSGATE_MAX_TENSOR_BYTES", self.max_tensor_bytes)
        return self

    def _check_in_flight(self, name: str, size: int) -> None:
        if self.max_inflight_bytes < size:
            raise ValueError(
                f"LENSGATE_MAX_INFLIGHT_BYTES is {self.max_inflight_bytes}, below {name}, {size}: raise the first or "
                "lower the second"
            )

    @model_validator(mode="after")
    def _one_message_fits(self) -> Self:
        if self.grpc_port is not None:
            self._check_in_flight("LENSGATE_GRPC_MAX_MESSAGE_BYTES", self.grpc_max_message_bytes)
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("LENSGATE_TLS_CERTIFICATE and LENSGATE_TLS_KEY go together: set both or neither")
        return self

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Merge flags (those not None) over environment over defaults.

        Raises:
            SettingsError: a value is invalid; the text names the key as it was given.
        """
        return load_settings(cls, flags, environment, variables=cls.variables(), error=SettingsError)

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the environment variable of each setting."""
        return variables_of(cls.model_fields)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add a flag for each setting, `--max-batch-size` for `max_batch_size`."""
        add_flags(parser, cls, groups=_GROUPS, joined=("allowed_hosts", "sources"))

    @property
    def listed_sources(self) -> tuple[str, ...]:
        """The sources that have metrics of their own."""
        return _names(self.sources)

    @property
    def listed_hosts(self) -> tuple[str, ...]:
        """The host names that are allowed."""
        return _names(self.allowed_hosts)

    def timeout(self, requested_ms: int | None) -> float:
        """Return the seconds until the deadline of a request; `requested_ms` can only shorten it."""
        return min(self.timeout_ms, requested_ms or self.timeout_ms) / 1000

    def band(self, card: CardBand) -> Band:
        """Return the card's band, with the operator's edges in place of its own.

        Raises:
            SettingsError: the edges together do not form a band.
        """
        try:
            return card.changed(self.band_low, self.band_high)
        except ValueError as error:
            raise SettingsError(f"LENSGATE_BAND_LOW and LENSGATE_BAND_HIGH over the model's card: {error}") from error


def _names(text: str) -> tuple[str, ...]:
    """Return the names of a list with commas, each once."""
    return tuple(dict.fromkeys(name for each in text.split(",") if (name := each.strip())))


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
