"""The fast way through a PNG gives what Pillow gives, bit for bit, or stands aside."""

import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import deflate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gate import ImageError, read_pixels, read_pixels_at
from gate.errors import CorruptImage
from gate.formats.png import fast_decoder as png
from gate.formats.png.chunks import parse_png
from gate.formats.png.pillow_decoder import decode_png
from gate.header import read_header
from tests.conftest import ROOT
from tests.support.images import (
    PNG_SIGNATURE,
    Pixels,
    encode,
    filtered_png,
    flat,
    interlaced_png,
    png_chunk,
    png_of,
    portrait,
)
from tests.support.pngs import any_png

SOURCE = ROOT / "gate/formats/png/scanlines.c"
ALL_FILTERS = (4, 4, 4, 4, 0, 1, 2, 3, 4, 4, 4, 4, 3, 1, 4, 2, 2, 2, 2, 2, 1, 1, 1, 1, 3, 3, 3, 3, 0, 4, 0)


@contextmanager
def decoded_by(shrink: Callable[..., int] | None) -> Iterator[None]:
    """`None`: by Pillow, as where the library is missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "LIBRARY", shrink)
        yield


def noise(edge: int, channels: int = 3, *, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (edge, edge, channels), dtype=np.uint8)


def is_taken(data: bytes | bytearray, size: int) -> bool:
    try:
        read_header(data)
        return png.shrink_png(parse_png(data), (size,)) is not None
    except (CorruptImage, ValueError, zlib.error):
        return False


def outcome(data: bytes, size: int) -> bytes | type[ImageError]:
    try:
        return read_pixels(data, size).tobytes()
    except ImageError as error:
        return type(error)


def by_pillow(data: bytes, size: int) -> bytes | type[ImageError]:
    with decoded_by(None):
        return outcome(data, size)


def chunks_of(pixels: Pixels) -> tuple[bytes, bytes, bytes]:
    """The parts of a PNG: its header, its picture and its end."""
    data = filtered_png(pixels, ALL_FILTERS)
    end = data.index(b"IEND") - 4
    return data[8:33], data[33:end], data[end:]


def assert_same(data: bytes, size: int) -> None:
    assert is_taken(data, size)
    assert outcome(data, size) == by_pillow(data, size)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(("edge", "size"), [(64, 64), (64, 1), (66, 33), (63, 9), (5, 5), (1, 1), (300, 1), (258, 2)])
def test_a_filter_is_undone_as_pillow_does(kind: int, channels: int, edge: int, size: int) -> None:
    assert_same(filtered_png(noise(edge, channels), [kind]), size)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("first", range(5))
def test_any_filter_may_come_first_and_beside_any_other(first: int, channels: int) -> None:
    filters = np.random.default_rng(first).integers(0, 5, 96)
    filters[0] = first
    assert_same(filtered_png(portrait(96)[:, :, [0, 1, 2, 1][:channels]], filters.tolist()), 32)


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 9), st.sampled_from([3, 4])),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    spread=st.sampled_from([255, 3]),
    split=st.sampled_from([40, 100, 8192]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_every_image_matches_pillow(
    shape: tuple[int, int, int], filters: list[int], spread: int, split: int, seed: int
) -> None:
    size, ratio, channels = shape
    # Neighbours that are alike try the ties of the Paeth filter.
    pixels = noise(size * ratio, channels, seed=seed) % spread
    assert_same(filtered_png(pixels, filters, split=split), size)


def test_every_level_under_every_alpha_is_composited_as_pillows_path_does() -> None:
    levels, alphas = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([levels, 255 - levels, levels, alphas], axis=2).astype(np.uint8)
    assert_same(filtered_png(pixels, [0, 4, 4, 4, 4]), 256)


def test_sums_of_white_do_not_overflow() -> None:
    for edge in (257, 258, 1030):
        data = encode(flat(255, edge))
        assert is_taken(data, 1)
        assert read_pixels(data, 1).min() == 255


def test_several_sizes_come_from_one_inflated_picture() -> None:
    data = filtered_png(noise(96), ALL_FILTERS)
    for size, pixels in zip((8, 32, 96), read_pixels_at(data, (8, 32, 96)), strict=True):
        assert pixels.tobytes() == by_pillow(data, size)
    assert png.shrink_png(parse_png(data), (8, 7)) is None


def test_threads_do_not_share_decode_buffers() -> None:
    bodies = [filtered_png(noise(edge, 3 + edge % 2, seed=edge), ALL_FILTERS) for edge in range(64, 512, 24)]
    bodies = [body for body in bodies if is_taken(body, 16)] * 6
    expected = {body: by_pillow(body, 16) for body in bodies}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda body: outcome(body, 16), bodies))
    assert len(expected) == len(bodies) // 6
    assert found == [expected[body] for body in bodies]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("PNG", mode) for mode in ("RGB", "RGBA", "L", "P")],
        *[("JPEG", mode) for mode in ("RGB", "L", "CMYK")],
        *[("WEBP", mode) for mode in ("RGB", "RGBA")],
        ("GIF", "P"),
    ],
)
def test_a_bytearray_is_read_as_bytes_are(kind: str, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(portrait(128)).convert(mode), kind, exif=exif)
    for cut in (len(data), 3000, 40, 14, 0):
        taken = bytearray(data[:cut])
        try:
            found: bytes | type[ImageError] = read_pixels(taken, 32).tobytes()
        except ImageError as error:
            found = type(error)
        assert found == outcome(data[:cut], 32)
        taken.clear()  # Fails where anyone still holds on to it.


def test_an_animated_webp_is_read_from_a_bytearray() -> None:
    frames = [Image.fromarray(portrait(64, seed=seed)) for seed in (1, 2)]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_pixels(bytearray(data), 32), read_pixels(data, 32))


EMPTY_BLOCKS = b"\x00\x00\x00\xff\xff" * (2**22 // 5 + 1)
"""More than 4 MiB of stored blocks without a byte."""


def large(lines: bytes, *, end: int | None = None) -> bytes:
    """A PNG of 8 x 8 pixels whose stream has the blocks of `EMPTY_BLOCKS` in front."""
    stream = zlib.compress(lines)[:end]
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream[:2] + EMPTY_BLOCKS + stream[2:]), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks)


def test_a_large_stream_is_inflated_once_and_not_by_libdeflate(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB of blocks with few pixels took libdeflate 5 s, and the file was inflated up to three times."""
    monkeypatch.setattr(deflate, "zlib_decompress", lambda *_: pytest.fail("went to libdeflate"))
    pixels = noise(8)
    lines = b"".join(b"\x00" + row.tobytes() for row in pixels)
    for whole in (large(lines), large(lines + b"more"), large(lines, end=-4)):
        assert outcome(whole, 8) == pixels.tobytes()
        assert is_taken(whole, 8)
    for damaged in (large(lines[:-1]), large(b"\x05" + lines[1:]), large(lines, end=-9)):
        assert outcome(damaged, 8) is CorruptImage
        assert not is_taken(damaged, 8)


