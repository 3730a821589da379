"""A sample: one image to judge, from any kind of source."""

import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

from bulk.errors import InvalidExpected, InvalidSource, RowError, UnreadableFile
from common.identity import ID_RULE, is_identity
from common.storage import without_secrets
from gate import Label

MAX_BYTES = 64 * 2**20
"""Size limit of one image, in bytes."""

_ZEROS = re.compile(r"\.0+\Z")
_LABELS = {"1": Label.GLASSES, "true": Label.GLASSES, "0": Label.NO_GLASSES, "false": Label.NO_GLASSES}


Fetch = Callable[[], bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to judge.

    Args:
        id: its name in its source.
        source: the folder, tar or Parquet file that holds it.
        fetch: returns its bytes, or raises RowError; called once, from any thread.
        size: its approximate bytes in memory.
        key: its WebDataset key in a tar of accepted images.
        ending: the image's ending in such a tar; empty if it follows from the bytes.
        beside: the other members of its sample as endings and bytes, unchanged.
        expected: the requested label.
        named_source: the generator, checkpoint or run that made it, if a column names one.
    """

    id: str
    source: str
    fetch: Fetch
    size: int = 0
    _: KW_ONLY
    key: str = ""
    ending: str = ""
    beside: Sequence[tuple[str, bytes]] = ()
    expected: Label | None = None
    named_source: str | None = None


def given(data: bytes) -> Fetch:
    """Make the fetch function of a sample whose bytes are loaded."""
    return lambda: data


def failing(error: RowError) -> Fetch:
    """Make the fetch function of a sample that cannot be read."""

    def fetch() -> NoReturn:
        raise error

    return fetch


class PartReader:
    """Reads the parts of a sample, of which one that cannot be read hides no other: an order outlives its image.

    `fault` is the error of the first part that could not be read.
    """

    def __init__(self) -> None:
        self.fault: RowError | None = None

    def read(self, part: Callable[[], T]) -> T | None:
        """Return what `part` returns, or None if it raises a RowError."""
        try:
            return part()
        except RowError as error:
            self.fault = self.fault or error
            return None

    def fetch(self, data: bytes | None) -> Fetch:
        """Make the fetch function of the sample with these bytes."""
        return given(data or b"") if self.fault is None else failing(self.fault)


def unreadable(text: str, error: Exception) -> UnreadableFile:
    """Make the row error of a file that could not be fetched."""
    missing = "it does not exist" if isinstance(error, FileNotFoundError) else ""
    reason = getattr(error, "strerror", None) or missing or str(error) or type(error).__name__
    return UnreadableFile(without_secrets(f"{text}: {reason}"))


def key_of(text: str, *, safe: str = "") -> str:
    """Percent-encode a name as a WebDataset key, in which a dot would end the key."""
    # Surrogates stand for bytes that are not UTF-8.
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe).replace(".", "%2E")


def plain_value(cell: Any, column: str, fault: type[RowError]) -> Any:
    """Return a cell of a Parquet column as a Python value: None for NaN, and text or hexadecimal digits for bytes.

    Raises:
        RowError: a `fault`; it holds text that is not UTF-8, or a time outside Python's range.
    """
    try:
        value = cell.as_py()
        is_missing = _is_missing(value)
    except Exception as error:  # Arrow's and Python's, which share no base exception.
        raise fault(f"the value of the column {column!r} cannot be read: {error}") from None
    if is_missing:
        return None
    return _text_of(value) if isinstance(value, bytes) else value


def _is_missing(value: object) -> bool:
    """Whether a value is None, or the NaN that pandas and JSON write for a missing one."""
    return value is None or bool(value != value)  # noqa: PLR0124 - Only NaN differs from itself.


def _text_of(value: bytes) -> str:
    """Return text that Spark, Hive or Impala wrote without declaring it as text; other bytes are hashes or UUIDs."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def read_label(value: object) -> Label | None:
    """Parse a requested label: its name, or 1 and 0 as in the data set's `glasses`; None if missing.

    Raises:
        InvalidExpected: the value is not a label.
    """
    if _is_missing(value):
        return None
    text = _ZEROS.sub("", str(value).strip().lower())
    if text in _LABELS:
        return _LABELS[text]
    try:
        return Label(text)
    except ValueError:
        raise InvalidExpected(f"{text[:40]!r} is not one of {', '.join([*Label, *_LABELS])}") from None


def read_source(value: object) -> str | None:
    """Read the source that a column names; None if missing.

    Raises:
        InvalidSource: it breaks the rule of sources.
    """
    if _is_missing(value):
        return None
    text = str(value)
    if isinstance(value, list | dict) or not is_identity(text):
        raise InvalidSource(f"{text[:40]!r} is not a source: it must be {ID_RULE}, or null if it is not known")
    return text
