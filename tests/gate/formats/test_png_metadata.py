"""Orientation in PNG from all its sources, and text that inflates to an excessive size."""

import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from gate import read_pixels
from gate.header import read_header
from tests.support.images import Pixels, portrait
from tests.support.pngs import header_of, png_file, stream_of

FACE = portrait(16)
HEADER, END = header_of(16, 16), (b"IEND", b"")
BODY = (b"IDAT", stream_of(FACE.astype(int)))
BLOCK = b"Exif\x00\x00" + struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ExifTags.Base.Orientation, 3, 1, 6, 0, 0)
BARE = BLOCK[6:]
UPRIGHT = BARE[:18] + b"\x00\x01" + BARE[20:]
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
RAW = b"\nexif\n      %d\n%s\n" % (len(BLOCK), BLOCK.hex().encode())


def text(keyword: bytes, body: bytes) -> tuple[bytes, bytes]:
    return b"tEXt", keyword + b"\x00" + body


def compressed(keyword: bytes, body: bytes) -> tuple[bytes, bytes]:
    return b"zTXt", keyword + b"\x00\x00" + zlib.compress(body, 9)


def international(keyword: bytes, body: bytes, *, is_compressed: bool = False) -> tuple[bytes, bytes]:
    packed = zlib.compress(body) if is_compressed else body
    return b"iTXt", keyword + bytes([0, is_compressed, 0, 0, 0]) + packed


EXIF_TEXT, XMP_TEXT = b"Raw profile type exif", b"XML:com.adobe.xmp"
CHUNKS = {
    "eXIf": [(b"eXIf", BARE)],
    "two eXIf": [(b"eXIf", UPRIGHT), (b"eXIf", BARE)],
    "tEXt": [text(EXIF_TEXT, RAW)],
    "tEXt in lines": [text(EXIF_TEXT, RAW[:40] + b"\n" + RAW[40:])],
    "zTXt": [compressed(EXIF_TEXT, RAW)],
    "iTXt": [international(EXIF_TEXT, RAW)],
    "compressed iTXt": [international(EXIF_TEXT, RAW, is_compressed=True)],
    "XMP": [international(XMP_TEXT, XMP)],
    "long XMP": [international(XMP_TEXT, bytes(100_000) + XMP)],
    "long compressed XMP": [international(XMP_TEXT, bytes(100_000) + XMP, is_compressed=True)],
    "compressed XMP": [international(XMP_TEXT, XMP, is_compressed=True)],
    "an element of XMP": [international(XMP_TEXT, b"<tiff:Orientation>3</tiff:Orientation>")],
    "XMP and an upright eXIf": [(b"eXIf", UPRIGHT), international(XMP_TEXT, XMP)],
    "XMP and an unknown orientation": [(b"eXIf", BARE[:18] + bytes(2) + BARE[20:]), international(XMP_TEXT, XMP)],
    "XMP and an eXIf without it": [(b"eXIf", BARE[:8] + bytes(6)), international(XMP_TEXT, XMP)],
    "eXIf and text": [(b"eXIf", UPRIGHT), text(EXIF_TEXT, RAW)],
    "another keyword": [text(b"Comment", RAW)],
}


def by_pillow(data: bytes) -> Pixels:
    with warnings.catch_warnings(action="ignore"):
        return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("is_behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", CHUNKS)
def test_a_picture_is_turned_as_pillow_turns_it(name: str, is_behind: bool) -> None:
    chunks = [HEADER, BODY, *CHUNKS[name], END] if is_behind else [HEADER, *CHUNKS[name], BODY, END]
    data = png_file(*chunks)
    np.testing.assert_array_equal(read_pixels(data, 16), by_pillow(data))


def test_a_profile_by_its_other_name_turns_the_picture_too() -> None:
    data = png_file(HEADER, compressed(b"Raw profile type APP1", RAW), BODY, END)
    assert read_header(data).orientation == 6


@pytest.mark.parametrize(
    "body",
    [b"", b"\nexif\n 4\nzz", b"\nexif\n 3\nabc", b"\n" * 9, RAW[:50], b"\xff" * 100],
    ids=["nothing", "no digits", "an odd number of digits", "lines", "cut", "noise"],
)
def test_an_invalid_profile_does_not_rotate(body: bytes) -> None:
    for chunk in (text(EXIF_TEXT, body), compressed(EXIF_TEXT, body), (b"zTXt", EXIF_TEXT + b"\x00\x07" + body)):
        assert read_header(png_file(HEADER, chunk, BODY, END)).orientation == 1


BOMB = zlib.compress(bytes(2**26), 9)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", EXIF_TEXT + b"\x00\x00" + BOMB),
        (b"zTXt", b"Comment\x00\x00" + BOMB),
        (b"iTXt", XMP_TEXT + b"\x00\x01\x00\x00\x00" + BOMB),
        (b"iCCP", b"icc\x00\x00" + BOMB),
        (b"sPLT", b"name\x00\x08" + bytes(2**16)),
        (b"tEXt", XMP_TEXT + b"\x00" + b"tiff:Orientation=" * 2**14),
    ],
    ids=["zTXt profile", "zTXt", "iTXt", "iCCP", "sPLT", "tEXt"],
)
def test_text_that_inflates_to_gigabytes_is_cheap(chunk: tuple[bytes, bytes]) -> None:
    """Two hundred chunks of 64 MB each took most of a minute where all were inflated."""
    data = png_file(HEADER, *[chunk] * 200, BODY, END)
    started = time.thread_time()
    np.testing.assert_array_equal(read_pixels(data, 16), FACE)
    assert time.thread_time() - started < 2


def test_a_text_behind_megabytes_of_blocks_without_text_is_not_read() -> None:
    """15 MB of such blocks took 1.4 s for each look at the header."""
    stream = zlib.compress(XMP)
    nothing = b"\x00\x00\x00\xff\xff"  # A stored block of no bytes.
    for blocks, orientation in ((100, 8), (2**20 // len(nothing) + 2**17, 1)):
        body = XMP_TEXT + b"\x00\x01\x00\x00\x00" + stream[:2] + nothing * blocks + stream[2:]
        assert read_header(png_file(HEADER, (b"iTXt", body), BODY, END)).orientation == orientation


def test_a_text_that_cannot_be_compressed_is_read_up_to_its_limit() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 2**20 - len(XMP), np.uint8).tobytes()
    chunk = international(XMP_TEXT, noise.replace(b"\x00", b"x") + XMP, is_compressed=True)
    assert read_header(png_file(HEADER, chunk, BODY, END)).orientation == 8
