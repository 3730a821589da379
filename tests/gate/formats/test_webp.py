"""WebP: the first frame alone, without metadata, as Pillow decodes it."""

import io
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gate import area_average, read_pixels
from gate.errors import CorruptImage, ImageError
from tests.support.images import Pixels, encode, portrait

SIZE = 32
FACE = portrait(96)
Chunk = tuple[bytes, bytes]


def chunks(data: bytes) -> list[Chunk]:
    position, found = 12, list[Chunk]()
    while position < len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        found.append((kind, data[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return found


def webp(parts: list[Chunk]) -> bytes:
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(each)) + each + bytes(len(each) % 2) for kind, each in parts
    )
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def with_alpha(*, lossless: bool) -> bytes:
    image = Image.fromarray(FACE).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 96).astype(np.uint8), (96, 1))))
    return encode(image, "WEBP", lossless=lossless, exact=True)


def animation(*, lossless: bool = True, count: int = 3) -> bytes:
    frames = [Image.fromarray(np.roll(FACE, shift, 0)) for shift in range(0, 8 * count, 8)]
    return encode(
        frames[0], "WEBP", lossless=lossless, save_all=True, append_images=frames[1:], duration=50, minimize_size=False
    )


def extended(data: bytes, *extra: Chunk, flags: int = 0) -> bytes:
    """A still file of VP8X, with chunks put before the picture."""
    size = (95).to_bytes(3, "little") * 2
    parts = [part for part in chunks(data) if part[0] != b"VP8X"]
    old = next((body[0] for kind, body in chunks(data) if kind == b"VP8X"), 0)
    return webp([(b"VP8X", bytes([flags | old, 0, 0, 0]) + size), *extra, *parts])


def without_alpha_flag(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] & ~0x10]) + data[21:]


def by_pillow(data: bytes) -> Pixels:
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return area_average(np.asarray(image.convert("RGB")), SIZE)


