"""Decode JPEGs whose sampling factors TurboJPEG has no name for, such as 4:1:0 and 3x1.

Pillow reads them, but keeps libjpeg's warnings to itself: it fills damage with grey. No other decoder at hand is strict
about them, so the coded data is checked by decoding it again with known changes, at half the size:

- With other bytes put behind each interval of coded data the picture must stay the same. Where an interval is too
  short, libjpeg takes these bytes in place of the zeros that it makes up.
- With the last bytes of each interval changed, the picture must change in that interval. Where it stays, a damaged code
  has made the decoder run out of blocks before it ran out of data. Progressive scans refine one another and hide such a
  change: of those, only the first check is made.
"""

import io
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from gate.averaging import DecodedImage, band_of
from gate.errors import CorruptImage, UnsupportedImage
from gate.formats.jpeg.header import JpegHeader, Scan, coded_intervals, read_jpeg_header, read_scans, with_size
from gate.types import ImageBytes

_Interval = tuple[int, int]

# Four decodes must fit into the time that one picture may take.
_MOST_BYTES = 5_000_000
_MOST_SCANS = 20

_CHECKED_AT = 2
"""Half the size: a quarter of the memory, and enough coefficients for a change to show."""

_QUANTIZATION = 0xDB

_TAIL = 8
"""Bytes at the end of an interval that are changed: libjpeg itself reads up to 8 ahead."""

_FOREIGN = bytes(index * 73 % 251 for index in range(1, 65))
_MASKS = (0x55, 0xAA, 0xFF, 0xF0, 0x3C, 0x91)
"""Changes of these bytes, of which the later ones are tried where the earlier ones changed nothing."""

_BAND = 256