def test_pillow_receives_scan_lines_that_were_inflated_once() -> None:
    class Counted(list[memoryview]):
        walks = 0

        def __iter__(self) -> Iterator[memoryview]:
            self.walks += 1
            return super().__iter__()

    parsed = parse_png(encode(Image.fromarray(noise(64)[:, :, 0])))
    stream = Counted(parsed.stream)
    decode_png(replace(parsed, stream=stream))
    assert stream.walks == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(any_png(noise(64).astype(int) * 257, depth=16), id="16 bits"),
        pytest.param(encode(Image.fromarray(portrait(64)).quantize(16)), id="palette"),
        pytest.param(encode(Image.fromarray(portrait(64)).convert("L")), id="grey"),
        pytest.param(encode(Image.fromarray(portrait(64)).convert("LA")), id="grey and alpha"),
        pytest.param(interlaced_png(portrait(64)), id="interlaced"),
        pytest.param(encode(portrait(64), transparency=(1, 2, 3)), id="a transparent colour"),
        pytest.param(encode(portrait(65)), id="an edge that does not divide"),
    ],
)
def test_unsupported_files_go_to_pillow(data: bytes) -> None:
    assert not is_taken(data, 32)
    assert outcome(data, 32) == by_pillow(data, 32)


def test_without_the_library_pillow_decodes() -> None:
    data = filtered_png(noise(64), ALL_FILTERS)
    with decoded_by(None):
        assert not is_taken(data, 32)
        assert read_pixels(data, 32).shape == (32, 32, 3)


