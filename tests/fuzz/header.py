"""The header of any file: an `ImageError` or a header within its bounds, the same for bytes and bytearray.

A recipe builds a file whose header is known.
"""

from collections.abc import Iterator

from gate.errors import ImageError
from gate.header import ImageHeader, read_header
from tests.fuzz.header_recipes import build
from tests.fuzz.png import seeds as png_seeds
from tests.fuzz.recipes import recipe_in, recipes
from tests.support.images import PNG_SIGNATURE, encode, flat, png_chunk

MAX_BYTES = 4_096
WORDS = (
    b"\x89PNG\r\n\x1a\n",
    b"eXIf",
    b"iTXt",
    b"zTXt",
    b"cICP",
    b"Exif\0\0",
    b"RIFF",
    b"WEBPVP8X",
    b"ANIM",
    b"\xff\xc0",
    b"\xff\xda",
)
_EXIF = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"


def read(data: bytes | bytearray) -> ImageHeader | str:
    """The header, or the code of its error. Adapts the target to `gate`."""
    try:
        return read_header(data)
    except ImageError as error:
        return error.code


def check(data: bytes) -> None:
    """Raise AssertionError, or another exception, if the invariant is broken."""
    if draw := recipe_in(data):
        data, known = build(draw)
        found = read(data)
        assert found == known or (known is None and isinstance(found, str)), f"{found} instead of {known}"
    found = read(data)
    assert found == read(bytearray(data)), "bytes and bytearray are read differently"
    if isinstance(found, ImageHeader):
        assert found.width > 0, found
        assert found.height > 0, found
        assert 1 <= found.orientation <= 8, found


def seeds() -> Iterator[bytes]:
    """Small files of each format with all kinds of header content, and damaged ones."""
    pixels = flat(200, 8)
    yield from (encode(pixels, kind) for kind in ("JPEG", "WEBP"))
    yield encode(pixels, "WEBP", lossless=True)
    yield encode(pixels, "JPEG", progressive=True, exif=b"Exif\0\0" + _EXIF)
    yield encode(pixels, "WEBP", exif=b"Exif\0\0" + _EXIF)
    yield from (data for data in png_seeds() if data.startswith(PNG_SIGNATURE))
    png = encode(pixels)
    yield png[:33] + png_chunk(b"eXIf", _EXIF) + png[33:]
    yield png[:33] + png_chunk(b"tEXt", b'XML:com.adobe.xmp\0tiff:Orientation="6"') + png[33:]
    yield png[:33] + png_chunk(b"cICP", bytes([9, 16, 0, 1])) + png[33:]
    yield b"\xff\xd8" + b"\xff" * 4_000
    yield b"\xff\xd8\xff\xc0\0\x0b\x08\0\x08\0\x08\1\1\x11\0" + b"\xff\xda" * 900
    yield from (b"GIF89a", b"BM", b"\0\0\0\x18ftypavif", b"RIFF\0\0\0\0WEBPVP8X", b"")
    yield from recipes(200)
