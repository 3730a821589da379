"""Describe bytes that are not PNG, JPEG or WebP, and advise the sender.

Only the first 600 bytes and the length are looked at, so the time does not depend on the length of the data.
"""

import math
import re
from dataclasses import dataclass

from gate.types import ImageBytes

_LOOKED_AT = 600
_WANTED = "send the bytes of a PNG, JPEG or WebP file"
_CONVERT = "convert it to PNG, JPEG or WebP"
_DECODE = "decode it and send the bytes of the file"
_ENCODE = "encode the pixels as PNG, or send them as a tensor (POST /v2/models/NAME/infer)"
_ONE_FILE = "send the image file inside it"

_ISO_BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"hevc": "a HEIC image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
}


@dataclass(frozen=True, slots=True)
class _FileType:
    """A pattern that matches at the first byte, the name of such data, and advice to its sender."""

    pattern: re.Pattern[bytes]
    name: str
    advice: str


def _type(pattern: bytes, name: str, advice: str, *, flags: int = re.DOTALL) -> _FileType:
    return _FileType(re.compile(pattern, flags), name, advice)


_TEXT = re.DOTALL | re.IGNORECASE
_BASE64_IMAGE = rb"(?:iVBORw0KGgo|/9j/|_9j_|UklGR)"

_FOREIGN = (
    _type(rb"--[^\r\n]{1,200}\r?\ncontent-", "a multipart form", "send the file alone as the raw body", flags=_TEXT),
    _type(rb"data:[a-z]+/", "a data URI", "decode the base64 after its comma and send the bytes", flags=_TEXT),
    _type(_BASE64_IMAGE, "base64 text of an image", _DECODE),
    _type(rb"(?:0x|\\x)?(?:89\W{0,3}x?50\W{0,3}x?4e|ff\W{0,3}x?d8\W{0,3}x?ff|52494646)", "hexadecimal text", _DECODE,
          flags=_TEXT),
    _type(rb"b['\"]\\x", "the printed form of a Python bytes object", "send the bytes themselves"),
    _type(rb"[\[{\"]", "JSON", "send the file as the raw body, not base64 or numbers inside JSON"),
    _type(rb"[\w.%-]{1,100}=(?:%89PNG|%FF%D8|data%3A|" + _BASE64_IMAGE + rb")", "a URL-encoded form",
          "send the file alone as the raw body", flags=_TEXT),
    _type(rb"version https://git-lfs", "a Git LFS pointer", "fetch its file with `git lfs pull`"),
    _type(rb"[a-z][a-z0-9+.-]{1,15}://", "a URL", "it is not fetched: send the bytes of its file", flags=_TEXT),
    _type(rb"@?[^\x00-\x1f<>]{1,500}\.(?:png|jpe?g|webp)\s*\Z", "the name of a file",
          "send its content (curl: --data-binary @FILE)", flags=_TEXT),
    _type(rb"(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,300}?-->\s*)?(?:<!doctype svg[^>]{0,200}>\s*)?<svg", "an SVG drawing",
          "render it to PNG", flags=_TEXT),
    _type(rb"<(?:!doctype html|html|head|body)", "an HTML page", f"{_WANTED}, not of a page about it", flags=_TEXT),
    _type(rb"<", "XML or HTML", _WANTED),
    _type(rb"\xef\xbf\xbdPNG|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xc2\x89PNG|\xc3\xbf\xc3\x98\xc3\xbf",
          "an image that was decoded as text", "open the file in binary mode"),
    _type(rb"\x89PNG|PNG\r?\n", "a PNG that was altered as text", "open and transfer the file in binary mode"),
    _type(rb"\x1f\x8b", "gzip data", "decompress it"),
    _type(rb"\x28\xb5\x2f\xfd", "zstd data", "decompress it"),
    _type(rb"BZh[1-9]1AY", "bzip2 data", "decompress it"),
    _type(rb"\xfd7zXZ\x00", "xz data", "decompress it"),
    _type(rb"\x78[\x01\x5e\x9c\xda]", "zlib (deflate) data", "decompress it"),
    _type(rb"PK(?:\x03\x04|\x05\x06)", "a zip archive (or .npz)", _ONE_FILE),
    _type(rb".{257}ustar", "a tar archive", "send it to the batch route, or one file of it"),
    _type(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "an archive", _ONE_FILE),
    _type(rb"GIF8[79]a", "a GIF image", _CONVERT),
    _type(rb"BM.{4}\x00\x00\x00\x00", "a BMP image", _CONVERT),
    _type(rb"II\*\x00|MM\x00\*|II\x2b\x00|MM\x00\x2b", "a TIFF image", _CONVERT),
    _type(rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image", _CONVERT),
    _type(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image", _CONVERT),
    _type(rb"P[1-7]\s", "a PNM image", _CONVERT),
    _type(rb"qoif", "a QOI image", _CONVERT),
    _type(rb"8BPS", "a Photoshop file", _CONVERT),
    _type(rb"\x00\x00[\x01\x02]\x00", "an icon file", _CONVERT),
    _type(rb"v/1\x01", "an OpenEXR image", _CONVERT),
    _type(rb"%PDF-", "a PDF document", "render its page to PNG"),
    _type(rb"\x93NUMPY", "a NumPy array", _ENCODE),
    _type(rb"\x80[\x02-\x05].", "a Python pickle", _WANTED),
    _type(rb"RIFF.{4}", "a RIFF file that is not WebP", _WANTED),
    _type(rb"\xff\xd8", "the start of a JPEG without the rest of one", _WANTED),
)  # fmt: skip
_PLAIN_TEXT = _type(rb"[\x09\x0a\x0d\x20-\x7e]{8,}\Z", "text", _WANTED)
_CHANNELS = (3, 4)
_EDGES = range(32, 4097)

_BLANK = b"\xef\xbb\xbf\r\n\t "
_SUPPORTED = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


def describe_foreign(data: ImageBytes) -> str:
    """Return the text of an error: the likely type of the data, by its first bytes, and what to send instead."""
    start = bytes(data[:_LOOKED_AT])
    stripped = start.lstrip(_BLANK)
    if stripped != start and stripped.startswith(_SUPPORTED):
        return f"the bytes are an image with blanks or a byte order mark before it: {_WANTED} alone"
    if start[4:8] == b"ftyp":
        return _text(_ISO_BRANDS.get(start[8:12], "a video or another file of the MP4 family"), _CONVERT)
    for candidate in (stripped, start):
        for signature in _FOREIGN:
            if signature.pattern.match(candidate):
                return _text(signature.name, signature.advice)
    if (edge := _edge_of_pixels(len(data))) is not None:
        return _text(f"probably the levels of {edge} x {edge} pixels", _ENCODE)
    if _PLAIN_TEXT.pattern.match(stripped):
        return _text(_PLAIN_TEXT.name, _PLAIN_TEXT.advice)
    return f"the bytes are not a PNG, JPEG or WebP file: {_WANTED}"


def _edge_of_pixels(length: int) -> int | None:
    """Return the edge of a square image with so many levels, of 3 or 4 channels; None if there is none."""
    for channels in _CHANNELS:
        edge = math.isqrt(length // channels)
        if edge in _EDGES and channels * edge * edge == length:
            return edge
    return None


def _text(name: str, advice: str) -> str:
    return f"the bytes are {name}, not a PNG, JPEG or WebP file: {advice}"
