import base64
import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from gate import read_pixels
from gate.errors import UnsupportedImage
from tests.support.images import encode, portrait

EDGE = 64
FACE = portrait(EDGE)
PNG, JPEG, WEBP = (encode(FACE, kind) for kind in ("PNG", "JPEG", "WEBP"))
LARGE_WEBP = b"RIFF\xfe\x80\x01\x00WEBPVP8L" + bytes(400)
FORM = (
    b'--x1\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n" + PNG + b"\r\n--x1--\r\n"
)


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", PNG)
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, FACE)
    return buffer.getvalue()


def box(*brands: bytes) -> bytes:
    """An ISO media file with its main brand and the compatible ones."""
    main, *others = brands
    return struct.pack(">I", 16 + 4 * len(others)) + b"ftyp" + main + bytes(4) + b"".join(others) + bytes(400)


WRAPPED = {
    "form": (FORM, "multipart form", "raw body"),
    "base64 png": (base64.b64encode(PNG), "base64", "decode it"),
    "base64 jpeg": (base64.b64encode(JPEG), "base64", "decode it"),
    "base64 webp": (base64.urlsafe_b64encode(WEBP), "base64", "decode it"),
    "base64 after blanks": (b"\r\n  " + base64.b64encode(PNG), "base64", "decode it"),
    "base64 gif": (base64.b64encode(encode(FACE, "GIF")), "base64", "decode it"),
    "base64 avif": (base64.b64encode(box(b"avif")), "base64", "decode it"),
    "base64 of bytes printed": (repr(base64.b64encode(PNG)).encode(), "base64", "decode it"),
    "base64 in quotes": (b"'" + base64.b64encode(JPEG) + b"'", "base64", "decode it"),
    "base64 in CSS": (b"url(data:image/png;base64," + base64.b64encode(PNG) + b")", "base64", "decode it"),
    "data URI without a type": (b"data:;base64," + base64.b64encode(PNG), "base64", "decode it"),
    "data URI": (b"data:image/png;base64," + base64.b64encode(PNG), "data URI", "after its comma"),
    "hexadecimal": (PNG.hex().encode(), "hexadecimal", "decode it"),
    "hexadecimal with spaces": (JPEG.hex(" ").encode(), "hexadecimal", "decode it"),
    "bytes literal": (repr(PNG).encode(), "Python bytes", "bytes themselves"),
    "bytes object": (b"<_io.BytesIO object at 0x7f0123456789>", "Python object", "PNG, JPEG or WebP"),
    "image object": (b"<PIL.Image.Image image mode=RGB size=9x9 at 0x7F01>", "Python object", "PNG, JPEG or WebP"),
    "JSON": (json.dumps({"image": base64.b64encode(PNG).decode()}).encode(), "JSON", "raw body"),
    "JSON list": (json.dumps(list(PNG)).encode(), "JSON", "raw body"),
    "URL-encoded form": (b"image=data%3Aimage%2Fpng%3Bbase64%2CiVBORw0KGgo", "URL-encoded", "raw body"),
    "URL": (b"https://example.org/a.png", "a URL", "not fetched"),
    "object URL": (b"s3://bucket/a.webp\n", "a URL", "not fetched"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "LFS pointer", "git lfs pull"),
    "path": (b"faces/one.jpg\n", "name of a file", "--data-binary"),
    "curl's at sign": (b"@faces/one.png", "name of a file", "--data-binary"),
    "HTML": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML", "PNG, JPEG or WebP"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML", "PNG, JPEG or WebP"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG", "render"),
    "plain text": (b"this is a face, honestly", "text", "PNG, JPEG or WebP"),
    "gzip": (gzip.compress(PNG), "gzip", "decompress"),
    "deflate": (zlib.compress(PNG), "deflate", "decompress"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(40), "zstd", "decompress"),
    "bzip2": (bz2.compress(PNG), "bzip2", "decompress"),
    "xz": (lzma.compress(PNG), "xz", "decompress"),
    "tar": (tar(), "tar archive", "whole body of POST /v1/decisions/batch"),
    "zip": (zipped(), "zip archive", "inside"),
    "GIF": (encode(FACE, "GIF"), "GIF", "convert"),
    "BMP": (encode(FACE, "BMP"), "BMP", "convert"),
    "BMP with reserved bytes": (b"BM" + bytes(4) + b"\x01\x00\x02\x00" + encode(FACE, "BMP")[10:], "BMP", "convert"),
    "TGA": (encode(FACE, "TGA"), "TGA", "convert"),
    "TIFF": (encode(FACE, "TIFF"), "TIFF", "convert"),
    "JPEG 2000": (encode(FACE, "JPEG2000"), "JPEG 2000", "convert"),
    "ICO": (encode(FACE, "ICO"), "icon", "convert"),
    "PPM": (encode(FACE, "PPM"), "PNM", "convert"),
    "PDF": (encode(FACE, "PDF"), "PDF", "render"),
    "PostScript": (encode(FACE, "EPS"), "PostScript", "render"),
    "HEIC": (box(b"heic"), "HEIC", "convert"),
    "HEIC of several images": (box(b"heis", b"mif1"), "HEIC", "convert"),
    "HEIC by a compatible brand": (box(b"mif1", b"mif1", b"heic"), "HEIC", "convert"),
    "HEIF": (box(b"mif1", b"miaf"), "HEIF", "convert"),
    "AVIF": (box(b"avif"), "AVIF", "convert"),
    "AVIF by a compatible brand": (box(b"mif1", b"mif1", b"avif", b"miaf"), "AVIF", "convert"),
    "AVIF that is MIAF": (box(b"miaf", b"mif1", b"avif"), "AVIF", "convert"),
    "camera's raw file": (box(b"crx ", b"isom"), "raw file", "convert"),
    "MP4": (box(b"isom", b"iso2", b"avc1", b"mp41"), "MP4", "convert"),
    "QuickTime without a type": (b"\x00\x00\x01\x00mdat" + bytes(400), "MP4", "convert"),
    "GIMP": (b"gimp xcf v011\x00" + bytes(40), "GIMP", "convert"),
    "AppleDouble": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(40), "AppleDouble", "file itself"),
    "JPEG XL": (b"\xff\x0a" + bytes(40), "JPEG XL", "convert"),
    "JPEG XL in a box": (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL", "convert"),
    "NumPy": (array(), "NumPy array", "tensor"),
    "pickle": (b"\x80\x04\x95" + bytes(40), "pickle", "PNG, JPEG or WebP"),
    "WAV": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "RIFF", "PNG, JPEG or WebP"),
    "decoded as text": (PNG.decode("utf-8", "replace").encode(), "decoded as text", "binary mode"),
    "decoded as latin-1": (PNG.decode("latin-1").encode(), "decoded as text", "binary mode"),
    "WebP decoded as latin-1": (LARGE_WEBP.decode("latin-1").encode(), "decoded as text", "binary mode"),
    "WebP decoded as text": (LARGE_WEBP.decode("utf-8", "replace").encode(), "decoded as text", "binary mode"),
    **{
        f"{name} through PowerShell 7 with {page}": (data.decode(page).encode(), "decoded as text", "binary mode")
        for name, data in (("PNG", PNG), ("JPEG", JPEG))
        for page in ("cp437", "cp850", "latin-1")
    },
    **{
        f"{name} through PowerShell 5": (b"\xff\xfe" + data.decode("cp437").encode("utf-16-le"), "UTF-16", "--output")
        for name, data in (("PNG", PNG), ("JPEG", JPEG), ("WebP", WEBP), ("base64", base64.b64encode(PNG)))
    },
    "pixels that begin almost white": (b"\xff\xfe" * (EDGE**2 * 3 // 2), f"levels of {EDGE} x {EDGE} pixels", "tensor"),
    "line ends changed": (PNG.replace(b"\r\n", b"\n"), "altered as text", "binary mode"),
    "blank before it": (b"\n" + PNG, "begins at byte 1", "file alone"),
    "byte order mark before it": (b"\xef\xbb\xbf" + JPEG, "begins at byte 3", "file alone"),
    "length before it": (struct.pack("<I", len(JPEG)) + JPEG, "begins at byte 4", "file alone"),
    "headers before it": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + WEBP, "begins at byte 38", "file alone"),
    "chunk size before it": (b"%x\r\n" % len(PNG) + PNG + b"\r\n0\r\n\r\n", "begins at byte 6", "file alone"),
    "pixels": (np.asarray(FACE).tobytes(), f"levels of {EDGE} x {EDGE} pixels", "tensor"),
    "RGBA pixels that are printable": (b"0123" * EDGE**2, f"levels of {EDGE} x {EDGE} pixels", "tensor"),
    "noise": (b"\x01\x02\x03\x04" * 40, "not a PNG", "PNG, JPEG or WebP"),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_type_of_other_data_is_named(name: str) -> None:
    data, kind, advice = WRAPPED[name]
    with pytest.raises(UnsupportedImage) as raised:
        read_pixels(data, 64)
    assert kind in str(raised.value)
    assert advice in str(raised.value)


@pytest.mark.parametrize("start", [b"", b"<", b"[", b"data:", b" ", b"a=", b"<?xml", b"<!--", b"http://", b"--"])
@pytest.mark.parametrize("filling", [b" ", b"<", b"-", b"a", b"\xff", b"\x00", b"<!--", b"%"])
def test_the_name_depends_on_the_first_bytes_and_the_length_only(start: bytes, filling: bytes) -> None:
    short, long = start + filling * 700, start + filling * 4_000_003
    texts = []
    for data in (short, long):
        with pytest.raises(UnsupportedImage) as raised:
            read_pixels(data, 64)
        texts.append(str(raised.value))
    assert texts[0] == texts[1]


def test_images_are_not_taken_for_something_else() -> None:
    for data in (PNG, JPEG, WEBP):
        assert np.abs(read_pixels(data, 64).astype(int) - np.asarray(Image.open(io.BytesIO(data)))).mean() < 3
