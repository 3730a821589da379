"""Lossless JPEGs, which libjpeg-turbo before 3.1.4 cannot shrink: it overran the buffer for the smaller picture."""

import subprocess
import sys

import numpy as np
import pytest

from gate import read_pixels
from gate.errors import UnsupportedImage
from tests.support.jpegs import lossless_jpeg

EDGE = 1024
READ = """
import sys
from gate.pixels import read_pixels
print(read_pixels(sys.stdin.buffer.read(), 64).max())
"""


def test_a_lossless_jpeg_is_read_without_harm() -> None:
    """In a process of its own, which a decoder that overruns its buffer ends with a signal."""
    ran = subprocess.run(
        [sys.executable, "-c", READ], input=lossless_jpeg(EDGE), capture_output=True, timeout=600, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.split() == [b"128"], "the first sample is predicted as half of the range"


@pytest.mark.parametrize("factors", [0x21, 0x22, 0x41, 0x13])
def test_a_lossless_jpeg_with_subsampled_colours_is_refused(factors: int) -> None:
    with pytest.raises(UnsupportedImage, match="save it as PNG"):
        read_pixels(lossless_jpeg(EDGE, factors=factors), 64)


@pytest.mark.parametrize(("components", "level"), [(1, 128), (3, 128), (4, 64)], ids=["grey", "RGB", "CMYK"])
def test_a_lossless_jpeg_is_read_without_a_change_of_colours(components: int, level: int) -> None:
    found = read_pixels(lossless_jpeg(64, components=components), 32)
    assert found.shape == (32, 32, 3)
    np.testing.assert_allclose(found, level, atol=1)


@pytest.mark.parametrize(("components", "transform", "stored"), [(3, 1, "YCbCr"), (4, 2, "YCCK")])
def test_a_lossless_jpeg_of_converted_colours_is_named(components: int, transform: int, stored: str) -> None:
    """libjpeg does not convert lossless samples."""
    with pytest.raises(UnsupportedImage, match=f"marked as {stored}: save it as PNG"):
        read_pixels(lossless_jpeg(64, components=components, transform=transform), 32)


@pytest.mark.parametrize("damage", ["cut", "zeros before a restart marker"])
def test_no_second_attempt_shrinks_a_damaged_one(damage: str) -> None:
    """Decoders' second opinions ask for small pictures."""
    whole = lossless_jpeg(EDGE)
    damaged = whole[: len(whole) // 2] if damage == "cut" else whole[:5000] + b"\0" * 6 + b"\xff\xd1" + whole[5000:]
    ran = subprocess.run([sys.executable, "-c", READ], input=damaged, capture_output=True, timeout=600, check=False)
    assert ran.returncode == 1, ran.stderr.decode()
    assert b"CorruptImage" in ran.stderr
