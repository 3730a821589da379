"""Requests of the soak test: valid images of every format and route, and broken ones of many kinds."""

import io
import random
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from bench.serving.posts import INFER, Post, encode, image_post, pixels_post, vector_post
from gate.types import Pixels

DECISIONS = "/v1/decisions"
BATCH = "/v1/decisions/batch"

NO_ROUTE = "/v1/nothing"

_BATCH_IMAGES = 12
_TENSOR_IMAGES = 8


@dataclass(frozen=True, slots=True)
class SoakRequest:
    """One request to send.

    Attributes:
        kind: name of the kind, for the report.
        post: the request.
        method: HTTP method; methods other than POST send no body.
        sent_bytes: bytes of the body to send before closing the connection; None sends all and reads the answer.
    """

    kind: str
    post: Post
    method: str = "POST"
    sent_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RequestKind:
    """A kind of request: its weight and its constructor."""

    name: str
    weight: float
    make: Callable[[random.Random], SoakRequest] = field(repr=False)


class EncodedImages:
    """Encoded images for the requests; every list is created once.

    Args:
        faces: PNG files.
        size: edge of the model's input, in pixels; the service refuses smaller tensors.
    """

    def __init__(self, faces: Sequence[bytes], *, size: int) -> None:
        opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in faces]
        self.png = list(faces)
        self.jpeg = [encode(image, "JPEG", quality=92) for image in opened]
        self.webp = [encode(image.resize((256, 256)), "WEBP", quality=90) for image in opened[:4]]
        self.odd_png = [encode(one.convert(mode), "PNG") for one in opened[:2] for mode in ("L", "P", "RGBA", "LA")]
        self.deep_png = [_deep_png(np.asarray(image)) for image in opened[:2]]
        self.small_png = [encode(image.resize((128, 128)), "PNG") for image in opened]
        self.pixels = np.stack([np.asarray(image.resize((size, size))) for image in opened])

    @property
    def sound(self) -> list[bytes]:
        """All images that can be decoded."""
        return [*self.png, *self.jpeg, *self.webp, *self.odd_png, *self.deep_png]


def make_kinds(images: EncodedImages) -> list[RequestKind]:
    """All kinds of requests, sound and broken."""
    return [
        RequestKind("PNG", 20, lambda rng: _image("PNG", rng.choice(images.png), query=_order(rng))),
        RequestKind("JPEG", 12, lambda rng: _image("JPEG", rng.choice(images.jpeg), query=_order(rng))),
        RequestKind("WebP, grey, palette, 16 bits", 6, lambda rng: _image("other", rng.choice(images.sound))),
        RequestKind("tensors", 8, lambda rng: SoakRequest("tensors", _tensors(images, rng))),
        RequestKind(
            "encoded tensors",
            4,
            lambda rng: SoakRequest("encoded", vector_post(rng.choice(images.jpeg), binary_answer=False)),
        ),
        RequestKind("tar", 2, lambda rng: SoakRequest("tar", _tar(images, rng))),
        RequestKind("form", 2, lambda rng: SoakRequest("form", _form(images, rng))),
        RequestKind("truncated", 12, lambda rng: _image("truncated", _truncated(rng.choice(images.sound), rng))),
        RequestKind("flipped bits", 10, lambda rng: _image("flipped", _flipped(rng.choice(images.sound), rng))),
        RequestKind(
            "damaged tensors", 3, lambda rng: SoakRequest("damaged tensors", _damaged(_tensors(images, rng), rng))
        ),
        RequestKind("attacks", 6, lambda rng: _image("attack", rng.choice(_attacks(images, rng)))),
        RequestKind(
            "unknown query", 2, lambda rng: _image("query", rng.choice(images.small_png), query="?expcted=glasses")
        ),
        RequestKind("unknown path", 2, lambda rng: _image("path", rng.choice(images.small_png), path=NO_ROUTE)),
        RequestKind("left in the middle", 3, lambda rng: _left(rng.choice(images.png), rng)),
        RequestKind("reads", 6, _read),
    ]


def _deep_png(pixels: Pixels) -> bytes:
    """Encode as 16-bit RGB, which Pillow does not write."""
    rows = (pixels.astype(np.uint16) * 257).astype(">u2").reshape(len(pixels), -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    size = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG file with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _order(rng: random.Random) -> str:
    return rng.choice(("", "", "?expected=glasses", "?expected=no_glasses"))


def _image(kind: str, data: bytes, *, query: str = "", path: str = DECISIONS) -> SoakRequest:
    return SoakRequest(kind, image_post(path + query, data))


def _tensors(images: EncodedImages, rng: random.Random) -> Post:
    first = rng.randrange(len(images.pixels))
    chosen = np.roll(images.pixels, first, axis=0)[: rng.randint(1, _TENSOR_IMAGES)]
    return pixels_post(np.ascontiguousarray(chosen), binary_answer=False)


def _damaged(post: Post, rng: random.Random) -> Post:
    """A V2 request with a truncated header or tensor, or an inconsistent header."""
    body = bytearray(post.body)
    if rng.random() < 0.5:
        del body[rng.randrange(len(body)) :]
    else:
        body[rng.randrange(200)] ^= 1 << rng.randrange(8)
    return Post(INFER, bytes(body), post.headers)


def _mixed(images: EncodedImages, rng: random.Random) -> list[bytes]:
    """Images of one batch; some are broken."""
    chosen = rng.choices(images.small_png + images.jpeg, k=rng.randint(1, _BATCH_IMAGES))
    return [_truncated(data, rng) if rng.random() < 0.2 else data for data in chosen]


def _tar(images: EncodedImages, rng: random.Random) -> Post:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, data in enumerate(_mixed(images, rng)):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    data = buffer.getvalue()
    if rng.random() < 0.2:
        data = data[: rng.randrange(len(data))]
    return Post(BATCH, data, {"Content-Type": "application/x-tar"})


def _form(images: EncodedImages, rng: random.Random) -> Post:
    head = b'--B\r\nContent-Disposition: form-data; name="f"; filename="%d.png"\r\n\r\n'
    parts = [head % number + data + b"\r\n" for number, data in enumerate(_mixed(images, rng))]
    return Post(BATCH, b"".join(parts) + b"--B--\r\n", {"Content-Type": "multipart/form-data; boundary=B"})


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _attacks(images: EncodedImages, rng: random.Random) -> list[bytes]:
    """Bodies that are expensive to process."""
    png = images.small_png[0]
    text = b"Comment\0\0" + zlib.compress(bytes(2**20), 9)
    huge = bytearray(png)
    huge[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    return [
        b"\xff\xd8" + b"\xff" * 40_000,
        b"\xff\xd8\xff\xe0" * 5_000,
        png[:33] + png_chunk(b"zTXt", text) * 20 + png[33:],
        png[:33] + png_chunk(b"tEXt", b"a") * 20_000 + png[33:],
        bytes(huge),
        b"",
        rng.randbytes(rng.randint(1, 5_000)),
        b"GIF89a" + bytes(200),
    ]


def _left(data: bytes, rng: random.Random) -> SoakRequest:
    return SoakRequest("left", image_post(DECISIONS, data), sent_bytes=rng.randrange(len(data)))


def _read(rng: random.Random) -> SoakRequest:
    paths = ("/v1/model", "/livez", "/readyz", "/v2/models/glasses", "/v1/decisions?limit=20", "/v1/operations", "/")
    return SoakRequest("reads", Post(rng.choice(paths), b""), method="GET")
