"""Decode JPEGs with sampling factors that TurboJPEG does not support, such as 4:1:0 and 3x1.

Pillow reads them, but discards libjpeg's warnings and fills damage with grey. No available decoder is strict about
them, so the coded data is checked by decoding it again with known changes, at half the size and, for changes that do
not show there, at full size:

- With extra bytes after each interval of coded data the image must stay the same. If an interval is too short, libjpeg
  decodes these bytes instead of the zeros that it would invent.
- With the last bytes of each interval changed, the image must change in that interval. If it does not, a damaged code
  made the decoder run out of blocks before it ran out of data. Progressive scans refine one another and hide such a
  change, so only the first check applies to them.
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

# Four decodes must fit into the time limit of one image.
_MAX_BYTES = 5_000_000
_MAX_SCANS = 20
_MAX_INTERVALS = 600_000
"""More than 4096 x 4096 pixels have, with each component in a scan of its own and a restart marker after each block."""

_CHECKED_AT = 2
"""Half the size: a quarter of the memory, and enough coefficients to show nearly every change."""

_QUANTIZATION = 0xDB

_TAIL = 8
"""Number of bytes to change at the end of an interval: libjpeg reads up to 8 ahead."""

_FOREIGN = bytes(index * 73 % 251 for index in range(1, 65))
_MASKS = (0x55, 0xAA)
"""XOR masks for these bytes; the second one is tried if the first does not change the image."""

_LARGE = 2**22
"""Up to so many pixels, intervals without a change are checked again at full size. With fine quantization their last
bytes hold only high frequencies, which half the size does not show. Larger files would take too long."""

_BAND = 256


def decode_unnamed_sampling(jpeg: ImageBytes, edge: int) -> DecodedImage:
    """Decode a JPEG without metadata.

    Returns:
        RGB of `edge` x `edge`.

    Raises:
        UnsupportedImage: the file cannot be checked for damage; the text names the reason.
        CorruptImage: the file is damaged or incomplete.
        OSError: Pillow cannot decode the file.
    """
    head = read_jpeg_header(jpeg)
    scans = read_scans(jpeg, head)
    width, height = head.frame.mcu
    if any(width % (8 * h) or height % (8 * v) for _, h, v in head.frame.components):
        raise UnsupportedImage("the jpeg has sampling factors that do not divide each other: save it as 4:2:0")
    if (obstacle := _obstacle(jpeg, head, scans)) is not None:
        raise UnsupportedImage(f"the jpeg has rare sampling factors and {obstacle}: save it as 4:2:0")
    _check_coded_data(jpeg, head, scans)
    image = _open(jpeg, head.frame.width // edge)
    return DecodedImage(image.height, image.width, lambda first, stop: band_of(image, first, stop).view(np.uint8))


def _obstacle(jpeg: ImageBytes, head: JpegHeader, scans: Sequence[Scan]) -> str | None:
    """Return why the coded data cannot be checked, as the end of an error."""
    if head.frame.is_arithmetic:
        return "arithmetic coding, which together cannot be checked for damage"
    if len(jpeg) > _MAX_BYTES:
        return f"{len(jpeg):,} bytes, and above {_MAX_BYTES:,} is too large to check for damage"
    if len(scans) > _MAX_SCANS:
        return f"{len(scans):,} scans, and above {_MAX_SCANS} takes too long to check for damage"
    intervals = sum(_intervals(head, scan) for scan in scans)
    if intervals > _MAX_INTERVALS:
        return f"{intervals:,} restart intervals, and above {_MAX_INTERVALS:,} takes too long to check for damage"
    return None


def _intervals(head: JpegHeader, scan: Scan) -> int:
    """Return the number of intervals that the restart interval of a scan announces."""
    return -(-head.frame.units(scan.components) // scan.restart_interval) if scan.restart_interval else 1


def _open(jpeg: ImageBytes, scale: int) -> Image.Image:
    """Decode at 1/1, 1/2, 1/4 or 1/8 of the stored size."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg))
    image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    return image


def _check_coded_data(jpeg: ImageBytes, head: JpegHeader, scans: Sequence[Scan]) -> None:
    for scan in scans:
        _check_restarts(jpeg, head, scan)
    is_interleaved = len(scans) == 1 and len(scans[0].components) == len(head.frame.components)
    if is_interleaved:
        jpeg = _widened(jpeg, head)
        head = read_jpeg_header(jpeg)
        scans = read_scans(jpeg, head)
    intervals = [each for scan in scans for each in coded_intervals(jpeg, scan, head.frame)]
    expected = _open(jpeg, _CHECKED_AT)
    followed = _rebuilt(jpeg, intervals, lambda coded: coded + _FOREIGN)
    if _differences(expected, _open(followed, _CHECKED_AT)).any():
        raise CorruptImage("the jpeg's coded data ends too early: it is damaged or incomplete")
    if is_interleaved:
        _check_tails(jpeg, head, intervals, expected)


