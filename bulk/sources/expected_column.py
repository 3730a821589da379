"""Requested labels from a Parquet column: label names, 1 and 0, or Hugging Face class labels."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bulk.errors import InvalidExpected, SourceError
from bulk.sources.sample import plain_value, read_label
from gate import Label

_METADATA_KEY = b"huggingface"
_CLASS_LABEL = "ClassLabel"
# The value that `datasets` writes for a row without a label.
_NO_CLASS = -1


class ExpectedColumn:
    """Reads the column `name` of a Parquet file.

    Integers in a column that the file's metadata declares as `ClassLabel` select the class with that number; other
    integers mean glasses for 1 and no_glasses for 0.

    Raises:
        SourceError: the declared classes are not glasses and no_glasses, or cannot be read.
    """

    def __init__(self, schema: pa.Schema, name: str, source: str) -> None:
        is_integer = pa.types.is_integer(schema.field(name).type)
        self.name = name
        self._classes = _class_names(schema.metadata or {}, name, source) if is_integer else None
        if self._classes is not None and not any(map(_is_label, self._classes)):
            raise SourceError(
                f"the classes of the column {name!r} in {source} are {', '.join(self._classes) or 'none'}; they must "
                f"be {' and '.join(Label)}"
            )

    def read(self, value: pa.Scalar) -> Label | None:
        """Return the requested label; None if the row has none.

        Raises:
            InvalidExpected: the value is not a label.
        """
        plain = plain_value(value, self.name, InvalidExpected)
        if self._classes is None or plain is None or plain == _NO_CLASS:
            return None if self._classes is not None else read_label(plain)
        if not 0 <= plain < len(self._classes):
            raise InvalidExpected(f"{plain} is not one of the {len(self._classes)} classes of the column {self.name!r}")
        return read_label(_plain(self._classes[plain]))


def _class_names(metadata: Mapping[bytes, bytes], column: str, source: str) -> Sequence[str] | None:
    """Return the classes of a column by number; None if the file declares none."""
    if _METADATA_KEY not in metadata:
        return None
    try:
        feature: Any = json.loads(metadata[_METADATA_KEY])["info"]["features"].get(column)
        if not isinstance(feature, dict) or feature.get("_type") != _CLASS_LABEL:
            return None
        names = feature.get("names")
        return None if names is None else [str(name) for name in names]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise SourceError(
            f"the Hugging Face metadata of {source} cannot be read, so the meaning of the numbers in {column!r} is "
            f"unknown: {error!r}"
        ) from error


def _is_label(name: str) -> bool:
    try:
        return read_label(_plain(name)) is not None
    except InvalidExpected:
        return False


def _plain(name: str) -> str:
    return name.strip().replace(" ", "_").replace("-", "_")
