"""Requests: images of every format and tensors, each a POST as bytes on the wire."""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from gate.types import Pixels

JPEG_QUALITY = 92
PICTURES = 20
INFER = "/v2/models/glasses/infer"


@dataclass(frozen=True, slots=True)
class Post:
    """One POST to `path`."""

    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, *, expect: bool = False) -> bytes:
        """Everything before the body; `expect` adds Expect: 100-continue."""
        fields = {"Host": "127.0.0.1", "Content-Length": str(len(self.body)), **self.headers}
        if expect:
            fields["Expect"] = "100-continue"
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def read_pictures(folder: Path) -> list[bytes]:
    """The first `PICTURES` PNG files of a folder.

    Raises:
        FileNotFoundError: there are no PNG files.
    """
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.png"))[:PICTURES]]
    if not pictures:
        raise FileNotFoundError(f"there are no PNG files in {folder}")
    return pictures


def as_jpeg(pictures: Sequence[bytes]) -> list[bytes]:
    """Encode the images as JPEG of quality `JPEG_QUALITY`."""
    return [encode(Image.open(io.BytesIO(data)).convert("RGB"), "JPEG", quality=JPEG_QUALITY) for data in pictures]


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """Encode with Pillow as a file of format `form`, such as `WEBP`."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Decode an image with Pillow to RGB pixels, uint8 `[H, W, 3]`."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def image_post(path: str, data: bytes) -> Post:
    """The picture is the body."""
    kind = "image/jpeg" if data.startswith(b"\xff\xd8") else "image/png"
    return Post(path, data, {"Content-Type": kind})


def encoded_post(data: bytes, name: str = "image") -> Post:
    """The picture as the one element of a BYTES tensor `[1, 1]`, Open Inference Protocol V2 with binary tensors."""
    return _tensor_post(name, "BYTES", (1, 1), struct.pack("<I", len(data)) + data)


def vector_post(data: bytes, *, binary_answer: bool) -> Post:
    """The picture as the one element of the BYTES tensor `encoded_image`, `[1]`; the answer as in `pixels_post`."""
    packed = struct.pack("<I", len(data)) + data
    return _tensor_post("encoded_image", "BYTES", (1,), packed, binary_answer=binary_answer)


def pixels_post(pixels: Pixels, *, binary_answer: bool) -> Post:
    """Pixels, uint8 `[N, S, S, 3]`, as the tensor `image`; the answer in binary or, as is the default, in JSON."""
    return _tensor_post("image", "UINT8", pixels.shape, pixels.tobytes(), binary_answer=binary_answer)


def read_tensors(answer: bytes, header_length: int | None = None) -> dict[str, list[float] | list[bytes]]:
    """The outputs of a V2 answer by name, from the JSON header and from the bytes after its `header_length`."""
    header = json.loads(answer[:header_length])
    tensors: dict[str, list[float] | list[bytes]] = {}
    offset = header_length or 0
    for output in header["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = output["data"]
            tensors[output["name"]] = [value.encode() for value in values] if output["datatype"] == "BYTES" else values
        else:
            tensors[output["name"]] = _read_binary(answer[offset : offset + size], output["datatype"])
            offset += size
    return tensors


def _tensor_post(name: str, datatype: str, shape: Sequence[int], data: bytes, *, binary_answer: bool = False) -> Post:
    tensor = {
        "name": name,
        "datatype": datatype,
        "shape": list(shape),
        "parameters": {"binary_data_size": len(data)},
    }
    request: dict[str, object] = {"inputs": [tensor]}
    if binary_answer:
        request["parameters"] = {"binary_data_output": True}
    header = json.dumps(request).encode()
    fields = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    return Post(INFER, header + data, fields)


def _read_binary(data: bytes, datatype: str) -> list[float] | list[bytes]:
    if datatype == "FP32":
        return [float(value) for value in np.frombuffer(data, "<f4")]
    elements, offset = [], 0
    while offset < len(data):
        (size,) = struct.unpack_from("<I", data, offset)
        elements.append(data[offset + 4 : offset + 4 + size])
        offset += 4 + size
    return elements
