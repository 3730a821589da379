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

_VIDEO = "a video or another file of the MP4 family"
_ISO_BRANDS = {
    "an AVIF image": {b"avif", b"avis", b"avio"},
    "a HEIC image": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"},
    "a HEIF image": {b"mif1", b"mif2", b"msf1", b"miaf"},
    "a camera's raw file": {b"crx "},
}
"""Name of an ISO media file -> brands, of which its first box lists at least one; the first name applies."""


@dataclass(frozen=True, slots=True)
class _FileType:
    """A pattern that matches at the first byte, the name of such data, and advice to its sender."""

    pattern: re.Pattern[bytes]
    name: str
    advice: str


def _type(pattern: bytes, name: str, advice: str, *, flags: int = re.DOTALL) -> _FileType:
    return _FileType(re.compile(pattern, flags), name, advice)


_TEXT = re.DOTALL | re.IGNORECASE
_BASE64_IMAGE = rb"(?:iVBORw0KGgo|/9j/|_9j_|UklGR|R0lGOD|SUkqA|AAAA.GZ0eX)"

_FOREIGN = (
    _type(rb"--[^\r\n]{1,200}\r?\ncontent-", "a multipart form", "send the file alone as the raw body", flags=_TEXT),
    _type(rb"data:[a-z]+/", "a data URI", "decode the base64 after its comma and send the bytes", flags=_TEXT),
    _type(rb"(?:0x|\\x)?(?:89\W{0,3}x?50\W{0,3}x?4e|ff\W{0,3}x?d8\W{0,3}x?ff|52494646)", "hexadecimal text", _DECODE,
          flags=_TEXT),
    _type(rb"b['\"]\\x", "the printed form of a Python bytes object", "send the bytes themselves"),
    _type(rb"<[\w.]+ [^>]{1,200} at 0x", "the printed form of a Python object", _WANTED),
    _type(rb"[\[{\"]", "JSON", "send the file as the raw body, not base64 or numbers inside JSON"),
    _type(rb"[\w.%-]{1,100}=(?:%89PNG|%FF%D8|data%3A|" + _BASE64_IMAGE + rb")", "a URL-encoded form",
          "send the file alone as the raw body", flags=_TEXT),
    _type(rb"version https://git-lfs", "a Git LFS pointer", "fetch its file with `git lfs pull`"),
    _type(rb"[a-z][a-z0-9+.-]{1,15}://", "a URL", "it is not fetched: send the bytes of its file", flags=_TEXT),
    _type(rb"@?[^\x00-\x1f<>]{1,500}\.(?:png|jpe?g|webp)\s*\Z", "the name of a file",
          "send its content (curl: --data-binary @FILE)", flags=_TEXT),
    _type(rb"(?:[ -~]{0,80}[^\w+/-])?" + _BASE64_IMAGE, "base64 text of an image", _DECODE),
    _type(rb"(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,300}?-->\s*)?(?:<!doctype svg[^>]{0,200}>\s*)?<svg", "an SVG drawing",
          "render it to PNG", flags=_TEXT),
    _type(rb"<(?:!doctype html|html|head|body)", "an HTML page", f"{_WANTED}, not of a page about it", flags=_TEXT),
    _type(rb"<", "XML or HTML", _WANTED),
    _type(rb"[\xc2-\xef][\x80-\xbf]{1,2}PNG|(?:\xef\xbf\xbd){3}|\xc3\xbf\xc3\x98\xc3\xbf|"
          rb"\xc2\xa0(?:\xe2\x95\xaa|\xc3\x8f)\xc2\xa0|RIFF.{5,12}WEBP",
          "an image that was decoded as text", "open the file in binary mode"),
    _type(rb"\xff\xfe(?:..){0,8}(?:[ -~]\x00){3}", "UTF-16 text, as `>` of Windows PowerShell writes",
          "write the file in binary mode (curl: --output FILE)"),
    _type(rb"\x89PNG(?!\r\n\x1a\n)|PNG\r?\n", "a PNG that was altered as text",
          "open and transfer the file in binary mode"),
    _type(rb"\x1f\x8b", "gzip data", "decompress it"),
    _type(rb"\x28\xb5\x2f\xfd", "zstd data", "decompress it"),
    _type(rb"BZh[1-9]1AY", "bzip2 data", "decompress it"),
    _type(rb"\xfd7zXZ\x00", "xz data", "decompress it"),
    _type(rb"\x78[\x01\x5e\x9c\xda]", "zlib (deflate) data", "decompress it"),
    _type(rb"PK(?:\x03\x04|\x05\x06)", "a zip archive (or .npz)", _ONE_FILE),
    _type(rb".{257}ustar", "a tar archive",
          "send it as the whole body of POST /v1/decisions/batch (application/x-tar), or one file of it"),
    _type(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "an archive", _ONE_FILE),
    _type(rb"GIF8[79]a", "a GIF image", _CONVERT),
    _type(rb"BM.{12}[\x0c-\x7c]\x00\x00\x00", "a BMP image", _CONVERT),
    _type(rb"FUJIFILMCCD|II(?:RO|RS|U\x00|\x1a\x00)|MMOR|FOVb", "a camera's raw file", _CONVERT),
    _type(rb"II\*\x00|MM\x00\*|II\x2b\x00|MM\x00\x2b", "a TIFF image", _CONVERT),
    _type(rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image", _CONVERT),
    _type(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image", _CONVERT),
    _type(rb"P[1-7]\s", "a PNM image", _CONVERT),
    _type(rb"qoif", "a QOI image", _CONVERT),
    _type(rb"8BPS", "a Photoshop file", _CONVERT),
    _type(rb"gimp xcf", "a GIMP file", _CONVERT),
    _type(rb"II\xbc", "a JPEG XR image", _CONVERT),
    _type(rb"\x8aMNG|\x8bJNG", "an MNG or JNG image", _CONVERT),
    _type(rb"DDS ", "a DDS texture", _CONVERT),
    _type(rb".{128}DICM", "a DICOM file", _CONVERT),
    _type(rb"\x00\x05\x16\x07", "macOS attributes of a file (AppleDouble, `._NAME`)", "send the file itself"),
    _type(rb".{4}(?:moov|mdat|wide|free|skip)", _VIDEO, _CONVERT),
    _type(rb"\x00\x00[\x01\x02]\x00[^\x00]", "an icon file", _CONVERT),
    _type(rb"\x00{2}[\x02\x03\x0a\x0b]\x00{7}.{6}[\x08\x0f\x10\x18\x20]", "a TGA image", _CONVERT),
    _type(rb"v/1\x01", "an OpenEXR image", _CONVERT),
    _type(rb"%PDF-", "a PDF document", "render its page to PNG"),
    _type(rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file", "render its page to PNG"),
    _type(rb"\x93NUMPY", "a NumPy array", _ENCODE),
    _type(rb"\x80[\x02-\x05].", "a Python pickle", _WANTED),
    _type(rb"RIFF.{4}(?!WEBP)", "a RIFF file that is not WebP", _WANTED),
    _type(rb"\xff\xd8(?!\xff)", "the start of a JPEG without the rest of one", _WANTED),
)  # fmt: skip
_PLAIN_TEXT = _type(rb"[\x09\x0a\x0d\x20-\x7e]{8,}\Z", "text", _WANTED)
_CHANNELS = (3, 4)
_EDGES = range(32, 4097)

_BLANK = b"\xef\xbb\xbf\r\n\t "
_IMAGE = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xc0-\xfe]|RIFF.{4}WEBP", re.DOTALL)


def describe_foreign(data: ImageBytes) -> str:
    """Return the text of an error: the likely type of the data, by its first bytes, and what to send instead."""
    start = bytes(data[:_LOOKED_AT])
    if start[4:8] == b"ftyp":
        return _text(_iso_name(start), _CONVERT)
    for candidate in (start.lstrip(_BLANK), start):
        for signature in _FOREIGN:
            if signature.pattern.match(candidate):
                return _text(signature.name, signature.advice)
    if image := _IMAGE.search(start):
        return f"an image begins at byte {image.start()}, behind other data: send the bytes of its file alone"
    if (edge := _edge_of_pixels(len(data))) is not None:
        return _text(f"probably the levels of {edge} x {edge} pixels", _ENCODE)
    if _PLAIN_TEXT.pattern.match(start.lstrip(_BLANK)):
        return _text(_PLAIN_TEXT.name, _PLAIN_TEXT.advice)
    return f"the bytes are not a PNG, JPEG or WebP file: {_WANTED}"


def _iso_name(start: bytes) -> str:
    """Return the name of an ISO media file by its main brand and those that it is compatible with."""
    box = start[: int.from_bytes(start[:4])]
    brands = {box[8:12], *(box[at : at + 4] for at in range(16, len(box), 4))}
    return next((name for name, known in _ISO_BRANDS.items() if brands & known), _VIDEO)


def _edge_of_pixels(length: int) -> int | None:
    """Return the edge of a square image with so many levels, of 3 or 4 channels; None if there is none."""
    for channels in _CHANNELS:
        edge = math.isqrt(length // channels)
        if edge in _EDGES and channels * edge * edge == length:
            return edge
    return None


def _text(name: str, advice: str) -> str:
    return f"the bytes are {name}, not a PNG, JPEG or WebP file: {advice}"
