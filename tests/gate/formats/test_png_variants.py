"""Every kind of PNG is read as the specification says, what Pillow reads whole is read, and damage is refused."""

import contextlib
import io
import itertools
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gate import read_pixels
from gate.errors import CorruptImage, UnsupportedImage
from tests.gate.leaks import assert_nothing_leaks
from tests.support.images import PNG_SIGNATURE, encode, png_chunk, portrait
from tests.support.pngs import (
    COLOURS,
    DEPTHS,
    Samples,
    any_png,
    header_of,
    pixels_of,
    png_file,
    stream_of,
)

KINDS = [(colour, depth) for colour, depths in DEPTHS.items() for depth in depths]
PALETTE = np.random.default_rng(3).integers(0, 256, 768, dtype=np.uint8).tobytes()
EDGES = (1, 3, 8, 13, 24)


def samples_of(colour: str, depth: int, edge: int) -> Samples:
    """Noise, over a part that is smooth and has colours that come again."""
    samples = np.random.default_rng(edge).integers(0, 1 << depth, (edge, edge, COLOURS[colour][1]))
    half = edge // 2
    samples[:half] = (np.add.outer(np.arange(half), np.arange(edge)) * 3 % (1 << depth))[:, :, None]
    return samples


def options_of(colour: str, depth: int, samples: Samples) -> Iterator[dict[str, Any]]:
    """Without and with a transparent colour."""
    palette = PALETTE[: 3 << depth] if colour == "palette" else b""
    yield {"palette": palette}
    if colour in ("grey", "rgb"):
        yield {"palette": palette, "transparency": samples[0, -1].astype(">u2").tobytes()}
    if colour == "palette":
        yield {"palette": palette, "transparency": bytes([0, 128, 255][: 1 << depth])}


@pytest.mark.parametrize("is_interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind_of_picture_has_the_pixels_that_the_specification_says(
    colour: str, depth: int, is_interlaced: bool
) -> None:
    for edge in EDGES:
        samples = samples_of(colour, depth, edge)
        for options in options_of(colour, depth, samples):
            expected = pixels_of(samples, colour=colour, depth=depth, **options)
            write = partial(any_png, samples, colour=colour, depth=depth, is_interlaced=is_interlaced, **options)
            for filters in ([0], [1], [2], [3], [4], [4, 1, 3, 2, 0]):
                found = read_pixels(write(filters=filters), edge)
                np.testing.assert_array_equal(found, expected, f"{edge} {filters} {options}")


@pytest.mark.parametrize("channel", range(3))
def test_a_transparent_colour_of_16_bits_is_compared_in_full(channel: int) -> None:
    samples = np.full((4, 4, 3), 0x1234)
    samples[0, 0, channel] = 0x1235
    samples[1, 1, channel] = 0x1334
    data = any_png(samples, depth=16, transparency=struct.pack(">3H", 0x1234, 0x1234, 0x1234))
    assert np.count_nonzero(read_pixels(data, 4).any(axis=2)) == 2


@pytest.mark.parametrize("is_above", [False, True], ids=["6 MiB", "one byte more"])
def test_a_transparent_colour_of_16_bits_with_megabytes_of_pixels_is_refused(is_above: bool) -> None:
    samples = np.full((4, 4, 3), 0x1234)
    stream = stream_of(samples, depth=16)
    # Empty stored blocks, of five bytes each, between the head of the stream and its pixels.
    count, rest = divmod(6 * 2**20 - len(stream), 5)
    blocks = stream[:2] + bytes([0, 0, 0, 255, 255]) * count + stream[2:] + bytes(rest + is_above)
    chunks = [header_of(4, 4, depth=16), (b"tRNS", bytes(6)), (b"IDAT", blocks), (b"IEND", b"")]
    if not is_above:
        assert (read_pixels(png_file(*chunks), 4) == 0x12).all()
        return
    with pytest.raises(UnsupportedImage, match="more than 6 MiB of compressed pixels"):
        read_pixels(png_file(*chunks), 4)


@pytest.mark.parametrize(
    ("colour", "right", "wrong"),
    [("grey", b"\x00\x07", b"\x07"), ("rgb", bytes([0, 7] * 3), b"\x00\x07"), ("palette", bytes([255, 0]), b"")],
)
def test_the_first_transparency_that_fits_is_applied(colour: str, right: bytes, wrong: bytes) -> None:
    header = header_of(4, 4, colour=colour)
    stream = stream_of(np.repeat(np.arange(16) % 8, COLOURS[colour][1]).reshape(4, 4, -1))
    palette, chunk, body = (b"PLTE", PALETTE[:24]), (b"tRNS", right), (b"IDAT", stream)
    expected = read_pixels(png_file(header, palette, chunk, body), 4)
    assert not np.array_equal(expected, read_pixels(png_file(header, palette, body), 4))
    for others in ([(b"tRNS", wrong), palette, chunk], [palette, (b"tRNS", wrong), chunk, (b"tRNS", bytes(6))]):
        np.testing.assert_array_equal(read_pixels(png_file(header, *others, body), 4), expected)


