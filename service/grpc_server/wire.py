"""Split a `ModelInferRequest` into its head and its tensors, without copying a tensor."""

from contextlib import suppress

from common.identity import is_identity
from service.errors import BodyTooLarge, MalformedRequest

MAX_HEAD_BYTES = 2 * 2**20
"""Largest request without `raw_input_contents`: parsed, it occupies a multiple of its size, and parsing blocks."""

# The protocol's fields that may repeat, with the largest number of each; parameters of Triton's clients are few.
_ID, _PARAMETERS, _INPUTS, _OUTPUTS, _RAW = 3, 4, 5, 6, 7
_MAX_REPEATS = {_PARAMETERS: 64, _INPUTS: 3, _OUTPUTS: 4, _RAW: 3}
_NAMES = {_PARAMETERS: "parameters", _INPUTS: "inputs", _OUTPUTS: "outputs", _RAW: "raw_input_contents"}
_MAX_OTHERS = 64
_MAX_ID_BYTES = 600  # More than the 128 characters of a valid one.

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10


def split_request(message: bytes) -> tuple[bytes, list[memoryview], int]:
    """Return the message without `raw_input_contents`, those as views of it, and the number of its parameters.

    Each message inside the message costs its parser far more than the two bytes that it may have on the wire, so their
    number is bounded here.

    Raises:
        MalformedRequest: it is not a protobuf message, or a field is repeated too often.
        BodyTooLarge: the head is too large.
    """
    whole = memoryview(message)
    head: list[memoryview] = []
    raw: list[memoryview] = []
    counts: dict[int, int] = {}
    start = kept = 0
    while start < len(whole):
        tag, position = _varint(whole, start)
        field = tag >> 3
        _count(counts, field)
        value, end = _skip(whole, position, tag & 7)
        if field == _RAW and tag & 7 == _BYTES:
            raw.append(whole[value:end])
            head.append(whole[kept:start])
            kept = end
        start = end
    head.append(whole[kept:])
    if (size := sum(map(len, head))) > MAX_HEAD_BYTES:
        raise BodyTooLarge(
            f"{size:,} bytes beside raw_input_contents: {MAX_HEAD_BYTES:,} are allowed, send tensors there"
        )
    return b"".join(head), raw, counts.get(_PARAMETERS, 0)


def read_id(message: bytes) -> str:
    """Return the caller's id, empty if there is no valid one; the rest of the message may be at fault.

    Serializers write the fields in the order of their numbers, so those behind the id are not looked at.
    """
    whole = memoryview(message)
    start = 0
    with suppress(MalformedRequest, UnicodeDecodeError):  # Such as at the end of the message.
        for _ in range(_MAX_OTHERS):
            tag, position = _varint(whole, start)
            value, start = _skip(whole, position, tag & 7)
            if tag == _ID << 3 | _BYTES:
                text = bytes(whole[value : min(start, value + _MAX_ID_BYTES)]).decode()
                return text if is_identity(text) else ""
            if tag >> 3 > _ID:
                break
    return ""


def _count(counts: dict[int, int], field: int) -> None:
    key = field if field in _MAX_REPEATS else 0
    counts[key] = counts.get(key, 0) + 1
    if counts[key] > _MAX_REPEATS.get(key, _MAX_OTHERS):
        raise MalformedRequest(f"the message has more than {counts[key] - 1} {_NAMES.get(key, 'other fields')}")


def _skip(whole: memoryview, position: int, kind: int) -> tuple[int, int]:
    """Return where the value of a field begins and ends."""
    if kind == _VARINT:
        return position, _varint(whole, position)[1]
    if kind == _BYTES:
        size, position = _varint(whole, position)
    elif kind in (_FIXED64, _FIXED32):
        size = 8 if kind == _FIXED64 else 4
    else:
        raise MalformedRequest("the message is not a ModelInferRequest")
    if position + size > len(whole):
        raise MalformedRequest("the message is truncated")
    return position, position + size


def _varint(whole: memoryview, position: int) -> tuple[int, int]:
    """Return a varint and where it ends."""
    value = 0
    for index, byte in enumerate(whole[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise MalformedRequest("the message is truncated, or not a ModelInferRequest")
