"""No request keeps its body: not in a reference cycle, not on a connection that idles after it, not by its error."""

import gc
import io
import json
import socket
import struct
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from service.http import request_body
from tests.support.attacks import connected, read_head
from tests.support.images import encode
from tests.support.servers import Running, running_service, wait_until

NOISE = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
PNG = encode(NOISE)
CUT_PNG, CUT_JPEG = PNG[:150_000], encode(NOISE, "JPEG", quality=100)[:100_000]
BATCH = "/v1/decisions/batch"
V2 = "/v2/models/glasses/infer"
LARGE = 50_000
"""Bytes: shorter than every body, longer than what a connection buffers for itself."""


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request; `length` is announced instead of the true one."""
    lines = [f"{header}\r\n" for header in headers]
    announced = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n{''.join(lines)}\r\n".encode() + body


def chunked(body: bytes, *, end: bytes = b"0\r\n\r\n") -> bytes:
    """A request in two chunks."""
    head = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:LARGE], body[LARGE:])) + end


def tar(*images: bytes) -> bytes:
    """An archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, data in enumerate(images):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def form(*images: bytes) -> bytes:
    """A form with the boundary B."""
    head = b'--B\r\nContent-Disposition: form-data; name="f"; filename="%d.png"\r\n\r\n'
    return b"".join(head % number + data + b"\r\n" for number, data in enumerate(images)) + b"--B--\r\n"


def infer(tensor: dict[str, object], data: bytes, *, sent: int | None = None) -> bytes:
    """A V2 request with binary data, of which `sent` bytes are sent."""
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}).encode()
    body = head + data
    return post(V2, body[:sent], f"Inference-Header-Content-Length: {len(head)}", length=len(body))


def pixels(size: int, **options: int) -> bytes:
    """A V2 request for 64 images of `size`."""
    shape = [64, size, size, 3]
    return infer({"name": "image", "datatype": "UINT8", "shape": shape}, bytes(64 * size * size * 3), **options)


def files(*images: bytes) -> bytes:
    """A V2 request for encoded images."""
    elements = b"".join(struct.pack("<I", len(data)) + data for data in images)
    return infer({"name": "encoded_image", "datatype": "BYTES", "shape": [len(images)]}, elements)


TAR, FORM = tar(PNG, PNG), form(PNG, PNG)
AS_TAR, AS_FORM = "Content-Type: application/x-tar", "Content-Type: multipart/form-data; boundary=B"
ANSWERED = {
    "decided": (post("/v1/decisions", PNG), 200),
    "tried": (post("/v1/trials", PNG), 200),
    "in chunks": (chunked(PNG), 200),
    "a PNG cut off": (post("/v1/decisions", CUT_PNG), 422),
    "a JPEG cut off": (post("/v1/decisions", CUT_JPEG), 422),
    "no image": (post("/v1/decisions", bytes(LARGE + 1)), 422),
    "encoded": (post("/v1/decisions", bytes(LARGE + 1), "Content-Encoding: zstd"), 422),
    "chunks of a PNG cut off": (chunked(CUT_PNG), 422),
    "an unknown query": (post("/v1/decisions?expcted=glasses", PNG), 400),
    "too late": (post("/v1/decisions?timeout_ms=50&expected=glasses", PNG), 504),
    "an archive": (post(BATCH, TAR, AS_TAR), 200),
    "an archive of images cut off": (post(BATCH, tar(CUT_PNG, CUT_PNG), AS_TAR), 200),
    "an archive cut off": (post(BATCH, TAR[:300_000], AS_TAR), 200),
    "no archive": (post(BATCH, bytes(LARGE + 1)[1:] + b"x" * LARGE, AS_TAR), 200),
    "a form": (post(BATCH, FORM, AS_FORM), 200),
    "a form cut off": (post(BATCH, FORM[:300_000], AS_FORM), 200),
    "pixels": (pixels(32), 200),
    "pixels to shrink": (pixels(64), 200),
    "pixels of a wrong size": (pixels(31), 400),
    "no JSON": (post(V2, b"{" + b"x" * LARGE), 400),
    "files": (files(PNG, PNG), 200),
    "a file cut off": (files(CUT_PNG), 422),
    "files cut off": (files(PNG, CUT_PNG, CUT_JPEG), 422),
}
LEFT = {
    "in a body": post("/v1/decisions", CUT_PNG, length=len(PNG)),
    "in chunks": chunked(CUT_PNG, end=b""),
    "in an archive": post(BATCH, TAR[:300_000], AS_TAR, length=len(TAR)),
    "in a form": post(BATCH, FORM[:300_000], AS_FORM, length=len(FORM)),
    "in pixels": pixels(64, sent=LARGE),
    "before the answer": post("/v1/decisions", PNG),
    "before the answer to an archive": post(BATCH, TAR, AS_TAR),
}


@pytest.fixture(scope="module", autouse=True)
def _older_objects_apart() -> Iterator[None]:
    """Leave older objects out of each search, which takes seconds over those of a whole run; search them at the end."""
    with running_service():
        gc.collect()
    before = large_objects()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()
    wait_until(lambda: all_released(before))


@pytest.fixture(scope="module", params=["off", "on"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    file = tmp_path_factory.mktemp("records") / "lensgate.db"
    records = "off" if request.param == "off" else f"sqlite:///{file}"
    with running_service(records_url=records, audit_ratio=1.0) as running:
        yield running


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """No garbage collection within a test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def large_objects() -> dict[int, int]:
    """The sizes of the large byte strings that an object known to the garbage collector refers to, by identity."""
    found = (each for one in gc.get_objects() for each in gc.get_referents(one) if type(each) in (bytes, bytearray))
    return {id(each): len(each) for each in found if len(each) > LARGE}


def all_released(before: dict[int, int]) -> bool:
    return not (large_objects().keys() - before.keys())


@pytest.mark.parametrize("kind", ANSWERED)
def test_a_body_is_released_while_its_connection_idles(service: Running, kind: str) -> None:
    request, status = ANSWERED[kind]
    if status == 504:
        service.scorer.go.clear()
    before = large_objects()
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connected(service.url))
            connection.sendall(request)
            assert read_head(connection).startswith(b"HTTP/1.1 %d " % status)
        service.scorer.go.set()
        wait_until(lambda: all_released(before))


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("kind", LEFT)
def test_a_body_is_released_when_its_caller_leaves(service: Running, kind: str, *, is_reset: bool) -> None:
    before = large_objects()
    for _ in range(3):
        with connected(service.url) as connection:
            connection.sendall(LEFT[kind])
            if is_reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: service.inflight == 0)
    wait_until(lambda: all_released(before))


def test_a_slow_body_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "GRACE_SECONDS", 0.3)
    with running_service(min_body_rate=10**9) as service, connected(service.url) as connection:
        before = large_objects()
        connection.sendall(LEFT["in a body"])
        assert read_head(connection).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: all_released(before))
