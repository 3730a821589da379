"""Remove zeros before restart markers and intervals behind the last pixel, as webcams and scanners write them: libjpeg
warns of them, but ignores them.

Coded data may itself end with a zero. Each interval that ends with zeros is therefore decoded alone, strictly, as an
image of one row of units, with and without its zeros; the first form that decodes without a warning is kept.
"""

from collections.abc import Callable, Iterator

from gate.formats.jpeg.header import Frame, JpegHeader, coded_intervals, read_jpeg_header, read_scans, with_size
from gate.types import ImageBytes

_MAX_CANDIDATES = 4_096
"""Limit of intervals that are decoded alone, at about 20 µs each; more than the rows of any image."""

_MAX_BYTES = 5_000_000
"""Limit of the file size: each interval may be decoded three more times, within the time limit of one image."""

_MAX_HEADER_BYTES = 2**26
"""Limit of bytes of the header, counted once for each interval, because each decode reads it again: at about 400 MB/s,
three times. Tables of an encoder take less than 2 kB; a file could repeat them up to the limit of its size."""

_LARGEST = 65_500
_RESTART_INTERVAL = 0xDD
_END_OF_IMAGE = b"\xff\xd9"


def without_padding(jpeg: ImageBytes, is_sound: Callable[[bytes], bool]) -> bytes | None:
    """Return a JPEG without padding: zeros before restart markers and the end, and intervals behind the last pixel.

    Return None if there is none to remove.

    Args:
        jpeg: a file of one scan, without metadata.
        is_sound: whether a strict decoder accepts a JPEG.
    """
    head = read_jpeg_header(jpeg)
    scans = read_scans(jpeg, head)
    if len(scans) > 1 or len(jpeg) > _MAX_BYTES:
        return None
    lead = _Lead(jpeg, head, scans[0].start)
    intervals = list(coded_intervals(jpeg, scans[0], head.frame))
    intervals, surplus = intervals[: lead.intervals], intervals[lead.intervals :]
    padded = [index for index, (start, end) in enumerate(intervals) if end > start and jpeg[end - 1] == 0]
    if not padded and not surplus:
        return None
    # Arithmetic decoding invents the bits that it lacks without a warning: a marker in its middle would go unnoticed.
    if surplus and head.frame.is_arithmetic:
        return None
    if len(padded) > _MAX_CANDIDATES or len(padded) * scans[0].start > _MAX_HEADER_BYTES:
        return None
    whole = {index: _whole(lead, intervals, index, is_sound) for index in padded}
    end = _END_OF_IMAGE if surplus else jpeg[intervals[-1][1] :]
    return b"".join([*_parts(jpeg, intervals, whole), end])


class _Lead:
    """Everything before the coded data, to be combined with another size and no restart interval."""

    def __init__(self, jpeg: ImageBytes, head: JpegHeader, start: int) -> None:
        self.jpeg, self.frame, self._head, self._start = jpeg, head.frame, head, start
        self.restart_interval = head.restart_interval or head.frame.units(self.ids)
        self.intervals = -(-head.frame.units(self.ids) // self.restart_interval)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(component for component, _, _ in self.frame.components)

    def alone(self, coded: bytes, units: int) -> bytes | None:
        """Return a JPEG of one interval; None if it would exceed the width limit of JPEG."""
        width, height = _unit(self.frame)
        if units == self.frame.units(self.ids):
            size = (self.frame.width, self.frame.height)
        elif units * width <= _LARGEST:
            size = (units * width, height)
        else:
            return None
        segments = [bytes(self.jpeg[start:end]) for start, end in self._head.needed]
        resized = [with_size(each, self.frame, size) for each in segments if each[1] != _RESTART_INTERVAL]
        scan_header = bytes(self.jpeg[self._head.scan : self._start])
        return b"".join([b"\xff\xd8", *resized, scan_header, coded, _END_OF_IMAGE])


def _whole(lead: _Lead, intervals: list[tuple[int, int]], index: int, is_sound: Callable[[bytes], bool]) -> bytes:
    """Return the interval without padding; unchanged if no form decodes."""
    start, end = intervals[index]
    coded = bytes(lead.jpeg[start:end])
    units = lead.restart_interval
    if index == len(intervals) - 1:
        units = max(1, lead.frame.units(lead.ids) - index * units)
    for form in _forms(coded):
        alone = lead.alone(form, units)
        if alone is not None and is_sound(alone):
            return form
    return coded


def _forms(coded: bytes) -> Iterator[bytes]:
    """Yield the coded data with no trailing zero, with one, and with two."""
    trimmed = coded.rstrip(b"\x00")
    if trimmed.endswith(b"\xff"):
        trimmed += b"\x00"  # FF 00 encodes one byte.
    zeros = len(coded) - len(trimmed)
    for kept in (0, 1, 2):
        if kept <= zeros:
            yield trimmed + bytes(kept)


def _parts(jpeg: ImageBytes, intervals: list[tuple[int, int]], whole: dict[int, bytes]) -> Iterator[ImageBytes]:
    position = 0
    for index, (start, end) in enumerate(intervals):
        if index in whole:
            yield jpeg[position:start]
            yield whole[index]
            position = end
    yield jpeg[position : intervals[-1][1]]


def _unit(frame: Frame) -> tuple[int, int]:
    width, height = frame.mcu
    return (8, 8) if len(frame.components) == 1 else (width, height)
