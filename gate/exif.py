"""Read the orientation from an EXIF block, and nothing else of it."""

import struct

import numpy as np

from gate.chunks import Data

EXIF_PREFIX = b"Exif\x00\x00"

_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_FORMATS = {1: "B", 3: "H", 4: "I"}
"""TIFF types in which encoders store an orientation -> `struct` format."""


def read_orientation(exif: Data) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if the block is damaged or has none.

    Time and memory are linear in the first directory, at most 65,535 entries of 12 bytes. Other directories, values
    outside the entries and maker notes are not looked at.
    """
    try:
        return _read(bytes(exif).removeprefix(EXIF_PREFIX))
    except (struct.error, IndexError):
        return 1


def _read(tiff: bytes) -> int:
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None or 42 not in struct.unpack_from("<H", tiff, 2) + struct.unpack_from(">H", tiff, 2):
        return 1
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    available = (len(tiff) - start - 2) // 12
    layout = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", f"{order}u4"), ("value", "V4")])
    entries = np.frombuffer(tiff, layout, min(count, available), start + 2)
    found = np.flatnonzero(entries["tag"] == _ORIENTATION)
    if not found.size:
        return 1
    entry = entries[found[-1]]
    kind = _FORMATS.get(int(entry["type"]))
    if kind is None or entry["count"] != 1:
        return 1
    (orientation,) = struct.unpack_from(order + kind, entry["value"].tobytes())
    return int(orientation) if orientation in range(1, 9) else 1
