"""JPEG and WebP files drawn from a seed, sound and damaged, against Pillow.

A valid file gives Pillow's pixels. A damaged one is refused, or read like Pillow reads it: damage that no decoder can
detect changes the image for both. Only `ImageError` is raised.
"""

import io
import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gate import ImageError, area_average, read_pixels
from tests.support.images import Pixels, encode, portrait
from tests.support.jpegs import Segment, join, planes_of, sampled_jpeg, segments

SIZE = 16
SEEDS = range(60)
Draw = random.Random


def drawn_jpeg(draw: Draw) -> bytes:
    """Any writer's JPEG, with any metadata."""
    face = portrait(draw.choice([16, 31, 40, 64]), seed=draw.randrange(99))
    data = _by_hand(draw, face) if draw.random() < 0.6 else _by_library(draw, face)
    parts, coded = segments(data)
    for _ in range(draw.randrange(4)):
        parts.insert(draw.randrange(len(parts)), _metadata(draw))
    return join(parts, coded) + draw.choice([b"", b"", bytes(50), encode(face, "JPEG")])


def _by_hand(draw: Draw, face: Pixels) -> bytes:
    count = draw.choice([1, 3, 3, 3, 4])
    planes = planes_of(face, "CMYK" if count == 4 else "YCbCr")[:count]
    factors = [(draw.randint(1, 4), draw.randint(1, 2)), *[(draw.randint(1, 2), 1)] * (count - 1)]
    # libjpeg reads whole ratios and at most ten blocks a unit.
    if factors[0][0] == 3 or sum(h * v for h, v in factors) > 10:
        factors = [(2, 2), *[(1, 1)] * (count - 1)]
    return sampled_jpeg(planes, factors, restart=draw.choice([0, 0, 1, 2, 5]))


def _by_library(draw: Draw, face: Pixels) -> bytes:
    image = Image.fromarray(face).convert(draw.choice(["RGB", "L", "CMYK"]))
    return encode(
        image,
        "JPEG",
        quality=draw.randint(20, 100),
        progressive=draw.random() < 0.5,
        optimize=draw.random() < 0.5,
        subsampling=draw.randrange(3),
        restart_marker_blocks=draw.choice([0, 0, 1, 3]),
    )


def _metadata(draw: Draw) -> Segment:
    marker = draw.choice([0xE1, 0xE2, 0xE3, 0xED, 0xFE])
    lead = draw.choice(
        [b"Exif\x00\x00", b"ICC_PROFILE\x00\x01\x02", b"MPF\x00", b"http://ns.adobe.com/xap/1.0/\x00", b""]
    )
    return marker, lead + draw.choice([draw.randbytes(draw.randrange(200)), b"\xff\xda" * 90, b"\xff" * 70])


def drawn_webp(draw: Draw) -> bytes:
    """Any still or animated WebP."""
    face = portrait(draw.choice([16, 31, 40, 64]), seed=draw.randrange(99))
    image = Image.fromarray(face)
    if draw.random() < 0.4:
        image.putalpha(Image.fromarray(face[:, :, 0]))
    more = [Image.fromarray(np.roll(face, 5, 0))] * draw.randrange(3)
    return encode(
        image,
        "WEBP",
        lossless=draw.random() < 0.5,
        quality=draw.randint(10, 100),
        exif=draw.choice([b"", b"Exif\x00\x00" + draw.randbytes(30)]),
        icc_profile=draw.choice([None, draw.randbytes(50)]),
        xmp=draw.choice([b"", b"<x/>"]),
        **({"save_all": True, "append_images": more, "duration": 40} if more else {}),
    )


def _cut(draw: Draw, data: bytes) -> bytes:
    return data[: draw.randrange(len(data))]


def _ended(draw: Draw, data: bytes) -> bytes:
    return _cut(draw, data) + b"\xff\xd9"


def _flipped(draw: Draw, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _overwritten(draw: Draw, data: bytes) -> bytes:
    at, length = draw.randrange(len(data)), draw.randint(1, 30)
    return data[:at] + draw.randbytes(length) + data[at + length :]


def _inserted(draw: Draw, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + draw.choice([bytes(4), b"\xff" * 4, b"\xff\xd9", draw.randbytes(5)]) + data[at:]


def _removed(draw: Draw, data: bytes) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.randint(1, 30) :]


def _resized(draw: Draw, data: bytes) -> bytes:
    edge = struct.pack(">HH", *[draw.choice([16, 32, 64])] * 2)
    at = next((place for place in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if place > 0), 20)
    return data[: at + 5] + edge + data[at + 9 :]


DAMAGES: tuple[Callable[[Draw, bytes], bytes], ...] = (
    _cut,
    _ended,
    _flipped,
    _overwritten,
    _inserted,
    _removed,
    _resized,
)


def by_pillow(data: bytes) -> Pixels:
    image: Image.Image = Image.open(io.BytesIO(data), formats=["JPEG", "WEBP"])
    image.load()
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    pixels: Pixels = np.asarray(image.convert("RGB"))
    return area_average(pixels, SIZE)


def assert_same(data: bytes, pixels: Pixels) -> None:
    """Compositing rounds each pixel; an eighth of a JPEG is averaged by its DCT; random EXIF may turn a picture."""
    expected = by_pillow(data).astype(int)
    turned = [np.rot90(each, turn) for each in (expected, expected[::-1]) for turn in range(4)]
    assert min(np.abs(pixels - each).max() for each in turned) <= 4


@pytest.mark.parametrize("drawn", [drawn_jpeg, drawn_webp])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore")
def test_files_are_read_as_pillow_reads_them_or_refused(seed: int, drawn: Callable[[Draw], bytes]) -> None:
    draw = random.Random(seed)
    sound = drawn(draw)
    assert_same(sound, read_pixels(sound, SIZE))
    for damage in DAMAGES * 2:
        damaged = damage(draw, sound)
        try:
            pixels = read_pixels(damaged, SIZE)
        except ImageError:
            continue
        if b"ANMF" in sound and np.array_equal(pixels, read_pixels(sound, SIZE)):
            continue  # Later frames are not looked at.
        assert_same(damaged, pixels)