def decode_unnamed_sampling(picture: ImageBytes, edge: int) -> DecodedImage:
    """Decode a JPEG without metadata.

    Returns:
        RGB of `edge` x `edge`.

    Raises:
        UnsupportedImage: it is too large, or coded arithmetically.
        CorruptImage: it is damaged or incomplete.
        OSError: Pillow cannot decode it.
    """
    head = read_jpeg_header(picture)
    scans = read_scans(picture, head)
    width, height = head.frame.mcu
    if any(width % (8 * h) or height % (8 * v) for _, h, v in head.frame.components):
        raise UnsupportedImage("the jpeg has sampling factors that are no fractions of each other: save it as 4:2:0")
    if len(picture) > _MOST_BYTES or len(scans) > _MOST_SCANS or head.frame.is_arithmetic:
        raise UnsupportedImage("the jpeg has rare sampling factors and is too large to check: save it as 4:2:0")
    _check_coded_data(picture, head, scans)
    image = _open(picture, head.frame.width // edge)
    return DecodedImage(image.height, image.width, lambda first, stop: band_of(image, first, stop).view(np.uint8))


def _open(picture: ImageBytes, scale: int) -> Image.Image:
    """Decode at 1/1, 1/2, 1/4 or 1/8 of the size."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(picture))
    image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    return image


def _check_coded_data(picture: ImageBytes, head: JpegHeader, scans: Sequence[Scan]) -> None:
    for scan in scans:
        _check_restarts(picture, head, scan)
    is_interleaved = len(scans) == 1 and len(scans[0].components) == len(head.frame.components)
    if is_interleaved:
        picture = _widened(picture, head)
        head = read_jpeg_header(picture)
        scans = read_scans(picture, head)
    intervals = [each for scan in scans for each in coded_intervals(picture, scan, head.frame)]
    expected = _open(picture, _CHECKED_AT)
    followed = _rebuilt(picture, intervals, lambda coded: coded + _FOREIGN)
    if _differences(expected, _open(followed, _CHECKED_AT)).any():
        raise CorruptImage("the jpeg's coded data ends too early: it is damaged or incomplete")
    if is_interleaved:
        _check_tails(picture, head, intervals, expected)


def _widened(picture: ImageBytes, head: JpegHeader) -> bytes:
    """The JPEG with a size of whole units, and greyer: changes must not lie outside the picture, or drown in black."""
    frame = head.frame
    width, height = (-(-edge // unit) * unit for edge, unit in zip((frame.width, frame.height), frame.mcu, strict=True))
    segments = (_greyer(with_size(bytes(picture[start:end]), frame, (width, height))) for start, end in head.needed)
    return b"".join([b"\xff\xd8", *segments, picture[head.scan :]])


def _greyer(segment: bytes) -> bytes:
    """A segment, if it holds quantization tables with half of the first, the mean's, factor in each."""
    if segment[1] != _QUANTIZATION:
        return segment
    changed = bytearray(segment)
    position = 4
    while position < len(changed):
        is_wide = changed[position] >> 4 != 0
        first = slice(position + 1, position + 2 + is_wide)
        factor = int.from_bytes(changed[first])
        changed[first] = max(1, factor // 2).to_bytes(1 + is_wide)
        position += 65 + 64 * is_wide
    return bytes(changed)


def _check_restarts(picture: ImageBytes, head: JpegHeader, scan: Scan) -> None:
    """The markers must be those that the restart interval promises, in order."""
    intervals = list(coded_intervals(picture, scan, head.frame))
    units = head.frame.units(scan.components)
    wanted = -(-units // head.restart_interval) if head.restart_interval else 1
    markers = [picture[end + 1] for _, end in intervals[:-1]]
    if len(intervals) != wanted or any(marker != 0xD0 + index % 8 for index, marker in enumerate(markers)):
        raise CorruptImage("the jpeg's restart markers are damaged or missing")


def _check_tails(picture: ImageBytes, head: JpegHeader, intervals: Sequence[_Interval], expected: Image.Image) -> None:
    mcu_width, mcu_height = head.frame.mcu
    units = head.frame.units((0, 1))
    length = head.restart_interval or units
    starts = np.arange(0, units, length)
    # Upsampling smears a change into units beside it: neighbours are never changed together.
    stride = _stride(-(-head.frame.width // mcu_width) / length)
    is_used = np.zeros(len(intervals), bool)
    for mask, group in product(_MASKS, range(min(stride, len(intervals)))):
        if is_used[group::stride].all():
            continue
        altered = _rebuilt(picture, intervals[group::stride], partial(_altered, mask))
        differs = _differences(expected, _open(altered, _CHECKED_AT))
        changed = np.logical_or.reduceat(
            _any_in_units(differs, mcu_width // _CHECKED_AT, mcu_height // _CHECKED_AT), starts
        )
        is_used[group::stride] |= changed[group::stride]
    if not is_used.all():
        raise CorruptImage("the jpeg has more coded data than pixels: it is damaged")


def _stride(intervals_a_row: float) -> int:
    """Apart by this many, two intervals lie neither beside nor above each other."""
    return next((stride for stride in (2, 3, 4) if intervals_a_row % stride), 5)


def _altered(mask: int, coded: bytes) -> bytes:
    start = max(0, len(coded) - _TAIL)
    start -= coded[max(0, start - 1) : start] == b"\xff"  # FF 00 is one byte of coded data.
    tail = coded[start:].replace(b"\xff\x00", b"\xff")
    return coded[:start] + bytes(min(byte ^ mask, 0xFE) for byte in tail)


def _rebuilt(picture: ImageBytes, intervals: Sequence[_Interval], change: Callable[[bytes], bytes]) -> bytes:
    parts: list[ImageBytes] = []
    position = 0
    for start, end in intervals:
        parts += [picture[position:start], change(bytes(picture[start:end]))]
        position = end
    return b"".join([*parts, picture[position:]])


def _differences(one: Image.Image, other: Image.Image) -> NDArray[np.bool_]:
    """Where two images of the same size differ in any channel."""
    differs = np.empty((one.height, one.width), bool)
    for top in range(0, one.height, _BAND):
        box = (0, top, one.width, min(top + _BAND, one.height))
        pair = [np.asarray(image.crop(box)) for image in (one, other)]
        differs[top : top + _BAND] = (pair[0] != pair[1]).reshape(*pair[0].shape[:2], -1).any(axis=2)
    return differs


def _any_in_units(differs: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """Whether anything differs in each unit of `width` x `height` pixels, row by row."""
    rows = np.logical_or.reduceat(differs, np.arange(0, differs.shape[0], height), axis=0)
    units: NDArray[np.bool_] = np.logical_or.reduceat(rows, np.arange(0, differs.shape[1], width), axis=1)
    return units.ravel()
