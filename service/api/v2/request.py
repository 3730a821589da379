"""An inference request from its bytes. Pure: no HTTP, no model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from gate import Label
from gate.pixels import Pixels
from service.api.v2.members import check_members, check_order_is_unique
from service.api.v2.tensors import Tensor, check_shape
from service.errors import BodyTooLarge, MalformedRequest
from service.ids import ID_RULE, is_identity
from service.inference.payload import Payload

MAX_JSON_BYTES = 2 * 2**20
"""Largest JSON part. It takes some twenty times its size once it is parsed, and nothing else runs meanwhile."""

_EXPECTED = {label.encode(): label for label in Label}


@dataclass(frozen=True, slots=True)
class Served:
    """What a request is held against: the model, and how many images one request may have."""

    name: str
    version: str
    size: int
    outputs: tuple[str, ...]
    max_images: int


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A stretch of a shared memory region, in bytes from the region's start."""

    region: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output as the caller wants it: as JSON, as binary data, or in shared memory."""

    name: str
    binary: bool
    shared: SharedPart | None = None


@dataclass(slots=True)
class InferRequest:
    """A request for N images: `pixels`, uint8 `[N, H, H, 3]`, or else N `files`; `timeout` in seconds."""

    identity: str | None
    timeout: float | None
    pixels: Pixels | None
    files: list[memoryview]
    expected: list[Label | None]
    outputs: Sequence[Wanted]

    @property
    def count(self) -> int:
        """N."""
        return len(self.expected)

    def take_pixels(self) -> Payload[Pixels] | None:
        """Hand over the pixels; None where the images are files."""
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
    served: Served,
    read_shared: Callable[[SharedPart], bytes],
    identified: Callable[[str], object] = lambda _: None,
) -> InferRequest:
    """Read a request; the pixels of binary data are a view of `body`.

    Args:
        body: JSON, then binary data.
        header_length: where the JSON ends, if not at the end.
        served: the model.
        read_shared: reads shared memory, or says why it cannot be.
        identified: is told the caller's id, before anything else of the request can be at fault.

    Raises:
        MalformedRequest: the text says what is wrong with which part.
        BodyTooLarge: it holds more images, or more JSON, than a request may.
    """
    head, binary = _split(body, header_length)
    if identity := _identity(head):
        identified(identity)
    check_members(head)
    parameters = _parameters(head, "the request")
    _check_stateless(parameters)
    tensors = _read_tensors(head, binary, read_shared)
    pixels, files = _images(tensors, served)
    count = len(files) if pixels is None else len(pixels)
    if count > served.max_images:
        raise BodyTooLarge(f"{count:,} images in one request: {served.max_images:,} are allowed, split it")
    return InferRequest(
        identity=identity,
        timeout=_timeout(parameters),
        pixels=pixels,
        files=files,
        expected=_expected(tensors.get("expected"), parameters, count),
        outputs=_outputs(head, parameters, served),
    )


def _split(body: bytes | bytearray, header_length: int | None) -> tuple[dict[str, Any], memoryview]:
    whole = memoryview(body)
    end = len(whole) if header_length is None else header_length
    if end > len(whole):
        raise MalformedRequest(f"Inference-Header-Content-Length is {end:,}, the body has {len(whole):,} bytes")
    if end > MAX_JSON_BYTES:
        raise BodyTooLarge(f"{end:,} bytes of JSON: {MAX_JSON_BYTES:,} are allowed, send tensors as binary data")
    try:
        head = orjson.loads(whole[:end])
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the request is no JSON: {error}") from error
    if not isinstance(head, dict):
        raise MalformedRequest("the request is no JSON object")
    check_order_is_unique(whole[:end])
    return head, whole[end:]


def _parameters(owner: dict[str, Any], name: str) -> dict[str, Any]:
    parameters = owner.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise MalformedRequest(f"the parameters of {name} are no JSON object")
    return parameters


def _check_stateless(parameters: dict[str, Any]) -> None:
    for key in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(key):
            raise MalformedRequest(f"{key}: the model is stateless and takes no sequences")


def _identity(head: dict[str, Any]) -> str | None:
    identity = head.get("id")
    if identity is not None and not isinstance(identity, str):
        raise MalformedRequest("the id of the request is no string")
    if identity and not is_identity(identity):
        raise MalformedRequest(f"the id of the request is not {ID_RULE}")
    return identity


def _timeout(parameters: dict[str, Any]) -> float | None:
    """Seconds of the parameter's microseconds; 0 is none."""
    _integer(parameters, "priority", "the request")  # There is one level, and every request is of it.
    microseconds = _integer(parameters, "timeout", "the request")
    return microseconds / 1e6 if microseconds else None


def _integer(parameters: dict[str, Any], key: str, owner: str) -> int | None:
    value = parameters.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise MalformedRequest(f"{key} of {owner} is no integer from 0 on")
    return value