STILL, LOSSLESS = encode(FACE, "WEBP", quality=90), encode(FACE, "WEBP", lossless=True)
SOUND = {
    "lossy": STILL,
    "lossless": LOSSLESS,
    "lossy with alpha": with_alpha(lossless=False),
    "lossless with alpha": with_alpha(lossless=True),
    "animated": animation(),
    "animated, lossy": animation(lossless=False),
    "extended": extended(STILL),
    "alpha that is not announced": without_alpha_flag(with_alpha(lossless=False)),
    "with a profile": extended(STILL, (b"ICCP", b"no profile"), flags=0x20),
    "with a profile announced and missing": extended(LOSSLESS, flags=0x20),
    "with unknown chunks": extended(STILL, (b"ABCD", bytes(33)), (b"XMP ", b"<x/>")),
    "with EXIF of nonsense": webp([*chunks(extended(STILL, flags=0x08)), (b"EXIF", b"\xff" * 31)]),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_webp_is_read_as_pillow_reads_it(name: str) -> None:
    difference = read_pixels(SOUND[name], SIZE).astype(int) - by_pillow(SOUND[name])
    assert np.abs(difference).max() <= ("alpha" in name)  # Compositing rounds each pixel, and so does the reference.


def odd_picture(data: bytes) -> Chunk:
    """The picture, in an odd number of bytes: libwebp writes an even one for lossy pictures, and ignores one more."""
    kind, body = chunks(data)[0]
    return kind, body + bytes(1 - len(body) % 2)


@pytest.mark.parametrize("counted", [0, 1], ids=["not counted", "counted"])
@pytest.mark.parametrize("written", [b"", b"\x00", b"\x00more bytes"], ids=["omitted", "written", "followed"])
@pytest.mark.parametrize(
    "head", [b"", webp([(b"VP8X", bytes(4) + b"\x5f\x00\x00" * 2)])[12:]], ids=["still", "extended"]
)
@pytest.mark.parametrize("sound", [STILL, LOSSLESS], ids=["lossy", "lossless"])
def test_the_padding_of_an_odd_chunk_need_not_be_counted(
    sound: bytes, head: bytes, written: bytes, counted: int
) -> None:
    picture = odd_picture(sound)
    body = b"WEBP" + head + struct.pack("<4sI", picture[0], len(picture[1])) + picture[1]
    data = struct.pack("<4sI", b"RIFF", len(body) + counted) + body + written
    if counted and not written:  # Or the file has lost another byte.
        with pytest.raises(CorruptImage, match="incomplete"):
            read_pixels(data, SIZE)
    else:
        assert np.array_equal(read_pixels(data, SIZE), by_pillow(sound))


def test_a_lossless_picture_that_lost_any_byte_is_refused() -> None:
    sound = webp([odd_picture(LOSSLESS)])
    for at in range(25, len(sound), 7):
        with pytest.raises(CorruptImage):
            read_pixels(sound[:at] + sound[at + 1 :], SIZE)


def test_an_odd_picture_without_the_rest_of_its_file_is_refused() -> None:
    picture = webp([odd_picture(STILL), (b"EXIF", bytes(40))])
    with pytest.raises(CorruptImage):
        read_pixels(picture[: picture.index(b"EXIF") - 1], SIZE)


@pytest.mark.parametrize(("left", "top", "edge"), [(0, 0, 64), (32, 16, 64), (2, 94, 2)])
def test_a_first_frame_smaller_than_its_canvas_lies_on_black(left: int, top: int, edge: int) -> None:
    picture = next(part for part in chunks(encode(FACE[:edge, :edge], "WEBP", lossless=True)) if part[0] == b"VP8L")
    place = b"".join(number.to_bytes(3, "little") for number in (left // 2, top // 2, edge - 1, edge - 1, 40))
    frame = place + b"\x00" + struct.pack("<4sI", picture[0], len(picture[1])) + picture[1]
    frame += bytes(len(picture[1]) % 2)
    head = (b"VP8X", b"\x02\x00\x00\x00" + (95).to_bytes(3, "little") * 2)
    data = webp([head, (b"ANIM", b"\xff\xff\xff\xff\x00\x00"), (b"ANMF", frame), (b"ANMF", frame)])
    expected = np.zeros_like(FACE)
    expected[top : top + edge, left : left + edge] = FACE[:edge, :edge]
    assert np.array_equal(read_pixels(data, SIZE), area_average(expected, SIZE))
    assert np.array_equal(read_pixels(data, SIZE), by_pillow(data))


def test_later_frames_are_not_decoded() -> None:
    data = animation()
    frame = chunks(data)[2]
    many = webp([*chunks(data)[:3], *[frame] * 5_000])
    start = time.process_time()
    assert np.array_equal(read_pixels(many, SIZE), read_pixels(data, SIZE))
    assert time.process_time() - start < 1


def frame_moved(data: bytes) -> bytes:
    parts = chunks(data)
    kind, body = parts[2]
    return webp([*parts[:2], (kind, b"\x7f" + body[1:]), *parts[3:]])


DAMAGE: dict[str, Callable[[], bytes]] = {
    "cut": lambda: STILL[: len(STILL) // 2],
    "lossless cut": lambda: LOSSLESS[: len(LOSSLESS) // 2],
    "extended cut": lambda: SOUND["extended"][:-40],
    "alpha cut": lambda: SOUND["lossy with alpha"][:100],
    "metadata cut": lambda: SOUND["with EXIF of nonsense"][:-9],
    "first frame cut": lambda: webp([*chunks(animation())[:2], (b"ANMF", chunks(animation())[2][1][:200])]),
    "first frame outside": lambda: frame_moved(animation()),
    "frame without a picture": lambda: webp([*chunks(animation())[:2], (b"ANMF", bytes(16))]),
    "no picture": lambda: webp(chunks(extended(STILL))[:1]),
    "no frames": lambda: webp(chunks(animation())[:2]),
    "picture of another size": lambda: extended(encode(portrait(64), "WEBP")),
    "extended header too short": lambda: webp([(b"VP8X", bytes(8)), *chunks(STILL)]),
    "too many chunks": lambda: extended(STILL, *[(b"ABCD", b"")] * 30_000),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_webp_is_refused(name: str) -> None:
    with pytest.raises(CorruptImage):
        read_pixels(DAMAGE[name](), SIZE)


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_webp_cut_in_its_header_is_an_image_error(cut: int) -> None:
    with pytest.raises(ImageError):
        read_pixels(SOUND["extended"][:cut], SIZE)


@pytest.mark.parametrize("kind", [b"ABCD", b"ALPH", b"ANMF", b"EXIF"])
def test_no_webp_makes_the_search_slow(kind: bytes) -> None:
    head = webp([(b"VP8X", b"\x0a\x00\x00\x00" + (95).to_bytes(3, "little") * 2)])
    flood = head + (kind + b"\x00\x00\x00\x00") * 2_000_000
    data = flood[:4] + struct.pack("<I", len(flood) - 8) + flood[8:]
    start = time.process_time()
    with pytest.raises(ImageError):
        read_pixels(data, SIZE)
    assert time.process_time() - start < 1
