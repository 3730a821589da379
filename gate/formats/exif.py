"""Read only the orientation from an EXIF block, or from XMP metadata."""

import re
import struct

import numpy as np

from gate.types import ImageBytes

EXIF_PREFIX = b"Exif\x00\x00"
_PREFIXES = re.compile(rb"(?:Exif\x00\x00)*")
"""Writers that take a block with its prefix for one without it repeat the prefix."""

_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_FORMATS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
"""TIFF type of a stored orientation -> `struct` format: the integers that Pillow reads as numbers."""

_VALUE_BYTES = 4
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def read_orientation(exif: ImageBytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if the block is damaged or does not contain it."""
    return find_orientation(exif) or 1


def find_orientation(exif: ImageBytes) -> int | None:
    """Return the EXIF orientation, 1 to 8; None if the block is damaged or does not contain it.

    A number outside this range is 1: cameras write 0 for an unknown orientation.

    Time and memory are linear in the first directory, at most 65,535 entries of 12 bytes. Other directories, values
    outside the entries and maker notes are not read.
    """
    try:
        return _read(_PREFIXES.sub(b"", exif, count=1))
    except (struct.error, IndexError, ValueError):
        return None


def with_xmp(exif: ImageBytes, xmp: ImageBytes) -> ImageBytes:
    """Return an EXIF block with the orientation of both: that of EXIF, otherwise that of XMP, as Pillow does."""
    match = _XMP_ORIENTATION.search(xmp)
    if match is None or find_orientation(exif) is not None:
        return exif
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, _ORIENTATION, 3, 1, int(match[1]), 0, 0)


def _read(tiff: bytes) -> int | None:
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None or 42 not in struct.unpack_from("<H", tiff, 2) + struct.unpack_from(">H", tiff, 2):
        return None
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    available = (len(tiff) - start - 2) // 12
    layout = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", f"{order}u4"), ("value", "V4")])
    entries = np.frombuffer(tiff, layout, min(count, available), start + 2)
    tags = np.flatnonzero(entries["tag"] == _ORIENTATION)
    if not tags.size:
        return None
    entry = entries[tags[0]]
    kind = _FORMATS.get(int(entry["type"]))
    if kind is None or not 1 <= entry["count"] <= _VALUE_BYTES // struct.calcsize(kind):
        return None
    (orientation,) = struct.unpack_from(order + kind, entry["value"].tobytes())
    return int(orientation) if orientation in range(1, 9) else 1