def _read_tensors(
    head: dict[str, Any], binary: memoryview, read_shared: Callable[[SharedPart], bytes]
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    position = 0
    for name, given in _named(head.get("inputs"), "input"):
        if name in tensors:
            raise MalformedRequest(f"the input {name!r} is there twice")
        parameters = _parameters(given, name)
        size = _integer(parameters, "binary_data_size", name)
        part = _shared_part(parameters, name)
        _check_one_source(name, size is not None, part is not None, "data" in given)
        data: Any = given.get("data")
        if part is not None:
            data = memoryview(read_shared(part))
        elif size is not None:
            data = binary[position : position + size]
            position += size
        if not isinstance(data, list | memoryview):
            raise MalformedRequest(f"the data of {name} is no list")
        tensors[name] = Tensor(name, _datatype(given, name), check_shape(name, given.get("shape")), data)
    if position != len(binary):
        raise MalformedRequest(
            f"{len(binary):,} bytes follow the JSON, the inputs' binary_data_size names {position:,}"
        )
    return tensors


def _named(items: object, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(items, list):
        raise MalformedRequest(f"the {kind}s of the request are no list")
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise MalformedRequest(f"an {kind} is no JSON object with a name")
        yield item["name"], item


def _datatype(given: dict[str, Any], name: str) -> str:
    datatype = given.get("datatype")
    if not isinstance(datatype, str):
        raise MalformedRequest(f"the datatype of {name} is no string")
    return datatype


def _check_one_source(name: str, *sources: bool) -> None:
    if sum(sources) != 1:
        raise MalformedRequest(f"{name} needs one of data, binary_data_size and shared_memory_region")


def _shared_part(parameters: dict[str, Any], name: str) -> SharedPart | None:
    region = parameters.get("shared_memory_region")
    size = _integer(parameters, "shared_memory_byte_size", name)
    offset = _integer(parameters, "shared_memory_offset", name) or 0
    if region is None and size is None:
        return None
    if not isinstance(region, str) or size is None:
        raise MalformedRequest(f"{name} needs shared_memory_region and shared_memory_byte_size together")
    return SharedPart(region, offset, size)


def _images(tensors: dict[str, Tensor], served: Served) -> tuple[Pixels | None, list[memoryview]]:
    if unknown := tensors.keys() - {"image", "encoded_image", "expected"}:
        raise MalformedRequest(
            f"the model has no input {min(unknown)[:64]!r}: image, encoded_image and expected it has"
        )
    if ("image" in tensors) == ("encoded_image" in tensors):
        raise MalformedRequest("one of the inputs image and encoded_image is needed, and not both")
    if image := tensors.get("image"):
        return _pixels(image, served.size), []
    return None, _files(tensors["encoded_image"])


def _pixels(tensor: Tensor, size: int) -> Pixels:
    shape = tensor.shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[1] % size or shape[3] != 3:
        raise MalformedRequest(
            f"image is [N, H, H, 3] with H a multiple of {size}, not {shape}: files of other sizes go as encoded_image"
        )
    return tensor.pixels()


def _files(tensor: Tensor) -> list[memoryview]:
    _check_vector(tensor)
    if isinstance(tensor.data, list):
        raise MalformedRequest("encoded_image in JSON would be text, which no image file is: send it as binary data")
    return tensor.elements()


def _check_vector(tensor: Tensor) -> None:
    if len(tensor.shape) != 1:
        raise MalformedRequest(f"{tensor.name} is [N], an element for each image, not {tensor.shape}")


def _expected(tensor: Tensor | None, parameters: dict[str, Any], count: int) -> list[Label | None]:
    said = parameters.get("expected")
    if tensor is None:
        if said is None:
            return [None] * count
        if not isinstance(said, str):
            raise MalformedRequest("expected is no string")
        return [_label(said.encode(), "the parameter expected")] * count
    if said is not None:
        raise MalformedRequest("expected is both an input and a parameter")
    _check_vector(tensor)
    if tensor.count != count:
        raise MalformedRequest(f"expected has {tensor.count:,} elements for {count:,} images")
    return [
        _label(bytes(element[:16]), f"expected[{index}]") if len(element) else None
        for index, element in enumerate(tensor.elements())
    ]


def _label(text: bytes, where: str) -> Label:
    if text not in _EXPECTED:
        raise MalformedRequest(
            f"{where} is {text.decode(errors='replace')!r}, neither 'glasses' nor 'no_glasses'; in the input an empty "
            "element asks for nothing"
        )
    return _EXPECTED[text]


def _outputs(head: dict[str, Any], parameters: dict[str, Any], served: Served) -> Sequence[Wanted]:
    binary = _flag(parameters, "binary_data_output", "the request", default=False)
    if not head.get("outputs"):
        return _all_outputs(served.outputs, binary=binary)
    wanted: dict[str, Wanted] = {}
    for name, given in _named(head["outputs"], "output"):
        if name not in served.outputs:
            raise MalformedRequest(f"the model has no output {name[:64]!r}: {', '.join(served.outputs)} it has")
        if name in wanted:
            raise MalformedRequest(f"the output {name!r} is asked for twice")
        wanted[name] = _wanted(name, _parameters(given, name), binary)
    return list(wanted.values())


@lru_cache
def _all_outputs(names: tuple[str, ...], *, binary: bool) -> tuple[Wanted, ...]:
    return tuple(Wanted(name, binary) for name in names)


def _wanted(name: str, parameters: dict[str, Any], binary: bool) -> Wanted:
    if parameters.get("classification"):
        raise MalformedRequest(f"{name}: class_count is for outputs of one score a class, which the model has not")
    return Wanted(name, _flag(parameters, "binary_data", name, default=binary), _shared_part(parameters, name))


def _flag(parameters: dict[str, Any], key: str, owner: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise MalformedRequest(f"{key} of {owner} is neither true nor false")
    return value