def test_missing_or_invalid_library_is_not_loaded(tmp_path: Path) -> None:
    other = tmp_path / "scanlines.so"
    assert png.load_library(other) is None
    other.write_bytes(b"not for this machine")
    assert png.load_library(other) is None


HEADER, PICTURE, END = chunks_of(noise(16))
STREAM = PICTURE[8:-4]
TWICE = zlib.compress(zlib.decompress(STREAM)[: 8 * 49] * 2)
"""The upper half twice, by distances of 392 bytes."""
NOTE = png_chunk(b"tEXt", b"Comment\x00hello")


def spoilt(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def split_at(position: int, *, between: bytes = b"") -> bytes:
    return HEADER + png_chunk(b"IDAT", STREAM[:position]) + between + png_chunk(b"IDAT", STREAM[position:]) + END


ODD_FILES = {
    "trailing bytes": (True, HEADER + PICTURE + END + b"junk" * 10),
    "a note before": (True, HEADER + NOTE + PICTURE + END),
    "a note behind": (True, HEADER + PICTURE + NOTE + END),
    "a damaged note": (True, HEADER + spoilt(NOTE) + PICTURE + END),
    "an empty part first": (True, split_at(0)),
    "an empty part last": (True, split_at(len(STREAM))),
    "bytes behind the stream": (True, HEADER + png_chunk(b"IDAT", STREAM + b"123") + END),
    "a part behind the stream": (True, HEADER + PICTURE + png_chunk(b"IDAT", b"123") + END),
    "an end with something in it": (True, HEADER + PICTURE + png_chunk(b"IEND", b"123")),
    "no end": (True, HEADER + PICTURE),
    "half an end": (True, HEADER + PICTURE + END[:6]),
    "a damaged end": (True, HEADER + PICTURE + spoilt(END)),
    "no picture": (False, HEADER + END),
    "an empty picture": (False, HEADER + png_chunk(b"IDAT", b"") + END),
    "a damaged header": (False, spoilt(HEADER) + PICTURE + END),
    "a damaged picture": (False, HEADER + spoilt(PICTURE) + END),
    "a damaged checksum of the stream": (False, HEADER + png_chunk(b"IDAT", spoilt(STREAM)) + END),
    "a stream that is cut": (False, HEADER + png_chunk(b"IDAT", STREAM[:-5]) + END),
    "a note between the parts": (False, split_at(100, between=NOTE)),
    "a second header": (False, HEADER + HEADER + PICTURE + END),
    "a second header behind": (True, HEADER + PICTURE + HEADER + END),
    "a palette that is a mere suggestion": (True, HEADER + png_chunk(b"PLTE", bytes(12)) + PICTURE + END),
    "an unknown critical chunk": (False, HEADER + png_chunk(b"ABCD", b"") + PICTURE + END),
    "an unknown critical chunk behind": (True, HEADER + PICTURE + png_chunk(b"ABCD", b"") + END),
    "a name that is none": (False, HEADER + png_chunk(b"a\x00CD", b"") + PICTURE + END),
    "a name that is reserved": (True, HEADER + png_chunk(b"abcd", b"") + PICTURE + END),
    "an animation's control": (True, HEADER + png_chunk(b"fcTL", b"abc") + PICTURE + END),
    "a length beyond all bounds": (False, HEADER + b"\xff\xff\xff\xfftEXt" + PICTURE + END),
    "lines too many": (False, png_of(16, 16, zlib.decompress(STREAM) + b"123")[8:]),
    "lines too few": (False, png_of(16, 16, zlib.decompress(STREAM)[:-1])[8:]),
    "a filter that is none": (False, png_of(16, 16, bytes(49 * 9) + b"\x05" + bytes(48 + 49 * 6))[8:]),
    "a window that is too small": (True, HEADER + png_chunk(b"IDAT", b"\x08\x1d" + TWICE[2:]) + END),
    "a window that is too large": (False, HEADER + png_chunk(b"IDAT", b"\x88\x1c" + STREAM[2:]) + END),
    "a window with a wrong check": (False, HEADER + png_chunk(b"IDAT", b"\x08\x1e" + STREAM[2:]) + END),
    "a stream with a dictionary": (False, HEADER + png_chunk(b"IDAT", b"\x08\x3c" + STREAM[2:]) + END),
    "many chunks": (True, HEADER + png_chunk(b"teST", b"") * 10_000 + PICTURE + END),
    "more chunks than are looked at": (False, HEADER + png_chunk(b"teST", b"") * 70_000 + PICTURE + END),
}


@pytest.mark.parametrize("name", ODD_FILES)
def test_unusual_file_has_the_outcome_of_pillow(name: str) -> None:
    taken, rest = ODD_FILES[name]
    assert is_taken(PNG_SIGNATURE + rest, 8) is taken
    assert outcome(PNG_SIGNATURE + rest, 8) == by_pillow(PNG_SIGNATURE + rest, 8)


@pytest.mark.parametrize(
    "name",
    [
        "a damaged picture",
        "a damaged checksum of the stream",
        "a stream that is cut",
        "lines too few",
        "a filter that is none",
        "an unknown critical chunk",
        "a second header",
        "no picture",
    ],
)
def test_damaged_files_are_corrupt(name: str) -> None:
    with pytest.raises(CorruptImage):
        read_pixels(PNG_SIGNATURE + ODD_FILES[name][1], 8)


@pytest.mark.parametrize("bits", [0x01, 0x20, 0xFF])
def test_file_with_one_changed_byte_has_the_outcome_of_pillow(bits: int) -> None:
    sound = PNG_SIGNATURE + HEADER + NOTE + PICTURE + NOTE + END
    for position in range(len(PNG_SIGNATURE), len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= bits
        assert outcome(bytes(damaged), 8) == by_pillow(bytes(damaged), 8), position


def test_truncated_file_has_the_outcome_of_pillow() -> None:
    sound = PNG_SIGNATURE + HEADER + NOTE + PICTURE + END
    for length in range(len(sound)):
        assert outcome(sound[:length], 8) == by_pillow(sound[:length], 8), length


def test_invalid_stream_with_a_valid_checksum_has_the_outcome_of_pillow() -> None:
    for position in range(len(STREAM)):
        damaged = bytearray(STREAM)
        damaged[position] ^= 0x10
        data = PNG_SIGNATURE + HEADER + png_chunk(b"IDAT", bytes(damaged)) + END
        assert outcome(data, 8) == by_pillow(data, 8), position


@given(
    fields=st.tuples(st.sampled_from([8, 16, 32]), *[st.integers(0, 17)] * 2, *[st.integers(0, 2)] * 3),
    channels=st.sampled_from([3, 4]),
)
@settings(max_examples=100, deadline=None)
def test_inconsistent_header_has_the_outcome_of_pillow(fields: tuple[int, ...], channels: int) -> None:
    edge, *rest = fields
    body = chunks_of(noise(16, channels))[1]
    data = PNG_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", edge, edge, *rest)) + body + END
    assert outcome(data, 8) == by_pillow(data, 8)
