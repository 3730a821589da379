"""Parse an inference request. Pure: no HTTP, no model."""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from common.identity import is_identity
from gate import Label
from gate.pixels import Pixels
from service.api.v2.schemas import InferenceHead, InputParameters, InputTensor, OutputParameters, validate
from service.api.v2.served_model import ServedModel, check_model
from service.api.v2.tensors import InputData
from service.errors import BodyTooLarge, MalformedRequest
from service.http.json_body import read_json
from service.inference.payload import Payload

MAX_JSON_BYTES = 2 * 2**20
"""Largest JSON part: parsed, it occupies about 20 times its size, and parsing blocks the event loop."""

NoteNames = Callable[[dict[str, str | int]], object]
"""Receives `id` and `source` of a request, as far as they are given and valid, for its log line."""

# Short JSON parts are cached in parsed form: callers without ids send the same one with each tensor.
_CACHED_BYTES = 1024
_CACHED_HEADS = 64

_LABELS = {label.encode(): label for label in Label}


@dataclass(frozen=True, slots=True)
class SharedMemoryRange:
    """A range of a shared memory region, in bytes from its start."""

    region: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """One output as the caller wants it: as JSON, as binary data, or in shared memory."""

    name: str
    binary: bool
    shared: SharedMemoryRange | None = None


@dataclass(slots=True)
class InferenceRequest:
    """A request for N images: `pixels`, uint8 `[N, H, H, 3]`, or else N `files`; `timeout` in seconds."""

    identity: str | None
    timeout: float | None
    pixels: Pixels | None
    files: list[memoryview]
    expected: list[Label | None]
    source: str | None
    outputs: Sequence[OutputRequest]

    @property
    def count(self) -> int:
        """N."""
        return len(self.expected)

    def take_pixels(self) -> Payload[Pixels] | None:
        """Hand over the pixels; None if the images are files."""
        taken, self.pixels = self.pixels, None
        return None if taken is None else Payload(taken)

    def take_files(self) -> list[Payload[memoryview]]:
        """Hand over the files."""
        taken, self.files = self.files, []
        return [Payload(file) for file in taken]


def parse_request(
    body: bytes | bytearray,
    header_length: int | None,
    *,
    model: ServedModel,
    read_shared: Callable[[SharedMemoryRange], bytes],
    note_names: NoteNames = lambda _: None,
) -> InferenceRequest:
    """Read a request; the pixels of binary data are a view of `body`.

    Args:
        body: JSON, then binary data.
        header_length: where the JSON ends, if not at the end.
        model: that is served.
        read_shared: reads shared memory, or raises the reason why it cannot.
        note_names: receives the caller's names before anything else is validated.

    Raises:
        MalformedRequest, NotFound: the text names the member at fault.
        BodyTooLarge: it holds more images, or more JSON, than a request may.
    """
    text, binary = _split(body, header_length)
    head = _read_text(text, note_names)
    return build_request(head, _cut(head.inputs, binary), model=model, read_shared=read_shared)


def note_caller(members: dict[str, Any], note_names: NoteNames) -> None:
    """Note the caller's names before anything else is validated."""
    parameters = members.get("parameters")
    source = parameters.get("source") if isinstance(parameters, dict) else None
    names = {"id": members.get("id"), "source": source}
    note_names({name: value for name, value in names.items() if isinstance(value, str) and is_identity(value)})


def build_request(
    head: InferenceHead,
    parts: Sequence[memoryview],
    *,
    model: ServedModel,
    read_shared: Callable[[SharedMemoryRange], bytes],
) -> InferenceRequest:
    """Build a request from its head and the binary data of each input with `binary_data_size`, in order.

    Raises:
        MalformedRequest, NotFound, BodyTooLarge: as `parse_request`.
    """
    check_model(model, {"name": head.model_name, "version": head.model_version})
    tensors = _read_tensors(head.inputs, iter(parts), read_shared)
    pixels, files = _images(tensors, model)
    count = len(files) if pixels is None else len(pixels)
    if count > model.max_images:
        raise too_many_images(count, model.max_images)
    return InferenceRequest(
        identity=head.id,
        timeout=head.parameters.timeout / 1e6 if head.parameters.timeout else None,
        pixels=pixels,
        files=files,
        expected=_expected(tensors.get("expected"), head.parameters.expected, count),
        source=head.parameters.source,
        outputs=_outputs(head, model),
    )


