import io
import logging
import struct
import time
import warnings

import pytest
from PIL import Image

from gate import read_pixels
from gate.formats.exif import EXIF_PREFIX, read_orientation
from gate.header import read_header
from tests.support.images import Pixels, encode, portrait

Entry = tuple[int, int, int, bytes]


def block(order: str, *entries: Entry, count: int | None = None, start: int = 8) -> bytes:
    """A TIFF block of one directory."""
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(f"{order}I", start)
    directory = struct.pack(f"{order}H", len(entries) if count is None else count)
    return (
        head + directory + b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
    )


def pillow_orientation(exif: bytes) -> int:
    tags = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tags.load(EXIF_PREFIX + exif)
            found = tags.get(0x0112, 1)
        except Exception:
            return 1
    return found if found in range(1, 9) else 1


SIX_LITTLE, SIX_BIG = (0x0112, 3, 1, b"\x06\x00\x00\x00"), (0x0112, 3, 1, b"\x00\x06\x00\x00")
OTHER = (0x0110, 2, 4, b"cam\x00")


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(block("<", SIX_LITTLE), id="little-endian"),
        pytest.param(block(">", SIX_BIG), id="big-endian"),
        pytest.param(block("<", OTHER, SIX_LITTLE, OTHER), id="among others"),
        pytest.param(block("<", (0x0112, 4, 1, b"\x06\x00\x00\x00")), id="as a long"),
        pytest.param(block("<", (0x0112, 1, 1, b"\x06\x00\x00\x00")), id="as a byte"),
        pytest.param(block("<", (0x0112, 6, 1, b"\x06\x00\x00\x00")), id="as a signed byte"),
        pytest.param(block("<", (0x0112, 7, 1, b"\x06\x00\x00\x00")), id="as an undefined byte"),
        pytest.param(block("<", (0x0112, 8, 1, b"\x06\x00\x00\x00")), id="as a signed short"),
        pytest.param(block("<", (0x0112, 9, 1, b"\x06\x00\x00\x00")), id="as a signed long"),
        pytest.param(block("<", (0x0112, 13, 1, b"\x06\x00\x00\x00")), id="as a directory"),
        pytest.param(block("<", (0x0112, 8, 1, b"\xff\xff\x00\x00")), id="negative"),
        pytest.param(block("<", SIX_LITTLE, (0x0112, 3, 1, b"\x03\x00\x00\x00")), id="twice"),
        pytest.param(block("<", (0x0112, 3, 1, b"\x09\x00\x00\x00")), id="out of range"),
        pytest.param(block("<", (0x0112, 3, 2, b"\x06\x00\x06\x00")), id="two values"),
        pytest.param(block("<", (0x0112, 2, 2, b"6\x00\x00\x00")), id="as text"),
        pytest.param(block("<", SIX_LITTLE, count=0), id="count of zero"),
        pytest.param(block("<", start=2**31), id="directory outside"),
        pytest.param(block("<", SIX_LITTLE)[:9], id="cut in the directory"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 64, id="no TIFF"),
    ],
)
def test_the_orientation_is_that_which_pillow_finds(exif: bytes) -> None:
    assert read_orientation(exif) == pillow_orientation(exif)


def test_a_count_larger_than_the_block_does_not_hide_the_tag() -> None:
    assert read_orientation(block("<", SIX_LITTLE, count=65_535)) == 6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_prefix_may_stand_before_the_block(count: int) -> None:
    exif = EXIF_PREFIX * count + block("<", SIX_LITTLE)
    assert read_orientation(exif) == 6


def test_many_prefixes_are_skipped_at_once() -> None:
    start = time.process_time()
    assert read_orientation(EXIF_PREFIX * 2_000_000 + block("<", SIX_LITTLE)) == 6
    assert time.process_time() - start < 1


@pytest.mark.parametrize("cut", [0, 9, 30, 40_008])
def test_a_block_in_several_jpeg_segments_is_one(cut: int) -> None:
    exif = block("<", SIX_LITTLE)[:4] + struct.pack("<I", 40_000) + bytes(39_992) + block("<", SIX_LITTLE)[8:]
    data = encode(portrait(64), "JPEG")
    parts = (EXIF_PREFIX + exif[:cut], EXIF_PREFIX + exif[cut:])
    split = data[:2] + b"".join(struct.pack(">HH", 0xFFE1, 2 + len(part)) + part for part in parts) + data[2:]
    assert Image.open(io.BytesIO(split)).getexif()[0x0112] == 6
    assert read_header(split).orientation == 6


def test_a_directory_that_points_at_itself_is_read_once() -> None:
    assert read_orientation(block("<", SIX_LITTLE)[:-4] + struct.pack("<I", 8)) == 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_many_tags_are_parsed_quickly_without_warnings(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    many = 5_000 if kind == "JPEG" else 65_534
    flood = [(tag & 0xFFFF, 2, 0xFFFFFF, b"\xf0\xff\xff\xff") for tag in range(0x8000, 0x8000 + many)]
    image: Pixels = portrait(64)
    data = encode(image, kind, exif=EXIF_PREFIX + block("<", *flood))

    start = time.process_time()
    read_pixels(data, 64)
    assert time.process_time() - start < 0.5  # It took 2.6 seconds.
    assert not caplog.records
