"""Content-Encoding and Accept-Encoding, without a server."""

import asyncio
import gzip
import random
import zlib

import pytest

from service.api.v2.compression import choose_encoding, compress, decompress
from service.errors import BodyTooLarge, MalformedRequest
from service.inference.admission import Admission, Permit

LIMIT = 3 * 2**20


def permit() -> Permit:
    admission = Admission(max_images=1, max_bytes=LIMIT, max_body_bytes=LIMIT, predicted_wait=lambda: 0.0)
    return admission.admit(None, 1.0)


def inflate(body: bytes, encoding: str) -> bytes:
    return bytes(asyncio.run(decompress(bytearray(body), encoding, permit())))


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=soon", None),
        ("gzip;q=nan", None),
        ("br, zstd, *", None),
        ("gzip;level=9", "gzip"),
    ],
)
def test_accept_encoding_selects_the_preferred_known_encoding(accepted: str | None, chosen: str | None) -> None:
    assert choose_encoding(accepted) == chosen


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", " GZip ", "x-gzip"])
@pytest.mark.parametrize("body", [b"", b"x", bytes(2**20), random.Random(1).randbytes(700_000)], ids=len)
def test_compressed_body_is_restored(encoding: str, body: bytes) -> None:
    name = encoding.strip().lower().removeprefix("x-")
    assert inflate(body if name == "identity" else compress(body, name), encoding) == body


@pytest.mark.parametrize("behind", [b"x", bytes(100_000)])
def test_data_after_the_compressed_body_is_malformed(behind: bytes) -> None:
    for whole in (gzip.compress(b"body"), gzip.compress(random.Random(1).randbytes(200_000))):
        with pytest.raises(MalformedRequest):
            inflate(whole + behind, "gzip")


def test_compression_bomb_ends_at_the_limit() -> None:
    with pytest.raises(BodyTooLarge):
        inflate(zlib.compress(bytes(50 * 2**20), 9), "deflate")