def _widened(jpeg: ImageBytes, head: JpegHeader) -> bytes:
    """Return the JPEG with a size of whole units and less contrast, so that changes stay inside and are not clipped."""
    frame = head.frame
    width, height = (-(-edge // unit) * unit for edge, unit in zip((frame.width, frame.height), frame.mcu, strict=True))
    segments = (_greyer(with_size(bytes(jpeg[start:end]), frame, (width, height))) for start, end in head.needed)
    return b"".join([b"\xff\xd8", *segments, jpeg[head.scan :]])


def _greyer(segment: bytes) -> bytes:
    """Return a segment; in quantization tables, halve the first factor, that of the block's mean."""
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


def _check_restarts(jpeg: ImageBytes, head: JpegHeader, scan: Scan) -> None:
    """Check that the restart markers match the restart interval, in order."""
    intervals = list(coded_intervals(jpeg, scan, head.frame))
    markers = [jpeg[start - 1] for start, _ in intervals[1:]]
    if len(intervals) != _intervals(head, scan) or any(
        marker != 0xD0 + index % 8 for index, marker in enumerate(markers)
    ):
        raise CorruptImage("the jpeg's restart markers are damaged or missing")


def _check_tails(jpeg: ImageBytes, head: JpegHeader, intervals: Sequence[_Interval], expected: Image.Image) -> None:
    is_used = np.zeros(len(intervals), bool)
    _mark_used(is_used, jpeg, head, intervals, expected)
    if not is_used.all() and head.frame.width * head.frame.height <= _LARGE:
        _mark_used(is_used, jpeg, head, intervals, _open(jpeg, 1))
    if not is_used.all():
        raise CorruptImage("the jpeg has more coded data than pixels: it is damaged")


def _mark_used(
    is_used: NDArray[np.bool_],
    jpeg: ImageBytes,
    head: JpegHeader,
    intervals: Sequence[_Interval],
    expected: Image.Image,
) -> None:
    """Set `is_used` of the intervals in which a change of the last bytes shows, at the scale of `expected`."""
    mcu_width, mcu_height = head.frame.mcu
    scale = head.frame.width // expected.width
    units = head.frame.units((0, 1))
    length = head.restart_interval or units
    starts = np.arange(0, units, length)
    # Upsampling smears a change into neighbouring units, so neighbours are never changed together.
    stride = _stride(-(-head.frame.width // mcu_width) / length)
    for mask, group in product(_MASKS, range(min(stride, len(intervals)))):
        if is_used[group::stride].all():
            continue
        change = partial(_altered, mask)
        # Without a name for the changed file: it would stay in memory while the next one is built.
        differs = _differences(expected, _open(_rebuilt(jpeg, intervals[group::stride], change), scale))
        changed = np.logical_or.reduceat(_any_in_units(differs, mcu_width // scale, mcu_height // scale), starts)
        is_used[group::stride] |= changed[group::stride]


def _stride(intervals_a_row: float) -> int:
    """Return a distance at which two intervals are adjacent neither horizontally nor vertically."""
    return next((stride for stride in (2, 3, 4) if intervals_a_row % stride), 5)


def _altered(mask: int, coded: bytes) -> bytes:
    start = max(0, len(coded) - _TAIL)
    start -= coded[max(0, start - 1) : start] == b"\xff"  # FF 00 encodes one byte.
    tail = coded[start:].replace(b"\xff\x00", b"\xff")
    return coded[:start] + bytes(min(byte ^ mask, 0xFE) for byte in tail)


def _rebuilt(jpeg: ImageBytes, intervals: Sequence[_Interval], change: Callable[[bytes], bytes]) -> bytes:
    parts: list[ImageBytes] = []
    position = 0
    for start, end in intervals:
        parts += [jpeg[position:start], change(bytes(jpeg[start:end]))]
        position = end
    return b"".join([*parts, jpeg[position:]])


def _differences(one: Image.Image, other: Image.Image) -> NDArray[np.bool_]:
    """Return a mask of the pixels at which two images of the same size differ in any channel."""
    differs = np.empty((one.height, one.width), bool)
    for top in range(0, one.height, _BAND):
        box = (0, top, one.width, min(top + _BAND, one.height))
        pair = [np.asarray(image.crop(box)) for image in (one, other)]
        differs[top : top + _BAND] = (pair[0] != pair[1]).reshape(*pair[0].shape[:2], -1).any(axis=2)
    return differs


def _any_in_units(differs: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """Return, for each unit of `width` x `height` pixels, row by row, whether any pixel differs."""
    rows = np.logical_or.reduceat(differs, np.arange(0, differs.shape[0], height), axis=0)
    units: NDArray[np.bool_] = np.logical_or.reduceat(rows, np.arange(0, differs.shape[1], width), axis=1)
    return units.ravel()