def test_indices_beyond_the_palette_are_black() -> None:
    data = any_png(np.arange(16).reshape(4, 4, 1), colour="palette", depth=4, palette=b"\xff" * 9)
    assert read_pixels(data, 4).sum() == 3 * 3 * 255


SAMPLES = portrait(16).astype(int)
HEADER, STREAM = header_of(16, 16), stream_of(SAMPLES, filters=[4])
BODY, END = (b"IDAT", STREAM), (b"IEND", b"")
EXPECTED = portrait(16)
PQ_PROFILE = (b"iCCP", b"ITUR_2100_PQ_FULL\x00\x00" + zlib.compress(bytes(99)))


def text(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


ODDITIES = {
    "an empty IDAT first": png_file(HEADER, (b"IDAT", b""), BODY, END),
    "empty IDATs within": png_file(HEADER, (b"IDAT", STREAM[:9]), *[(b"IDAT", b"")] * 9, (b"IDAT", STREAM[9:]), END),
    "an IDAT a byte": png_file(HEADER, *[(b"IDAT", bytes([byte])) for byte in STREAM], END),
    "an IDAT behind the end of the stream": png_file(HEADER, BODY, (b"IDAT", b"junk"), END),
    "junk behind the stream": png_file(HEADER, (b"IDAT", STREAM + b"junk"), END),
    "junk behind IEND": png_file(HEADER, BODY, END) + b"junk" * 1000,
    "no IEND": png_file(HEADER, BODY),
    "a stream without its sum": png_file(HEADER, (b"IDAT", STREAM[:-4]), END),
    "more lines than the picture has": png_file(
        HEADER, (b"IDAT", zlib.compress(zlib.decompress(STREAM) + bytes(1000))), END
    ),
    "a palette that is a suggestion": png_file(HEADER, (b"PLTE", bytes(12)), BODY, END),
    "an animation of 2^32 - 1 frames": png_file(HEADER, (b"acTL", b"\xff" * 4 + bytes(4)), BODY, END),
    "an animation of no frames": png_file(HEADER, (b"acTL", bytes(8)), BODY, END),
    "a frame control that is cut": png_file(HEADER, (b"fcTL", b"abc"), BODY, (b"fdAT", b""), END),
    "cICP of BT.709": png_file(HEADER, (b"cICP", bytes([1, 1, 0, 1])), BODY, END),
    "cICP of sRGB": png_file(HEADER, (b"cICP", bytes([1, 13, 0, 1])), BODY, END),
    "cICP of sRGB beside a PQ profile": png_file(HEADER, (b"cICP", bytes([1, 13, 0, 1])), PQ_PROFILE, BODY, END),
    "a gamma of 1": png_file(HEADER, (b"gAMA", struct.pack(">I", 100_000)), BODY, END),
    "a colour profile that is none": png_file(HEADER, (b"iCCP", b"none\x00\x00" + text(10)), BODY, END),
    "a reserved name": png_file(HEADER, (b"abcd", b""), BODY, END),
    "an unknown chunk behind": png_file(HEADER, BODY, (b"ABCD", b""), END),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_a_picture_that_is_whole_is_read(name: str) -> None:
    for is_fast in (True, False):
        # At an edge of 16 the fast path has it, at 5 it is Pillow's.
        size = 16 if is_fast else 5
        np.testing.assert_array_equal(read_pixels(ODDITIES[name], size), read_pixels(encode(EXPECTED), size))


def deep(*, stream: bytes | None = None) -> bytes:
    """A picture that Pillow decodes."""
    found = stream_of(SAMPLES * 257, 16, [4]) if stream is None else stream
    return png_file(header_of(16, 16, depth=16), (b"IDAT", found), END)


def spoilt(data: bytes, kind: bytes, *, at: int = 8) -> bytes:
    position = data.index(kind) + at
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def damages(edge: int = 64) -> dict[str, bytes]:
    """Damaged files of every kind of picture."""
    found = {}
    for colour, depth in KINDS:
        samples = samples_of(colour, depth, edge)
        for is_interlaced in (False, True):
            palette = PALETTE[: 3 << depth] if colour == "palette" else b""
            data = any_png(samples, colour=colour, depth=depth, is_interlaced=is_interlaced, palette=palette)
            name = f"{colour} {depth} {'interlaced' if is_interlaced else 'plain'}"
            found[f"{name}, cut"] = data[: len(data) * 9 // 10]
            found[f"{name}, too few lines"] = _with_stream(data, lambda lines: lines[:-1])
            found[f"{name}, a filter that is none"] = _with_stream(data, lambda lines: b"\x05" + lines[1:])
            found[f"{name}, a flipped bit"] = spoilt(data, b"IDAT", at=40)
    return found


def _with_stream(data: bytes, change: Any) -> bytes:
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    lines = zlib.decompress(data[start + 8 : start + 8 + length])
    return data[:start] + png_chunk(b"IDAT", zlib.compress(change(lines))) + png_chunk(b"IEND", b"")


SOUND = png_file(HEADER, BODY, END)
BROKEN = {
    "no IDAT": png_file(HEADER, END),
    "an empty IDAT": png_file(HEADER, (b"IDAT", b""), END),
    "a palette picture without palette": png_file(header_of(16, 16, colour="palette"), BODY, END),
    "a palette of 4 bytes": png_file(header_of(16, 16, colour="palette"), (b"PLTE", b"1234"), BODY, END),
    "a palette of 257 colours": png_file(header_of(16, 16, colour="palette"), (b"PLTE", bytes(771)), BODY, END),
    "two palettes": png_file(HEADER, (b"PLTE", bytes(3)), (b"PLTE", bytes(3)), BODY, END),
    "a damaged transparent colour": spoilt(png_file(HEADER, (b"tRNS", bytes(6)), BODY, END), b"tRNS"),
    "a damaged palette": spoilt(png_file(HEADER, (b"PLTE", bytes(12)), BODY, END), b"PLTE"),
    "a damaged header": spoilt(SOUND, b"IHDR"),
    "a damaged checksum of a chunk": spoilt(SOUND, b"IDAT", at=4 + len(STREAM)),
    "a second header": png_file(HEADER, HEADER, BODY, END),
    "an unknown critical chunk": png_file(HEADER, (b"ABCD", b""), BODY, END),
    "a name that is none": png_file(HEADER, (b"a\x00CD", b""), BODY, END),
    "a chunk within the picture": png_file(HEADER, (b"IDAT", STREAM[:50]), (b"tEXt", b""), (b"IDAT", STREAM[50:]), END),
    "a wrong sum of the stream": png_file(HEADER, (b"IDAT", STREAM[:-1] + bytes([STREAM[-1] ^ 1])), END),
    "a deep stream with a wrong sum": deep(stream=stream_of(SAMPLES * 257, 16)[:-1] + b"\x00"),
    "a deep stream that is cut": deep(stream=stream_of(SAMPLES * 257, 16)[:-9]),
    "a stream that is none": png_file(HEADER, (b"IDAT", b"hello, world"), END),
    "3 bits a sample": png_file((b"IHDR", struct.pack(">IIBBBBB", 16, 16, 3, 0, 0, 0, 0)), BODY, END),
    "a third order of pixels": png_file((b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 2)), BODY, END),
    "a header of 12 bytes": png_file((b"IHDR", HEADER[1][:12]), BODY, END),
    "a chunk before the header": png_file((b"tEXt", b"a\x00b"), HEADER, BODY, END),
    "a length beyond the file": PNG_SIGNATURE + png_chunk(*HEADER) + b"\xff\xff\xff\xfftEXt" + png_chunk(*BODY),
    "100,000 empty chunks": png_file(HEADER, *[(b"teST", b"")] * 100_000, BODY, END),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_picture_that_is_broken_is_corrupt(name: str) -> None:
    with pytest.raises(CorruptImage):
        read_pixels(BROKEN[name], 5)


@pytest.mark.parametrize("length", [2**15, 2**16, 2**15 + 2**16, 2**17])
def test_a_wrong_sum_is_found_wherever_a_read_ends(length: int) -> None:
    lines = bytes(50 * 301)
    nothing = b"\x00\x00\x00\xff\xff"  # A stored block of no bytes.
    whole = _stored(lines)
    for blocks in range((length - len(whole)) // 5 - 4, (length - len(whole)) // 5 + 4):
        stream = b"\x78\x01" + nothing * blocks + whole
        assert zlib.decompress(stream) == lines
        with pytest.raises(CorruptImage):
            read_pixels(png_file(header_of(50, 50, depth=16), (b"IDAT", stream[:-1] + b"\xee"), END), 5)


def _stored(lines: bytes) -> bytes:
    """Stored blocks and the sum."""
    cuts = [lines[:1000], lines[1000:]]
    blocks = (struct.pack("<BHH", index, len(cut), len(cut) ^ 0xFFFF) + cut for index, cut in enumerate(cuts))
    return b"".join(blocks) + struct.pack(">I", zlib.adler32(lines))


def test_damage_is_refused_in_every_image() -> None:
    read = []
    for name, data in damages().items():
        with contextlib.suppress(CorruptImage):
            read_pixels(data, 32)
            read.append(name)
    assert read == []


@pytest.mark.parametrize("is_interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_a_complete_stream_that_lacks_bytes_is_corrupt(colour: str, depth: int, is_interlaced: bool) -> None:
    """Wherever the stream ends among chunks and reads, and whether or not bytes follow it."""
    read = []
    for edge in (1, 3, 8, 61):
        samples = samples_of(colour, depth, edge)
        lines = zlib.decompress(stream_of(samples, depth, [0], is_interlaced))
        header = header_of(edge, edge, colour=colour, depth=depth, is_interlaced=is_interlaced)
        tables = [(b"PLTE", PALETTE[: 3 << depth])] if colour == "palette" else []
        row = 1 + (edge * COLOURS[colour][1] * depth + 7) // 8
        for missing, padding in itertools.product({1, row // 2, row - 1, row, row + 1, len(lines)}, (0, 9, 2**15 + 5)):
            stream = zlib.compress(lines[: max(len(lines) - missing, 0)])
            data = png_file(header, *tables, (b"IDAT", stream + bytes(padding)), (b"IDAT", bytes(padding)), END)
            with contextlib.suppress(CorruptImage):
                read_pixels(data, edge)
                read.append((edge, missing, padding))
    assert read == []


ANCILLARY = (
    *(b"tIME", b"pHYs", b"bKGD", b"sBIT", b"hIST", b"sPLT", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caNv", b"iDOT"),
    *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"acTL", b"fcTL", b"fdAT"),
)
BODIES = (b"", b"\x00", b"\xff" * 4, b"Raw profile type exif\x00\x00junk", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00\x78")


@pytest.mark.parametrize("kind", ANCILLARY)
def test_damaged_ancillary_chunk_does_not_affect_the_pixels(kind: bytes) -> None:
    for body in (*BODIES, text(2**20)):
        for chunks in ([HEADER, (kind, body), BODY, END], [HEADER, BODY, (kind, body), END]):
            sound = png_file(*chunks)
            for data in (sound, spoilt(sound, kind, at=4 + len(body))):
                np.testing.assert_array_equal(read_pixels(data, 16), EXPECTED, f"{chunks}")


def test_files_that_pillow_reads_whole_are_read() -> None:
    """Pillow trips over some animations; whatever else it reads, it reads as the gate does."""
    refused = []
    for name, data in ODDITIES.items():
        try:
            with warnings.catch_warnings(action="ignore"):
                pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except (OSError, ValueError):
            refused.append(name)
        else:
            np.testing.assert_array_equal(read_pixels(data, 16), pixels, name)
    assert all("frame" in name or "profile" in name for name in refused), refused


def test_apples_variant_and_hdr_are_not_supported() -> None:
    apple = png_file((b"CgBI", b"\x50\x00\x20\x02"), HEADER, BODY, END)
    with pytest.raises(UnsupportedImage, match="CgBI"):
        read_pixels(apple, 8)
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(UnsupportedImage, match=f"{name}.*sRGB"):
            read_pixels(png_file(HEADER, (b"cICP", bytes([9, transfer, 0, 1])), BODY, END), 8)
    with pytest.raises(UnsupportedImage, match=r"iCCP, PQ.*sRGB"):
        read_pixels(png_file(HEADER, PQ_PROFILE, BODY, END), 8)


def test_failures_leak_no_memory() -> None:
    failures = damages() | BROKEN
    del failures["100,000 empty chunks"]
    assert_nothing_leaks(lambda data: read_pixels(data, 16), failures)


def test_a_stream_that_never_ends_is_left_after_the_last_line() -> None:
    """A bomb of 64 MB behind a picture of 768 bytes: no more is inflated than the picture needs."""
    bomb = zlib.compress(zlib.decompress(STREAM) + bytes(2**26), 9)
    np.testing.assert_array_equal(read_pixels(png_file(HEADER, (b"IDAT", bomb), END), 16), EXPECTED)
