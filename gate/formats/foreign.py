"""Say what bytes look like that are neither PNG, JPEG nor WebP, and what to send instead.

Only the first bytes are looked at: the time does not depend on the length of the data.
"""

import re
from dataclasses import dataclass

from gate.types import ImageBytes

_LOOKED_AT = 600
_WANTED = "send the bytes of a PNG, JPEG or WebP file"
_CONVERT = "convert it to PNG, JPEG or WebP"
_DECODE = "decode it and send the bytes of the file"
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
class _Kind:
    """A pattern that matches at the first byte, what such data is, and what the sender should do."""

    pattern: re.Pattern[bytes]
    name: str
    advice: str


def _kind(pattern: bytes, name: str, advice: str, *, flags: int = re.DOTALL) -> _Kind:
    return _Kind(re.compile(pattern, flags), name, advice)


_TEXT = re.DOTALL | re.IGNORECASE
_BASE64_IMAGE = rb"(?:iVBORw0KGgo|/9j/|_9j_|UklGR)"

_KINDS = (
    _kind(rb"--[^\r\n]{1,200}\r?\ncontent-", "a multipart form", "send the file alone as the raw body", flags=_TEXT),
    _kind(rb"data:[a-z]+/", "a data URI", "decode the base64 after its comma and send the bytes", flags=_TEXT),
    _kind(_BASE64_IMAGE, "base64 text of an image", _DECODE),
    _kind(rb"(?:0x|\\x)?(?:89\W{0,3}x?50\W{0,3}x?4e|ff\W{0,3}x?d8\W{0,3}x?ff|52494646)", "hexadecimal text", _DECODE,
          flags=_TEXT),
    _kind(rb"b['\"]\\x", "the printed form of a Python bytes object", "send the bytes themselves"),
    _kind(rb"[\[{\"]", "JSON", "send the file as the raw body, not base64 or numbers inside JSON"),
    _kind(rb"[\w.%-]{1,100}=(?:%89PNG|%FF%D8|data%3A|" + _BASE64_IMAGE + rb")", "a URL-encoded form",
          "send the file alone as the raw body", flags=_TEXT),
    _kind(rb"[a-z][a-z0-9+.-]{1,15}://", "a URL", "it is not fetched: send the bytes of its file", flags=_TEXT),
    _kind(rb"@?[^\x00-\x1f<>]{1,500}\.(?:png|jpe?g|webp)\s*\Z", "the name of a file",
          "send its content (curl: --data-binary @FILE)", flags=_TEXT),
    _kind(rb"(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,300}?-->\s*)?(?:<!doctype svg[^>]{0,200}>\s*)?<svg", "an SVG drawing",
          "render it to PNG", flags=_TEXT),
    _kind(rb"<(?:!doctype html|html|head|body)", "an HTML page", f"{_WANTED}, not of a page about it", flags=_TEXT),
    _kind(rb"<", "XML or HTML", _WANTED),
    _kind(rb"\xef\xbf\xbdPNG|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xc2\x89PNG|\xc3\xbf\xc3\x98\xc3\xbf",
          "an image that was decoded as text", "open the file in binary mode"),
    _kind(rb"\x89PNG|PNG\r?\n", "a PNG that was altered as text", "open and transfer the file in binary mode"),
    _kind(rb"\x1f\x8b", "gzip data", "decompress it"),
    _kind(rb"\x28\xb5\x2f\xfd", "zstd data", "decompress it"),
    _kind(rb"BZh[1-9]1AY", "bzip2 data", "decompress it"),
    _kind(rb"\xfd7zXZ\x00", "xz data", "decompress it"),
    _kind(rb"\x78[\x01\x5e\x9c\xda]", "zlib (deflate) data", "decompress it"),
    _kind(rb"PK(?:\x03\x04|\x05\x06)", "a zip archive (or .npz)", _ONE_FILE),
    _kind(rb".{257}ustar", "a tar archive", "send it to the batch route, or one file of it"),
    _kind(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "an archive", _ONE_FILE),
    _kind(rb"GIF8[79]a", "a GIF image", _CONVERT),
    _kind(rb"BM.{4}\x00\x00\x00\x00", "a BMP image", _CONVERT),
    _kind(rb"II\*\x00|MM\x00\*|II\x2b\x00|MM\x00\x2b", "a TIFF image", _CONVERT),
    _kind(rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image", _CONVERT),
    _kind(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image", _CONVERT),
    _kind(rb"P[1-7]\s", "a PNM image", _CONVERT),
    _kind(rb"qoif", "a QOI image", _CONVERT),
    _kind(rb"8BPS", "a Photoshop file", _CONVERT),
    _kind(rb"\x00\x00[\x01\x02]\x00", "an icon file", _CONVERT),
    _kind(rb"v/1\x01", "an OpenEXR image", _CONVERT),
    _kind(rb"%PDF-", "a PDF document", "render its page to PNG"),
    _kind(rb"\x93NUMPY", "a NumPy array", "encode it as PNG, or send it as a tensor (POST /v2/models/NAME/infer)"),
    _kind(rb"\x80[\x02-\x05].", "a Python pickle", _WANTED),
    _kind(rb"RIFF.{4}", "a RIFF file that is not WebP", _WANTED),
    _kind(rb"\xff\xd8", "the start of a JPEG and nothing after it that belongs to one", _WANTED),
    _kind(rb"[\x09\x0a\x0d\x20-\x7e]{8,}\Z", "text", _WANTED),
)  # fmt: skip

_BLANK = b"\xef\xbb\xbf\r\n\t "
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


def describe_foreign(data: ImageBytes) -> str:
    """Return the text of an error: what the data looks like, by its first bytes, and what to send instead."""
    start = bytes(data[:_LOOKED_AT])
    stripped = start.lstrip(_BLANK)
    if stripped != start and stripped.startswith(_SIGNATURES):
        return f"the bytes are an image with blanks or a byte order mark before it: {_WANTED} and nothing else"
    if start[4:8] == b"ftyp":
        return _text(_ISO_BRANDS.get(start[8:12], "a video or another file of the MP4 family"), _CONVERT)
    for candidate in (stripped, start):
        for kind in _KINDS:
            if kind.pattern.match(candidate):
                return _text(kind.name, kind.advice)
    return f"the bytes are not a PNG, JPEG or WebP file: {_WANTED}"


def _text(name: str, advice: str) -> str:
    return f"the bytes are {name}, not a PNG, JPEG or WebP file: {advice}"