def _split(body: bytes | bytearray, header_length: int | None) -> tuple[memoryview, memoryview]:
    whole = memoryview(body)
    if header_length is None:
        _check_first_bytes(bytes(whole[:64]))
    end = len(whole) if header_length is None else header_length
    if end > len(whole):
        raise MalformedRequest(f"Inference-Header-Content-Length is {end:,}, the body has {len(whole):,} bytes")
    if end > MAX_JSON_BYTES:
        raise BodyTooLarge(
            f"{end:,} bytes of JSON: {MAX_JSON_BYTES:,} are allowed, send tensors as binary data behind it, with its "
            "length in Inference-Header-Content-Length"
        )
    return whole[:end], whole[end:]


def _check_first_bytes(start: bytes) -> None:
    """Raise MalformedRequest for a file, a form or compressed data, for which a JSON parser has no helpful text."""
    text = start.lstrip()
    if text and not text.startswith((b"{", BOM_UTF8)):  # The parser names a byte order mark.
        raise MalformedRequest(
            f"the body begins with {text[:8]!r}, not with a JSON object: send image files to /v1/decisions, forms and "
            "tars to /v1/decisions/batch, and compressed JSON with its Content-Encoding"
        )


def _read_text(text: memoryview, note_names: NoteNames) -> InferenceHead:
    if len(text) > _CACHED_BYTES:
        return _read_head(_load(text), note_names)
    key = bytes(text)
    try:
        head = _read_cached(key)
    except MalformedRequest:
        return _read_head(_load(key), note_names)  # Raises again, after the names are noted.
    note_names({name: value for name, value in (("id", head.id), ("source", head.parameters.source)) if value})
    return head


def _read_head(members: dict[str, Any], note_names: NoteNames) -> InferenceHead:
    note_caller(members, note_names)
    return validate(InferenceHead, members)


@lru_cache(_CACHED_HEADS)
def _read_cached(text: bytes) -> InferenceHead:
    return validate(InferenceHead, _load(text))


def _load(text: bytes | memoryview) -> dict[str, Any]:
    try:
        head = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(
            f"the first {len(text):,} bytes are not JSON: {error}; with binary data behind the JSON, "
            "Inference-Header-Content-Length must be the length of the JSON in bytes"
        ) from error
    if not isinstance(head, dict):
        raise MalformedRequest("the request must be a JSON object")
    _check_members_are_unique(bytes(text), head)
    return head


def _check_members_are_unique(text: bytes, head: dict[str, Any]) -> None:
    """Raise MalformedRequest where an object repeats a member: parsing keeps the last one, and `expected` may be lost.

    Each member has a colon. A repeated one is missing from the parsed head, so equal numbers exclude it.
    """
    if text.count(b":") != _count_members(head):
        read_json(text)


def _count_members(head: dict[str, Any]) -> int:
    """Return the members of the objects that a request has; those of further objects are not counted."""
    count = len(head) + _count_parameters(head)
    for name in ("inputs", "outputs"):
        tensors = head.get(name)
        if isinstance(tensors, list):
            count += sum(len(each) + _count_parameters(each) for each in tensors if isinstance(each, dict))
    return count


def _count_parameters(owner: dict[str, Any]) -> int:
    parameters = owner.get("parameters")
    return len(parameters) if isinstance(parameters, dict) else 0


def _cut(inputs: Sequence[InputTensor], binary: memoryview) -> list[memoryview]:
    """Cut the bytes behind the JSON into those of each input."""
    parts = []
    position = 0
    for tensor in inputs:
        if (size := tensor.parameters.binary_data_size) is not None:
            parts.append(binary[position : position + size])
            position += size
    if position != len(binary):
        raise MalformedRequest(
            f"{len(binary):,} bytes follow the JSON, but the binary_data_size of the inputs add up to {position:,}"
        )
    return parts


def _read_tensors(
    inputs: Sequence[InputTensor], parts: Iterator[memoryview], read_shared: Callable[[SharedMemoryRange], bytes]
) -> dict[str, InputData]:
    tensors: dict[str, InputData] = {}
    for tensor in inputs:
        if tensor.name in tensors:
            raise MalformedRequest(f"the input {tensor.name[:64]!r} is repeated: send it once")
        data: list[Any] | memoryview
        if (part := _shared_part(tensor.parameters)) is not None:
            data = memoryview(read_shared(part))
        elif tensor.parameters.binary_data_size is not None:
            data = next(parts)
        else:
            data = tensor.data or []
        tensors[tensor.name] = InputData(tensor.name, tensor.datatype, tensor.shape, data)
    return tensors


