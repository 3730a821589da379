"""Read orientation and HDR transfer of a PNG, from chunks that the decoders never receive.

Orientation has the same sources as in Pillow's `ImageOps.exif_transpose`: eXIf, else a text chunk with a hexadecimal
EXIF block, as written before eXIf was standardised, else XMP. At most 1 MB of text is read, as in Pillow, and only from
the last chunk of each name.
"""

import zlib
from collections.abc import Callable

from gate.errors import UnsupportedImage
from gate.formats.exif import EXIF_PREFIX, with_xmp
from gate.formats.png.chunks import is_sound, png_chunks
from gate.types import ImageBytes

_RAW_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")
_XMP = b"XML:com.adobe.xmp"
_KEYWORDS = (*_RAW_PROFILES, _XMP)

_LONGEST_KEYWORD = 79
_MAX_TEXT = 2**20
_OVERHEAD = 2**17
"""Bytes by which the compression of so much text may enlarge it."""

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""HDR transfer functions of ITU-T H.273: their stored levels stand for other shades than in sRGB."""

_PQ_PROFILE = b"ITUR_2100_PQ_FULL\x00"
"""Name of an iCCP profile that announced PQ before cICP was standardised (W3C Note "Using the ITU BT.2100 PQ EOTF with
the PNG Format"). The profile itself does not."""


def read_exif(data: ImageBytes) -> ImageBytes:
    """Return an EXIF block with the orientation, without its prefix; empty if no chunk has one.

    Chunks with a wrong checksum are ignored.

    Raises:
        UnsupportedImage: the image is HDR, or another one or a form field follows it.
        CorruptImage: there are too many chunks.
    """
    view = memoryview(data)
    chunks: dict[bytes, memoryview] = {}
    for kind, start, end in png_chunks(data):
        name = _name(kind, data, start, end)
        if name and is_sound(view, start, end):
            chunks[name] = view[start - 4 : end]
    _check_transfer(chunks)
    return with_xmp(_exif(chunks), _text(chunks[_XMP]) if _XMP in chunks else b"")


def _name(kind: bytes, data: ImageBytes, start: int, end: int) -> bytes:
    """Return the name under which to keep a chunk; empty to ignore it."""
    if kind in (b"eXIf", b"cICP") or (kind == b"iCCP" and data.startswith(_PQ_PROFILE, start)):
        return kind
    if kind not in _READERS:
        return b""
    keyword, _, _ = bytes(data[start : min(end, start + _LONGEST_KEYWORD + 1)]).partition(b"\x00")
    return keyword if keyword in _KEYWORDS else b""


def _check_transfer(chunks: dict[bytes, memoryview]) -> None:
    chunk = chunks.get(b"cICP", b"")
    if len(chunk) == 8:  # Decoders ignore a profile beside it.
        source, transfer = "cICP", _HDR_TRANSFERS.get(chunk[5])
    else:
        source, transfer = "iCCP", "PQ" if b"iCCP" in chunks else None
    if transfer is not None:
        raise UnsupportedImage(f"the png is HDR ({source}, {transfer}): convert it to sRGB")


def _exif(chunks: dict[bytes, memoryview]) -> bytes:
    if b"eXIf" in chunks:
        return bytes(chunks[b"eXIf"][4:])
    for keyword in _RAW_PROFILES:
        if keyword in chunks:
            return _from_hexadecimal(_text(chunks[keyword]))
    return b""


def _from_hexadecimal(text: bytes) -> bytes:
    r"""Decode a raw profile: "\nexif\n    1234\n", then lines of hexadecimal digits."""
    digits = b"".join(text.split(b"\n")[3:])
    try:
        block = bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        return b""
    return block.removeprefix(EXIF_PREFIX)


def _text(chunk: memoryview) -> bytes:
    """Return the text of a chunk (name and body) without its keyword; empty if it is malformed."""
    body = bytes(chunk[4:])
    _, _, rest = body.partition(b"\x00")
    try:
        return _READERS[bytes(chunk[:4])](rest)
    except (ValueError, IndexError, zlib.error):
        return b""


def _international(rest: bytes) -> bytes:
    is_compressed, method = rest[0], rest[1]
    _, _, text = rest[2:].split(b"\x00", 2)
    return _inflated(method, text) if is_compressed else text[:_MAX_TEXT]


def _inflated(method: int, stream: bytes) -> bytes:
    # No encoder needs more bytes for so much text: the rest could be megabytes of blocks that hold none.
    return zlib.decompressobj().decompress(stream[: _MAX_TEXT + _OVERHEAD], _MAX_TEXT) if method == 0 else b""


_READERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"tEXt": lambda rest: rest[:_MAX_TEXT],
    b"zTXt": lambda rest: _inflated(rest[0], rest[1:]),
    b"iTXt": _international,
}
"""Chunk name -> function from the bytes after the keyword to the text."""
