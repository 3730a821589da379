"""Read the segments of a JPEG file, its frame, and its scans with their cost, in linear time and without decoding.

Markers are searched with regular expressions that match two bytes, so no input makes a search quadratic. The number of
segments, scans and padding bytes is limited.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gate.errors import CorruptImage, UnsupportedImage
from gate.formats.exif import EXIF_PREFIX, with_xmp
from gate.formats.joined_files import check_alone
from gate.types import ImageBytes

JPEG_SIGNATURE = b"\xff\xd8\xff"

# Start-of-frame markers hold the size; C4, C8 and CC share the range but are tables and extensions. F7 is JPEG-LS.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_LOSSLESS_FRAME = 0xC3
_SEQUENTIAL_FRAMES = frozenset({0xC0, 0xC1, 0xC9})
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, _LOSSLESS_FRAME, 0xC9, 0xCA})
_ARITHMETIC_FRAMES = frozenset({0xC9, 0xCA})
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _RESTART_INTERVAL = 0xD8, 0xD9, 0xDA, 0xDD
_RESTARTS = range(0xD0, 0xD8)
_APP0, _APP1, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
# libjpeg infers the colour space from these two application segments.
_COLOUR_SEGMENTS = {_APP0: (b"JFIF\x00", 14), _APP14: (b"Adobe", 12)}
"""Marker -> beginning of the body, and the least length with which libjpeg reads it. Pillow refuses a shorter JFIF."""
_JFIF_VERSION, _KNOWN_VERSION = 9, b"\x01\x01"
"""Offset of the version in a JFIF segment, and one that libjpeg knows: it warns of a first number other than 1."""
_ADOBE_TRANSFORM = 15
"""Offset of the colour transform in an Adobe segment."""
_ADOBE_TRANSFORMS = {3: (0, 1), 4: (0, 2)}
"""Components -> transforms that libjpeg knows; it warns of any other, and assumes the last of these."""
_SEQUENTIAL_SCAN = b"\x00\x3f\x00"
"""End of the header of each sequential scan: all coefficients, all bits. Phones write other values, of which libjpeg
warns and which it ignores."""
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
_CHANNELS = (1, 3, 4)

# Two bytes each: a stuffed FF 00, fill bytes FF FF and restart markers are skipped.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")

_MARKER_OR_RESTART = re.compile(rb"\xff[\x02-\xfe]")

_MAX_SEGMENTS = 1_000
_MAX_PADDING = 4_096

# Encoders write about ten scans. Each scan visits all coefficients of its components, at about 60 ns a block, so this
# many blocks take at most a second. Ten scans of 4096 x 4096 pixels without subsampling have 3.7 million.
_MAX_SCANS = 100
_MAX_BLOCKS = 12_000_000
_MAX_ARITHMETIC_BLOCKS, _MAX_ARITHMETIC_BYTES = 6_000_000, 5_000_000
"""Limits with arithmetic coding, which takes up to 0.2 µs a block and 0.15 µs a byte."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The start-of-frame segment. `components`: id, horizontal and vertical sampling factor of each."""

    marker: int
    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]

    @property
    def is_lossless(self) -> bool:
        """Whether samples are predicted from their neighbours, without a DCT that could shrink the image."""
        return self.marker == _LOSSLESS_FRAME

    @property
    def is_sequential(self) -> bool:
        """Whether each scan holds whole coefficients, unlike those of progressive files."""
        return self.marker in _SEQUENTIAL_FRAMES

    @property
    def shrinks_evenly(self) -> bool:
        """Whether the DCT shrinks each component to the final size: otherwise colour is enlarged, and smoothed by that.

        libjpeg shrinks a component less than the others only by the same power of two in both directions.
        """
        width, height = self.mcu
        ratios = ((width / (8 * h), height / (8 * v)) for _, h, v in self.components)
        return all(wide == tall and wide in (1, 2, 4) for wide, tall in ratios)

    @property
    def is_arithmetic(self) -> bool:
        """Whether scans use arithmetic instead of Huffman coding."""
        return self.marker in _ARITHMETIC_FRAMES

    @property
    def mcu(self) -> tuple[int, int]:
        """Width and height in pixels of a minimum coded unit (MCU) of all components."""
        return 8 * max(h for _, h, _ in self.components), 8 * max(v for _, _, v in self.components)

    def units(self, ids: tuple[int, ...]) -> int:
        """Return the number of minimum coded units in a scan of these components."""
        mcu_width, mcu_height = self.mcu
        if len(ids) > 1:
            return -(-self.width // mcu_width) * -(-self.height // mcu_height)
        h, v = next(((h, v) for component, h, v in self.components if component == ids[0]), (1, 1))
        return -(-self.width * h // mcu_width) * -(-self.height * v // mcu_height)

    def blocks(self, ids: tuple[int, ...]) -> int:
        """Return the number of blocks of 8 x 8 coefficients in a scan of these components."""
        each = sum(h * v for component, h, v in self.components if component in ids) if len(ids) > 1 else 1
        return self.units(ids) * each


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its components, the positions of its header and its entropy-coded data, and its restart interval."""

    components: tuple[int, ...]
    header: int
    start: int
    restart_interval: int


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Everything before the first scan. `needed`: start and end of each segment that pixels depend on."""

    frame: Frame
    exif: ImageBytes
    needed: tuple[tuple[int, int], ...]
    scan: int
    restart_interval: int

    def without_metadata(self, data: ImageBytes) -> ImageBytes:
        """Return the file without metadata and without bytes between segments; `data` itself if it has neither.

        An unknown transform in an Adobe segment becomes the one that libjpeg assumes for it, and an unknown version of
        JFIF one that it knows.
        """
        view = memoryview(data)
        segments = [view[start:end] for start, end in self.needed]
        known = [_with_known_values(segment, self.frame) for segment in segments]
        if known == segments and sum(map(len, segments)) == self.scan - 2:
            return data
        return b"".join([b"\xff\xd8", *known, view[self.scan :]])

    def with_known_scans(self, data: ImageBytes, scans: Sequence[Scan]) -> ImageBytes:
        """Return the file with the parameters that sequential scans must have; `data` itself if they do."""
        ends = [scan.start for scan in scans if self.frame.is_sequential]
        if all(data[end - 3 : end] == _SEQUENTIAL_SCAN for end in ends):
            return data
        known = bytearray(data)
        for end in ends:
            known[end - 3 : end] = _SEQUENTIAL_SCAN
        return bytes(known)


def _with_known_values(segment: memoryview, frame: Frame) -> memoryview | bytes:
    marker, transforms = segment[1], _ADOBE_TRANSFORMS.get(len(frame.components), ())
    if marker == _APP0 and segment[_JFIF_VERSION] != _KNOWN_VERSION[0]:
        return _replaced(segment, _JFIF_VERSION, _KNOWN_VERSION)
    if marker == _APP14 and transforms and segment[_ADOBE_TRANSFORM] not in transforms:
        return _replaced(segment, _ADOBE_TRANSFORM, bytes([transforms[-1]]))
    return segment


def _replaced(segment: memoryview, start: int, value: bytes) -> bytes:
    return bytes(segment[:start]) + value + bytes(segment[start + len(value) :])


def with_size(segment: bytes, frame: Frame, size: tuple[int, int]) -> bytes:
    """Return a segment; if it is the start of frame, with another width and height."""
    width, height = size
    return segment[:5] + struct.pack(">HH", height, width) + segment[9:] if segment[1] == frame.marker else segment


def read_jpeg_header(data: ImageBytes) -> JpegHeader:
    """Read the segments before the first scan.

    Raises:
        CorruptImage: there is no frame or scan, or the header is padded or fragmented beyond any encoder's output.
        UnsupportedImage: no decoder here reads this variant of JPEG.
        struct.error, IndexError: a segment ends early.
    """
    frame: Frame | None = None
    metadata: list[tuple[int, int]] = []
    restart_interval = 0
    needed: list[tuple[int, int]] = []
    for marker, start, end in _segments(data, 2):
        if marker == _START_OF_SCAN:
            if frame is None:
                break
            return JpegHeader(frame, _read_exif(data, metadata), tuple(needed), start, restart_interval)
        if marker == _APP1:
            metadata.append((start + 4, end))
        elif marker in _START_OF_FRAME and frame is None:
            frame = _read_frame(data, marker, start + 4)
        elif marker == _RESTART_INTERVAL:
            restart_interval = _read_restart_interval(data, start)
        if _is_needed(data, marker, start, end):
            needed.append((start, end))
    raise CorruptImage(f"the jpeg has no start of {'frame' if frame is None else 'scan'}")


def read_scans(data: ImageBytes, head: JpegHeader) -> list[Scan]:
    """Find all scans up to the end of image; thumbnails and further images are not included.

    Raises:
        CorruptImage: there are too many scans, or a component is in none.
        UnsupportedImage: arithmetic coding would take too long, or another file or a form field follows.
        struct.error, IndexError: the header of a scan ends early.
    """
    first = _read_scan(data, head.scan, head.restart_interval)
    scans = [first, *_later_scans(data, first)]
    _check_scans(head.frame, scans, len(data) - first.start)
    return scans


def coded_intervals(data: ImageBytes, scan: Scan, frame: Frame) -> Iterator[tuple[int, int]]:
    """Yield start and end of the coded data between restart markers: at most one interval per unit of the scan.

    An interval ends before the fill bytes of its marker.
    """
    start = scan.start
    for _ in range(frame.units(scan.components) + 1):
        marker = _MARKER_OR_RESTART.search(data, start)
        if marker is None:
            return
        yield start, start + len(data[start : marker.start()].rstrip(b"\xff"))
        if data[marker.end() - 1] not in _RESTARTS:
            return
        start = marker.end()


def _later_scans(data: ImageBytes, first: Scan) -> Iterator[Scan]:
    position, restart_interval = first.start, first.restart_interval
    for _ in range(_MAX_SCANS):
        match = _MARKER.search(data, position)
        if match is None:
            return
        for marker, begin, _end in _segments(data, match.start()):
            if marker == _RESTART_INTERVAL:
                restart_interval = _read_restart_interval(data, begin)
            elif marker == _START_OF_SCAN:
                scan = _read_scan(data, begin, restart_interval)
                break
        else:
            return
        yield scan
        position = scan.start
    raise CorruptImage(f"the jpeg has more than {_MAX_SCANS} scans: no encoder writes so many")


def _check_scans(frame: Frame, scans: list[Scan], size: int) -> None:
    """Check scans whose coded data has up to `size` bytes."""
    missing = {component for component, _, _ in frame.components} - {id_ for scan in scans for id_ in scan.components}
    if missing:
        raise CorruptImage("the jpeg ends before the scan of its last component: it is incomplete")
    limit = _MAX_ARITHMETIC_BLOCKS if frame.is_arithmetic else _MAX_BLOCKS
    if sum(frame.blocks(scan.components) for scan in scans) > limit:
        raise CorruptImage(f"the jpeg has {len(scans)} scans at this size: no encoder writes so many")
    if frame.is_arithmetic and size > _MAX_ARITHMETIC_BYTES:
        raise UnsupportedImage(
            f"the jpeg has {size:,} bytes of arithmetic coding, and above {_MAX_ARITHMETIC_BYTES:,} takes too long to "
            "decode: save it with Huffman coding"
        )


def _segments(data: ImageBytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the end of image, a damaged marker or the end of the data."""
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, position, position + _MAX_PADDING + 2)
        if match is None and len(data) > position + _MAX_PADDING:
            break
        if match is None:
            return
        if data[match.end() - 1] == _END_OF_IMAGE:
            check_alone(data, match.end(), may_be_followed=True)
            return
        start = match.start()
        marker = data[start + 1]
        if marker == _START_OF_IMAGE:
            raise CorruptImage("the jpeg has a second start of image inside its header")
        (length,) = struct.unpack_from(">H", data, start + 2)
        if length < 2:
            raise CorruptImage("the jpeg has a segment without a length")
        yield marker, start, start + 2 + length
        position = start + 2 + length
    raise CorruptImage("the jpeg header is padded or split up as no encoder would")


def _is_needed(data: ImageBytes, marker: int, start: int, end: int) -> bool:
    if marker in _COLOUR_SEGMENTS:
        beginning, length = _COLOUR_SEGMENTS[marker]
        return data.startswith(beginning, start + 4) and end - start >= 4 + length
    return not (_APP0 <= marker <= _APP15 or marker == _COMMENT)


def _read_exif(data: ImageBytes, segments: list[tuple[int, int]]) -> ImageBytes:
    """Return the EXIF block; if it has no orientation, one with that of the last XMP metadata.

    A block above 64 kB continues in further segments.
    """
    exif = b"".join(
        data[start + len(EXIF_PREFIX) : end] for start, end in segments if data.startswith(EXIF_PREFIX, start)
    )
    xmp = next((each for each in reversed(segments) if data.startswith(_XMP_PREFIX, each[0])), (0, 0))
    return with_xmp(exif, data[slice(*xmp)])


def _read_frame(data: ImageBytes, marker: int, start: int) -> Frame:
    precision, height, width, channels = struct.unpack_from(">BHHB", data, start)
    if precision != 8:
        raise UnsupportedImage(f"the jpeg has {precision} bits per sample: only 8 are read; save it with 8, or as PNG")
    if height == 0:
        raise UnsupportedImage("the jpeg names its height behind its first scan (DNL): save it again")
    if marker not in _DECODED_FRAMES:
        raise UnsupportedImage(
            f"the jpeg is hierarchical, JPEG-LS or of a rare kind (SOF{marker - 0xC0}): save it as PNG"
        )
    if channels not in _CHANNELS:
        raise UnsupportedImage(f"the jpeg has {channels} channels: only grey, RGB and CMYK are read")
    components = tuple(
        (data[at], data[at + 1] >> 4, data[at + 1] & 15) for at in range(start + 6, start + 6 + 3 * channels, 3)
    )
    if not all(1 <= factor <= 4 for _, *factors in components for factor in factors):
        raise CorruptImage("the jpeg has a sampling factor that is not from 1 to 4")
    return Frame(marker, width, height, components)


def _read_restart_interval(data: ImageBytes, segment: int) -> int:
    (units,) = struct.unpack_from(">H", data, segment + 4)
    return int(units)


def _read_scan(data: ImageBytes, header: int, restart_interval: int) -> Scan:
    length, count = struct.unpack_from(">HB", data, header + 2)
    ids = tuple(data[at] for at in range(header + 5, header + 5 + 2 * count, 2))
    if not 1 <= count <= 4:
        raise CorruptImage("the jpeg has a scan that is not of 1 to 4 components")
    return Scan(ids, header, header + 2 + length, restart_interval)
