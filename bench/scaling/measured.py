"""The measured figures of one image and one replica, and their method: the input of costs and simulation."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE = Path(__file__).with_name("measured.json")


class MeasuredError(ValueError):
    """The file of measured figures cannot be used; the text gives the remedy."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Route(_Frozen):
    """One HTTP route. Every figure is per image, and a mean except for the quantiles."""

    title: str
    images_per_request: int = Field(ge=1)
    cpu_ms: float = Field(gt=0, description="processor time of the service at full load, records on")
    loop_ms: float = Field(gt=0, description="processor time of the event loop, a part of cpu_ms; it is one thread")
    decode_ms: tuple[float, ...] = Field(
        min_length=2, description="processor time of decoding and shrinking alone: 21 quantiles, least to greatest"
    )
    request_bytes: float = Field(gt=0, description="header and body of the request")
    answer_bytes: float = Field(gt=0, description="header and body of the answer")
    balancer_ms: float | None = Field(None, ge=0, description="processor time of nginx between client and service")

    @property
    def wire_bytes(self) -> float:
        """Bytes in both directions."""
        return self.request_bytes + self.answer_bytes


class Bulk(_Frozen):
    """One format without a server."""

    title: str
    bulk_ms: float = Field(gt=0, description="processor time of `lensgate bulk`, its start left out")


class Database(_Frozen):
    """Speed of a database with rows as the service writes and deletes them; `rows` is its final size."""

    title: str
    rows: int = Field(ge=1)
    row_bytes: float = Field(gt=0, description="growth of the database by a decision, its indexes included")
    insert_ms: float = Field(gt=0, description="time to insert a decision, of those in a transaction of 5,000")
    count_seconds: float = Field(gt=0, description="time to find that there are no rows to delete")
    prune_rows: int = Field(ge=1)
    prune_seconds: float = Field(gt=0, description="time to delete the oldest decisions, counting them included")


class Measured(_Frozen):
    """All figures, in display order."""

    taken: str
    machine: tuple[str, ...]
    pictures: str
    how: Mapping[str, str]
    routes: Mapping[str, Route]
    bulk: Mapping[str, Bulk]
    model_ms: float = Field(gt=0, description="processor time of the model, 32 images a run")
    hash_ms: float = Field(gt=0, description="processor time of SHA-256 over one PNG file")
    shrink_ms: float = Field(gt=0, description="processor time to shrink 1024 x 1024 pixels in NumPy, at the caller")
    picture_bytes: float = Field(gt=0, description="small JPEG that is kept of a discarded image")
    series: int = Field(gt=0, description="samples in one answer of /metrics of a service that has answered everything")
    databases: Mapping[str, Database]


def load(file: Path = FILE) -> Measured:
    """Read the file that `bench.scaling.measure_command` wrote.

    Raises:
        MeasuredError: the file is missing or malformed.
    """
    try:
        return Measured.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeasuredError(
            f"{file}: {reason}; python -m bench.scaling.measure_command --out {file} creates it"
        ) from error


def save(measured: Measured, file: Path) -> None:
    """Write one value per line, for readable diffs."""
    file.write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")


def explanations() -> dict[str, str]:
    """Return the method of each figure, by name."""
    return {
        name: field.description
        for kind in (Route, Bulk, Database, Measured)
        for name, field in kind.model_fields.items()
        if field.description
    }
