"""The supported image types and their conversion."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from lensgate_client import Ask, BadImage
from lensgate_client._pixels.images import open_image
from lensgate_client._pixels.png import write_png
from lensgate_client._pixels.raster import Raster
from PIL import Image

from gate.pixels import read_pixels
from tests.support.images import PNG_SIGNATURE, Pixels, encode, png_chunk, portrait

SIZE = 32


def pixels_of(image: Any) -> Pixels:
    """Return the pixels that the client sends."""
    opened = open_image(image)
    assert isinstance(opened, Raster)
    assert opened.fits(SIZE)
    pixels: Pixels = opened.shrink(0, 1, size=SIZE)[0]
    return pixels


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_a_file(kind: Any) -> None:
    assert open_image(kind(b"abc")) == b"abc"


def test_path_is_read(tmp_path: Path) -> None:
    file = tmp_path / "face.png"
    file.write_bytes(b"abc")
    assert open_image(file) == b"abc"
    assert open_image(str(file)) == b"abc"


@pytest.mark.parametrize("name", ["missing.png", "", "null\0character"])
def test_error_names_an_unreadable_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadImage) as caught:
        open_image(f"{tmp_path}/{name}")
    assert caught.value.code == "unreadable_file"
    assert str(tmp_path) in caught.value.detail


@pytest.mark.parametrize("mode", ["RGB", "1", "P", "RGBA", "LA", "CMYK"])
def test_pillow_image_equals_the_pixels_of_its_file(mode: str) -> None:
    image = Image.fromarray(portrait(128)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(portrait(128, seed=1)).convert("L"))
    # PNG does not support CMYK, and JPEG is lossy.
    file = encode(image.convert("RGB") if mode == "CMYK" else image)
    assert np.array_equal(pixels_of(image), read_pixels(file, SIZE))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        file = encode(portrait(128), exif=exif)
        assert np.array_equal(pixels_of(Image.open(io.BytesIO(file))), read_pixels(file, SIZE)), orientation


def test_transparent_palette_is_composited_over_black() -> None:
    image = Image.fromarray(portrait(64)).convert("P", palette=Image.Palette.ADAPTIVE)
    file = encode(image, transparency=bytes(range(256)))
    assert np.array_equal(pixels_of(Image.open(io.BytesIO(file))), read_pixels(file, SIZE))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_pillow_older_than_10_1_is_enough(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no `has_transparency_data`, and each Pillow image ended its stream with an AttributeError."""
    image = Image.fromarray(np.dstack([portrait(64), np.full((64, 64), 99, np.uint8)])).convert(mode)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 4, "RGBA")
    expected = pixels_of(image)
    monkeypatch.delattr(Image.Image, "has_transparency_data")
    assert np.array_equal(pixels_of(image), expected)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pillow_mode_without_a_value_range_is_rejected(mode: str) -> None:
    with pytest.raises(BadImage, match="clips them at 255: scale them"):
        open_image(Image.new(mode, (64, 64)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_pillow_modes_equal_the_conversion_of_pillow(mode: str) -> None:
    image = Image.fromarray(portrait(64)).convert("RGBA" if mode == "RGBa" else "RGB").convert(mode)
    assert np.array_equal(pixels_of(image), read_pixels(encode(image.convert("RGB")), SIZE))


@pytest.mark.parametrize(("mode", "premultiplied"), [("LA", "La"), ("RGBA", "RGBa")])
def test_premultiplied_pillow_image_equals_the_file_of_the_plain_one(mode: str, premultiplied: str) -> None:
    image = Image.fromarray(portrait(64)).convert(mode)
    image.putalpha(Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))))
    assert np.array_equal(pixels_of(image.convert(premultiplied)), read_pixels(encode(image), SIZE))


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
@pytest.mark.parametrize("key", [b"\x00\x80", "x", 1.5])
def test_a_transparent_colour_that_does_not_fit_the_mode_is_named(mode: str, key: Any) -> None:
    image = Image.new(mode, (64, 64))
    image.info["transparency"] = key
    with pytest.raises(BadImage, match=r"info\['transparency'\] is .* delete it, or pass the file"):
        open_image(image)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_16_bit_grey_is_reduced_to_its_high_byte(mode: str) -> None:
    levels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    image = Image.frombytes(mode, (64, 64), levels.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    opened = open_image(image)
    assert isinstance(opened, Raster)
    assert np.array_equal(opened.data[0, :, :, 0], levels >> 8)


def png(colour: int, depth: int, *, key: int | None = None, edge: int = 64) -> bytes:
    """Return a PNG with noise, other than a palette image; `key` is the transparent level of every channel."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    random = np.random.default_rng(colour + depth)
    rows = random.integers(0, 256, (edge, 1 + edge * channels * depth // 8), dtype=np.uint8)
    rows[:, 0] = 0
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", edge, edge, depth, colour, 0, 0, 0))]
    if key is not None:
        chunks.append((b"tRNS", struct.pack(">H", key) * (3 if colour == 2 else 1)))
        rows[:5, 1:] = np.resize(np.frombuffer(struct.pack(">H", key)[2 - max(1, depth // 8) :], np.uint8), (5, 1))
    chunks += [(b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("key", [None, 0, 1, 0x1212])
def test_opened_png_equals_its_file_or_is_rejected(colour: int, depth: int, key: int | None) -> None:
    if (colour and depth < 8) or (colour > 3 and key is not None) or (key is not None and key >= 2**depth):
        return
    if (colour, depth, key) == (2, 16, 1):
        return  # Pillow does not distinguish a 16-bit key that fits into 8 bits.
    file = png(colour, depth, key=key)
    image = Image.open(io.BytesIO(file))
    if key and ((colour, depth) in ((2, 16), (0, 2), (0, 4), (0, 8)) and (key > 255 or colour == 0)):
        with pytest.raises(BadImage, match="pass the file"):
            open_image(image)
    else:
        assert np.array_equal(pixels_of(image), read_pixels(file, SIZE))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"junk", b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\1\0\6\0\0"]
)
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    file = encode(portrait(64))
    with_exif = file[:33] + png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) + file[33:]
    assert np.array_equal(pixels_of(Image.open(io.BytesIO(with_exif))), read_pixels(file, SIZE))


def test_closed_pillow_image_is_rejected() -> None:
    image = Image.open(io.BytesIO(encode(portrait(64))))
    image.close()
    with pytest.raises(BadImage, match="cannot be decoded"):
        open_image(image)


def test_pillow_image_that_only_the_gate_reads_is_rejected_with_the_way_out() -> None:
    file = encode(portrait(64))
    end = len(file) - 12
    note = file[:end] + png_chunk(b"zTXt", b"Comment\0\5unknown method") + file[end:]
    with pytest.raises(BadImage, match=r"Unknown compression method 5.*Pass its file"):
        open_image(Image.open(io.BytesIO(note)))
    assert np.array_equal(read_pixels(note, SIZE), read_pixels(file, SIZE))


def test_damaged_pillow_image_is_corrupt() -> None:
    file = encode(portrait(128))
    with pytest.raises(BadImage) as caught:
        open_image(Image.open(io.BytesIO(file[: len(file) // 2])))
    assert caught.value.code == "corrupt_image"


def test_an_empty_path_is_named() -> None:
    with pytest.raises(BadImage, match="the path is empty"):
        open_image("")


def test_a_path_inside_an_archive_is_told_to_be_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("face.png", b"")
        with pytest.raises(BadImage, match=r"not a Path\. Pass the bytes of its file: path\.read_bytes\(\)"):
            open_image(cast(Any, zipfile.Path(archive, "face.png")))


@pytest.mark.parametrize("image", [None, [1, 2]])
def test_error_names_the_type_of_another_object(image: Any) -> None:
    with pytest.raises(BadImage, match=f"not a {type(image).__name__}"):
        open_image(image)


@pytest.mark.parametrize("edge", [33, 100])
@pytest.mark.parametrize("channels_first", [False, True])
def test_pixels_of_another_ratio_are_encoded_as_png(edge: int, channels_first: bool) -> None:
    image = portrait(edge)
    opened = open_image(image.transpose(2, 0, 1) if channels_first else image)
    assert isinstance(opened, Raster)
    assert not opened.fits(SIZE)
    with Image.open(io.BytesIO(opened.encode_png(0))) as file:
        assert np.array_equal(np.asarray(file), image)
    assert np.array_equal(read_pixels(opened.encode_png(0), SIZE), read_pixels(encode(image), SIZE))


def test_png_is_lossless() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(write_png(noise))) as file:
        assert file.mode == "RGB"
        assert np.array_equal(np.asarray(file), noise)


@pytest.mark.parametrize("expected", ["Glasses", "", 1])
def test_ask_rejects_an_invalid_label(expected: Any) -> None:
    with pytest.raises(ValueError, match="expected must be one of glasses, no_glasses"):
        Ask(b"", expected)


@pytest.mark.parametrize("name", ["", " \xa0", "a\n", "a\x7f", "\ud800", "x" * 129])
def test_ask_rejects_an_invalid_id(name: str) -> None:
    with pytest.raises(ValueError, match="an id must be a str of 1 to 128 characters"):
        Ask(b"", id=name)


def test_ask_rejects_an_id_for_a_batch() -> None:
    with pytest.raises(ValueError, match="an id identifies one image"):
        Ask(np.zeros((2, 64, 64, 3), np.uint8), id="a")
    assert Ask(np.zeros((1, 64, 64, 3), np.uint8), id="é" * 128).id
