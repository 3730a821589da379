"""The memory that a lossless WebP may take beside its pixels is bounded before libwebp decodes it."""

import random
import struct
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from gate import read_pixels
from gate.errors import CorruptImage
from gate.formats import vp8l
from gate.formats.vp8l import MAX_GROUPS, check_groups
from tests.gate.formats.test_webp import STILL, chunks, webp
from tests.support.images import encode, portrait

SIZE = 32
EDGE = 512
BLOCKS = (EDGE // 4) ** 2
CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)


def bits(*numbers: tuple[int, int]) -> str:
    """Numbers and their widths, as the bits of a stream in their order."""
    return "".join(f"{number:0{width}b}"[::-1] for number, width in numbers)


def single() -> str:
    """A prefix code of one symbol, 0."""
    return bits((1, 1), (0, 1), (0, 1), (0, 1))


def flat() -> str:
    """A prefix code of the symbols 0 to 255, all of 8 bits."""
    lengths = [(int(symbol == 8), 3) for symbol in CODE_LENGTH_ORDER]
    return bits((0, 1), (len(lengths) - 4, 4), *lengths, (1, 1), (3, 3), (254, 8))


def image(values: Sequence[int]) -> str:
    """An image whose pixels have these values in red and green."""
    coded = "".join(f"{value & 255:08b}{value >> 8:08b}" for value in values)
    return bits((0, 1)) + flat() + flat() + 3 * single() + coded


def picture(groups: Sequence[int], *, transforms: str = "", cache: str = "0") -> str:
    """A black picture of `EDGE` x `EDGE` pixels, each of whose 4 x 4 blocks has its own group."""
    codes = (max(groups) + 1) * 5 * single()
    return transforms + bits((0, 1)) + cache + bits((1, 1), (0, 3)) + image(groups) + codes


def predictor() -> str:
    """A transform whose image has as many values as there may be groups, and more."""
    return bits((1, 1), (0, 2), (0, 3)) + image([index % 9000 for index in range(BLOCKS)])


def packed(stream: str) -> memoryview:
    return memoryview(int(stream[::-1], 2).to_bytes(-(-len(stream) // 8), "little"))


def lossless(stream: str) -> bytes:
    size = (EDGE - 1) | (EDGE - 1) << 14
    return webp([(b"VP8L", b"\x2f" + struct.pack("<I", size) + bytes(packed(stream)) + bytes(64))])


def distinct(count: int) -> list[int]:
    return [index % count for index in range(BLOCKS)]


@pytest.mark.parametrize("cache", ["0", bits((1, 1), (11, 4))], ids=["no cache", "a cache"])
@pytest.mark.parametrize("transforms", ["", predictor()], ids=["plain", "a transform"])
@pytest.mark.parametrize("count", [MAX_GROUPS, MAX_GROUPS + 1])
def test_more_groups_than_encoders_write_are_refused(count: int, transforms: str, cache: str) -> None:
    data = lossless(picture(distinct(count), transforms=transforms, cache=cache))
    if count <= MAX_GROUPS:
        assert not read_pixels(data, SIZE).any()
        return
    with pytest.raises(CorruptImage, match="4,097 groups"):
        read_pixels(data, SIZE)


def extended(data: bytes) -> bytes:
    size = (EDGE - 1).to_bytes(3, "little") * 2
    return webp([(b"VP8X", bytes(4) + size), *chunks(data)])


def animated(data: bytes) -> bytes:
    size = (EDGE - 1).to_bytes(3, "little") * 2
    frame = bytes(6) + size + bytes(4) + webp(chunks(data))[12:]
    return webp([(b"VP8X", b"\x02" + bytes(3) + size), (b"ANIM", bytes(6)), (b"ANMF", frame)])


def as_alpha(data: bytes) -> bytes:
    size = (EDGE - 1).to_bytes(3, "little") * 2
    colours = chunks(encode(portrait(EDGE), "WEBP"))[0]
    alpha = b"\x01" + chunks(data)[0][1][5:]
    return webp([(b"VP8X", b"\x10" + bytes(3) + size), (b"ALPH", alpha), colours])


@pytest.mark.parametrize("wrap", [extended, animated, as_alpha])
def test_groups_are_counted_wherever_a_lossless_picture_lies(wrap: Callable[[bytes], bytes]) -> None:
    assert not read_pixels(wrap(lossless(picture(distinct(MAX_GROUPS)))), SIZE).any()
    with pytest.raises(CorruptImage, match="groups"):
        read_pixels(wrap(lossless(picture(distinct(BLOCKS)))), SIZE)


def test_large_images_before_the_picture_take_little_time() -> None:
    start = time.process_time()
    with pytest.raises(CorruptImage, match="transforms"):
        check_groups(packed(bits((1, 1), (0, 2), (0, 3)) + image(range(65_536)) * 16), 4096, 4096)
    assert time.process_time() - start < 2


def ambiguous() -> str:
    """A prefix code whose symbols all have one bit."""
    lengths = [(int(symbol in (1, 8)), 3) for symbol in CODE_LENGTH_ORDER]
    return bits((0, 1), (len(lengths) - 4, 4), *lengths, (0, 1)) + 280 * "0"


GREEN = bits((1, 1), (2, 2))


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        pytest.param(100_000 * GREEN, "repeats a transform", id="many transforms"),
        pytest.param(bits((1, 1), (0, 5), (1, 1), (15, 4)), "cache of 15 bits", id="a large cache"),
        pytest.param(GREEN + bits((0, 1), (1, 1), (12, 4)), "cache of 12 bits", id="a large cache of the picture"),
        pytest.param(bits((1, 1), (0, 5), (0, 1)) + ambiguous(), "prefix code", id="an ambiguous code"),
    ],
)
def test_a_stream_that_libwebp_refuses_is_read_no_further(stream: str, fault: str) -> None:
    with pytest.raises(CorruptImage, match=fault):
        check_groups(packed(stream + 400_000 * "0"), EDGE, EDGE)


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_stream_that_ends_before_its_picture_is_refused(kept: float) -> None:
    stream = packed(picture(distinct(BLOCKS)))
    with pytest.raises(CorruptImage, match="incomplete"):
        check_groups(stream[: int(kept * BLOCKS * 2)], EDGE, EDGE)


def test_any_bytes_are_counted_or_refused() -> None:
    noise = random.Random(1)
    for _ in range(300):
        try:
            check_groups(memoryview(noise.randbytes(13_000)), 4096, 4096)
        except CorruptImage:
            continue


@pytest.mark.parametrize("method", [0, 4, 6])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Image.fromarray(portrait(300)), id="colours"),
        pytest.param(lambda: Image.fromarray(portrait(300)).convert("RGBA"), id="alpha"),
        *[
            pytest.param(lambda count=count: Image.fromarray(portrait(300)).quantize(count), id=f"{count} colours")
            for count in (2, 4, 16, 200)
        ],
        pytest.param(lambda: Image.fromarray(np.zeros((300, 300, 3), np.uint8)), id="black"),
    ],
)
def test_what_libwebp_writes_is_read(
    make: Callable[[], Image.Image], method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vp8l, "MAX_GROUPS", 60)  # If a bit were read wrongly, the number would be a random one.
    data = encode(make(), "WEBP", lossless=True, method=method, quality=90)
    assert read_pixels(data, 30).shape == (30, 30, 3)


def test_lossy_pictures_have_no_groups() -> None:
    assert read_pixels(STILL, SIZE).any()
