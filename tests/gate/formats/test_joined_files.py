"""What is joined to a file is not lost in silence."""

import io

import pytest
from PIL import Image

from gate import read_pixels
from gate.errors import UnsupportedImage


def encoded(kind: str, **options: bool) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, kind, **options)
    return file.getvalue()


FILES = {
    "png": encoded("png"),
    "jpeg": encoded("jpeg"),
    "progressive jpeg": encoded("jpeg", progressive=True),
    "webp": encoded("webp"),
    "lossless webp": encoded("webp", lossless=True),
}


@pytest.mark.parametrize("first", FILES)
@pytest.mark.parametrize("second", FILES)
def test_files_that_curl_joins_are_an_error(first: str, second: str) -> None:
    with pytest.raises(UnsupportedImage, match="another image file follows the first: send one file alone, or several"):
        read_pixels(FILES[first] + b"&" + FILES[second], 16)


@pytest.mark.parametrize("first", ["png", "webp", "lossless webp"])
@pytest.mark.parametrize("second", FILES)
def test_files_that_are_joined_directly_are_an_error(first: str, second: str) -> None:
    with pytest.raises(UnsupportedImage, match="another image"):
        read_pixels(FILES[first] + FILES[second], 16)


@pytest.mark.parametrize("file", FILES)
def test_an_order_that_curl_joins_is_an_error(file: str) -> None:
    with pytest.raises(UnsupportedImage, match=r"the form field 'expected' follows the image: .* orders in the query"):
        read_pixels(FILES[file] + b"&expected=glasses", 16)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("rest", [b"", b"&", b"\n", b"a=b&c=d", b"\0" * 100, b"SEFH" + FILES["jpeg"]])
def test_other_bytes_behind_a_file_are_ignored(file: str, rest: bytes) -> None:
    assert read_pixels(FILES[file] + rest, 16).shape == (16, 16, 3)


def test_an_image_that_a_camera_appends_is_ignored() -> None:
    assert read_pixels(FILES["jpeg"] * 2, 16).shape == (16, 16, 3)