def _shared_part(parameters: InputParameters | OutputParameters) -> SharedMemoryRange | None:
    region, size = parameters.shared_memory_region, parameters.shared_memory_byte_size
    if region is None or size is None:
        return None
    return SharedMemoryRange(region, parameters.shared_memory_offset or 0, size)


def _images(tensors: dict[str, InputData], model: ServedModel) -> tuple[Pixels | None, list[memoryview]]:
    if unknown := tensors.keys() - {"image", "encoded_image", "expected"}:
        raise MalformedRequest(f"unknown input {min(unknown)[:64]!r}: the model has image, encoded_image and expected")
    if ("image" in tensors) == ("encoded_image" in tensors):
        raise MalformedRequest("exactly one of the inputs image and encoded_image is needed")
    if image := tensors.get("image"):
        return _pixels(image, model.size), []
    return None, _files(tensors["encoded_image"], model.max_images)


def _pixels(tensor: InputData, size: int) -> Pixels:
    shape = tensor.shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[1] % size or shape[3] != 3:
        raise MalformedRequest(
            f"the shape of image must be [N, T, T, 3] with T a multiple of the model's {size} ({size}, {2 * size}, "
            f"{3 * size}, ...), not {shape}: send images of other sizes as files in encoded_image"
        )
    return tensor.pixels()


def _files(tensor: InputData, max_images: int) -> list[memoryview]:
    _check_vector(tensor)
    if isinstance(tensor.data, list):
        raise MalformedRequest("encoded_image is not accepted as JSON text: send it as binary data")
    tensor.check_room(tensor.data)
    # Before they are unpacked, because a body has room for millions of empty elements.
    if tensor.count > max_images:
        raise too_many_images(tensor.count, max_images)
    return tensor.elements()


def too_many_images(count: int, allowed: int) -> BodyTooLarge:
    """Return the error for more images than one request may hold."""
    return BodyTooLarge(f"{count:,} images in one request: {allowed:,} are allowed, split it")


def _check_vector(tensor: InputData) -> None:
    if len(tensor.shape) != 1:
        raise MalformedRequest(f"the shape of {tensor.name} must be [N], one element per image, not {tensor.shape}")


def _expected(tensor: InputData | None, parameter: str | None, count: int) -> list[Label | None]:
    if tensor is None:
        return [Label(parameter) if parameter is not None else None] * count
    if parameter is not None:
        raise MalformedRequest("expected is both an input and a parameter: send one of them")
    _check_vector(tensor)
    if tensor.count != count:
        raise MalformedRequest(f"expected has {tensor.count:,} elements for {count:,} images")
    return [
        _label(bytes(element[:16]), f"expected[{index}]") if len(element) else None
        for index, element in enumerate(tensor.elements())
    ]


def _label(text: bytes, where: str) -> Label:
    if text not in _LABELS:
        raise MalformedRequest(
            f"{where} is {text.decode(errors='replace')!r}: it must be 'glasses', 'no_glasses' or empty, which means "
            "that it is not known"
        )
    return _LABELS[text]


def _outputs(head: InferenceHead, model: ServedModel) -> Sequence[OutputRequest]:
    binary = head.parameters.binary_data_output
    if not head.outputs:
        return _all_outputs(model.outputs, binary=binary)
    wanted: dict[str, OutputRequest] = {}
    for output in head.outputs:
        name, parameters = output.name, output.parameters
        if name not in model.outputs:
            raise MalformedRequest(f"unknown output {name[:64]!r}: the model has {', '.join(model.outputs)}")
        if name in wanted:
            raise MalformedRequest(f"the output {name!r} is repeated: request it once")
        is_binary = parameters.binary_data if "binary_data" in parameters.model_fields_set else binary
        wanted[name] = OutputRequest(name, is_binary, _shared_part(parameters))
    return list(wanted.values())


@lru_cache
def _all_outputs(names: tuple[str, ...], *, binary: bool) -> tuple[OutputRequest, ...]:
    return tuple(OutputRequest(name, binary) for name in names)
