"""Convert tensors from and to the protocol's forms: JSON lists, binary data, BYTES elements."""

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
        """The number of elements by the shape."""
        return math.prod(self.shape)

    def check_datatype(self, datatype: str) -> None:
        """Raise MalformedRequest where the elements are of another type."""
        if self.datatype != datatype:
            raise MalformedRequest(f"the datatype of {self.name} must be {datatype}, not {self.datatype[:16]!r}")

    def pixels(self) -> Pixels:
        """Return a UINT8 tensor, uint8 `shape`; binary data is not copied.

        Raises:
            MalformedRequest: the elements do not match the shape, or are not UINT8.
        """
        self.check_datatype("UINT8")
        data = self._pack_json(self.data) if isinstance(self.data, list) else self.data
        if len(data) != self.count:
            raise MalformedRequest(
                f"{self.name} has {len(data):,} bytes, but its shape {self.shape} needs {self.count:,}"
            )
        return np.frombuffer(data, np.uint8).reshape(self.shape)

    def elements(self) -> list[memoryview]:
        """Return the elements of a BYTES tensor `[N]`.

        Raises:
            MalformedRequest: the elements do not match the shape, or are not BYTES.
        """
        self.check_datatype("BYTES")
        if isinstance(self.data, list):
            return [memoryview(text.encode()) for text in self._texts(self.data)]
        return self._unpack(self.data)

    def check_room(self, data: memoryview) -> None:
        """Raise MalformedRequest if `data` is not BYTES, or cannot hold the elements: each has at least four bytes."""
        self.check_datatype("BYTES")
        if self.count * _LENGTH.size > len(data):
            raise self._wrong_length(data)

    def _pack_json(self, data: list[Any]) -> bytes:
        flat = self._flatten(data)
        if any(kind is not int for kind in set(map(type, flat))):
            raise MalformedRequest(f"{self.name} must contain integers only")
        try:
            return bytes(flat)
        except ValueError as error:
            raise MalformedRequest(f"{self.name} must contain integers from 0 to 255") from error

    def _texts(self, data: list[Any]) -> list[str]:
        if any(kind is not str for kind in set(map(type, data))):
            raise MalformedRequest(f"{self.name} must contain strings only")
        if len(data) != self.count:
            raise MalformedRequest(
                f"{self.name} has {len(data):,} elements, but its shape {self.shape} needs {self.count:,}"
            )
        return data

    def _flatten(self, data: list[Any]) -> list[Any]:
        """Accept row-major lists, and nested lists that match the shape."""
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
        return MalformedRequest(f"{self.name} must be a flat list, or nested like its shape {self.shape}")

    def _unpack(self, data: memoryview) -> list[memoryview]:
        # A shape cannot cause more work than there is data.
        self.check_room(data)
        elements = []
        position = 0
        for _ in range(self.count):
            if position + _LENGTH.size > len(data):
                raise self._wrong_length(data)
            (length,) = _LENGTH.unpack_from(data, position)
            position += _LENGTH.size
            elements.append(data[position : position + length])
            position += length
        if position != len(data):
            raise self._wrong_length(data)
        return elements

    def _wrong_length(self, data: memoryview) -> MalformedRequest:
        return MalformedRequest(
            f"the {len(data):,} bytes of {self.name} must be the elements of its shape, {self.count:,} in all, each "
            "after its length in 4 bytes, little-endian"
        )


def pack_bytes(elements: Iterable[bytes]) -> bytes:
    """Encode a BYTES tensor as binary data."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def pack_floats(values: Sequence[float]) -> bytes:
    """Encode an FP32 tensor as binary data."""
    return np.array(values, "<f4").tobytes()
