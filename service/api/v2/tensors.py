"""Tensors as the protocol writes them: lists in JSON, bytes in binary, and the elements of BYTES."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from gate.pixels import Pixels
from service.errors import MalformedRequest

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class InputData:
    """One input: its elements in row-major order, either a JSON list or the bytes of the binary form."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | memoryview

    @property
    def count(self) -> int:
        """How many elements the shape names."""
        return math.prod(self.shape)

    def check_datatype(self, datatype: str) -> None:
        """Raise MalformedRequest where the elements are of another type."""
        if self.datatype != datatype:
            raise MalformedRequest(f"{self.name} is {datatype}, not {self.datatype[:16]!r}")

    def pixels(self) -> Pixels:
        """A UINT8 tensor, uint8 `shape`; the binary form is not copied.

        Raises:
            MalformedRequest: the elements are other than the shape names, or no UINT8.
        """
        self.check_datatype("UINT8")
        data = self._pack_json(self.data) if isinstance(self.data, list) else self.data
        if len(data) != self.count:
            raise MalformedRequest(f"{self.name} has {len(data):,} bytes, its shape {self.shape} names {self.count:,}")
        return np.frombuffer(data, np.uint8).reshape(self.shape)

    def elements(self) -> list[memoryview]:
        """The elements of a BYTES tensor `[N]`.

        Raises:
            MalformedRequest: the elements are other than the shape names, or no BYTES.
        """
        self.check_datatype("BYTES")
        if isinstance(self.data, list):
            return [memoryview(text.encode()) for text in self._texts(self.data)]
        return self._unpack(self.data)

    def _pack_json(self, data: list[Any]) -> bytes:
        flat = self._flatten(data)
        if any(kind is not int for kind in set(map(type, flat))):
            raise MalformedRequest(f"{self.name} has elements that are no integers")
        try:
            return bytes(flat)
        except ValueError as error:
            raise MalformedRequest(f"{self.name} has elements outside 0 to 255") from error

    def _texts(self, data: list[Any]) -> list[str]:
        if any(kind is not str for kind in set(map(type, data))):
            raise MalformedRequest(f"{self.name} has elements that are no strings")
        if len(data) != self.count:
            raise MalformedRequest(
                f"{self.name} has {len(data):,} elements, its shape {self.shape} names {self.count:,}"
            )
        return data

    def _flatten(self, data: list[Any]) -> list[Any]:
        """Row-major lists are as good as nested ones, which must be nested as the shape says."""
        if not data or not isinstance(data[0], list):
            return data
        if len(data) != self.shape[0]:
            raise self._misshapen()
        for edge in self.shape[1:]:
            if any(kind is not list for kind in set(map(type, data))) or set(map(len, data)) != {edge}:
                raise self._misshapen()
            data = list(chain.from_iterable(data))
        return data

    def _misshapen(self) -> MalformedRequest:
        return MalformedRequest(f"{self.name} is nested otherwise than its shape {self.shape} says")

    def _unpack(self, data: memoryview) -> list[memoryview]:
        # Each element has four bytes at least, so that a shape cannot claim more work than there is data.
        if self.count * _LENGTH.size > len(data):
            raise self._wrong_length(data)
        found = []
        position = 0
        for _ in range(self.count):
            if position + _LENGTH.size > len(data):
                raise self._wrong_length(data)
            (length,) = _LENGTH.unpack_from(data, position)
            position += _LENGTH.size
            found.append(data[position : position + length])
            position += length
        if position != len(data):
            raise self._wrong_length(data)
        return found

    def _wrong_length(self, data: memoryview) -> MalformedRequest:
        return MalformedRequest(
            f"the {len(data):,} bytes of {self.name} are not {self.count:,} elements, each after four bytes of length"
        )


def pack_texts(texts: Iterable[str]) -> bytes:
    """A BYTES tensor in its binary form."""
    encoded = (text.encode() for text in texts)
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def pack_floats(values: Sequence[float]) -> bytes:
    """An FP32 tensor in its binary form."""
    return np.array(values, "<f4").tobytes()
