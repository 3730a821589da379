"""What a caller may hand over, and what the client makes of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lensgate_client import Ask, BadImage
from lensgate_client.images import open_image
from lensgate_client.png import write_png
from lensgate_client.raster import Raster
from PIL import Image

from gate.pixels import read_pixels
from tests.support.images import Pixels, encode, portrait

SIZE = 32


def pixels_of(image: Any) -> Pixels:
    """As they would travel."""
    opened = open_image(image)
    assert isinstance(opened, Raster)
    assert opened.fits(SIZE)
    pixels: Pixels = opened.shrink(0, 1, size=SIZE)[0]
    return pixels


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_file_are_a_file(kind: Any) -> None:
    assert open_image(kind(b"abc")) == b"abc"


def test_a_path_is_read(tmp_path: Path) -> None:
    file = tmp_path / "face.png"
    file.write_bytes(b"abc")
    assert open_image(file) == b"abc"
    assert open_image(str(file)) == b"abc"


@pytest.mark.parametrize("name", ["missing.png", "", "null\0character"])
def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadImage) as caught:
        open_image(f"{tmp_path}/{name}")
    assert caught.value.code == "unreadable_file"
    assert str(tmp_path) in caught.value.detail


@pytest.mark.parametrize("mode", ["RGB", "1", "P", "RGBA", "LA", "CMYK"])
def test_a_pillow_image_is_what_the_gate_makes_of_its_file(mode: str) -> None:
    image = Image.fromarray(portrait(128)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(portrait(128, seed=1)).convert("L"))
    # PNG has no CMYK, and JPEG is no lossless copy of what is in memory.
    file = encode(image.convert("RGB") if mode == "CMYK" else image)
    assert np.array_equal(pixels_of(image), read_pixels(file, SIZE))


def test_a_pillow_image_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        file = encode(portrait(128), exif=exif)
        assert np.array_equal(pixels_of(Image.open(io.BytesIO(file))), read_pixels(file, SIZE)), orientation


def test_a_palette_with_transparency_lies_over_black() -> None:
    image = Image.fromarray(portrait(64)).convert("P", palette=Image.Palette.ADAPTIVE)
    file = encode(image, transparency=bytes(range(256)))
    assert np.array_equal(pixels_of(Image.open(io.BytesIO(file))), read_pixels(file, SIZE))


@pytest.mark.parametrize("mode", ["F", "I;16"])
def test_a_pillow_image_of_other_numbers_is_refused(mode: str) -> None:
    with pytest.raises(BadImage, match="convert it to RGB"):
        open_image(Image.new(mode, (64, 64)))


def test_a_damaged_file_that_pillow_only_opened_is_corrupt() -> None:
    file = encode(portrait(128))
    with pytest.raises(BadImage) as caught:
        open_image(Image.open(io.BytesIO(file[: len(file) // 2])))
    assert caught.value.code == "corrupt_image"


@pytest.mark.parametrize("image", [None, [1, 2]])
def test_what_is_no_image_is_refused_by_its_type(image: Any) -> None:
    with pytest.raises(BadImage, match=f"not a {type(image).__name__}"):
        open_image(image)


@pytest.mark.parametrize("edge", [33, 100])
@pytest.mark.parametrize("channels_first", [False, True])
def test_pixels_of_another_ratio_become_a_file_with_the_same_pixels(edge: int, channels_first: bool) -> None:
    image = portrait(edge)
    opened = open_image(image.transpose(2, 0, 1) if channels_first else image)
    assert isinstance(opened, Raster)
    assert not opened.fits(SIZE)
    with Image.open(io.BytesIO(opened.file(0))) as file:
        assert np.array_equal(np.asarray(file), image)
    assert np.array_equal(read_pixels(opened.file(0), SIZE), read_pixels(encode(image), SIZE))


def test_a_png_is_written_without_loss() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(write_png(noise))) as file:
        assert file.mode == "RGB"
        assert np.array_equal(np.asarray(file), noise)


@pytest.mark.parametrize("expected", ["Glasses", "", 1])
def test_what_is_no_label_is_refused_before_anything_is_sent(expected: Any) -> None:
    with pytest.raises(ValueError, match="expected is one of glasses, no_glasses"):
        Ask(b"", expected)


@pytest.mark.parametrize("name", ["", "a\n", "a\x7f", "\ud800", "x" * 129])
def test_an_id_that_the_gate_would_refuse_is_refused_here(name: str) -> None:
    with pytest.raises(ValueError, match="an id has 1 to 128 characters"):
        Ask(b"", id=name)


def test_an_id_is_for_one_image() -> None:
    with pytest.raises(ValueError, match="for one image"):
        Ask(np.zeros((2, 64, 64, 3), np.uint8), id="a")
    assert Ask(np.zeros((1, 64, 64, 3), np.uint8), id="é" * 128).id
