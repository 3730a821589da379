"""A sample: one image to judge, whatever it was found in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

from bulk.errors import InvalidExpected, RowError, UnreadableFile
from common.storage import without_secrets
from gate import Label

MAX_BYTES = 64 * 2**20
"""Most bytes that are read of one file, member or value."""

_LABELS = {"1": Label.GLASSES, "true": Label.GLASSES, "0": Label.NO_GLASSES, "false": Label.NO_GLASSES}


Fetch = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to judge.

    Args:
        id: what it is called in its source.
        source: the folder, tar or Parquet file it lies in.
        fetch: gives its bytes, or raises RowError; called once, from any thread.
        size: about how many bytes it holds in memory.
        key: what it is called in a tar: up to the first dot of its members' names.
        ending: of the image in a tar; empty where its bytes must say.
        beside: the other members of its sample, endings and bytes, unchanged.
        expected: what the generator was asked for.
    """

    id: str
    source: str
    fetch: Fetch
    size: int = 0
    key: str = ""
    ending: str = ""
    beside: Sequence[tuple[str, bytes]] = ()
    expected: Label | None = None


def given(data: bytes) -> Fetch:
    """For a sample whose bytes are there."""
    return lambda: data


def failing(error: RowError) -> Fetch:
    """For a sample whose bytes cannot be had."""

    def fetch() -> NoReturn:
        raise error

    return fetch


def unreadable(what: str, error: Exception) -> UnreadableFile:
    """The error of a row whose file could not be fetched."""
    reason = getattr(error, "strerror", None) or error or type(error).__name__
    return UnreadableFile(without_secrets(f"{what}: {reason}"))


def key_of(text: str, *, safe: str = "") -> str:
    """A name as a WebDataset key, where a dot would end it: percent-encoded, so that it can be had back."""
    # Surrogates stand for bytes that are no UTF-8.
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe).replace(".", "%2E")


def read_label(value: object) -> Label | None:
    """What a column says was asked for: a label, or 1 and 0 as in the data set's `glasses`. None is no answer.

    Raises:
        InvalidExpected: it is something else.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN is how pandas writes what is missing.
        return None
    text = str(value).strip().lower().removesuffix(".0")
    if text in _LABELS:
        return _LABELS[text]
    try:
        return Label(text)
    except ValueError:
        raise InvalidExpected(f"{text[:40]!r} is none of {', '.join([*Label, *_LABELS])}") from None
