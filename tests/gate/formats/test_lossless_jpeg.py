"""Lossless JPEGs, which libjpeg-turbo before 3.1.4 cannot shrink: it overran the buffer for the smaller picture."""

import struct
import subprocess
import sys

import pytest

from gate import read_pixels
from gate.errors import UnsupportedImage

# A predictor of 1 over samples that never change: every difference is 0, so that one-bit codes of 0 hold the picture.
EDGE = 1024
READ = """
import sys
from gate.pixels import read_pixels
print(read_pixels(sys.stdin.buffer.read(), 64).max())
"""


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def lossless_jpeg(edge: int, *, factors: int = 0x11) -> bytes:
    """Encode one grey value as lossless Huffman (SOF3) JPEG of `edge` x `edge` pixels in RGB.

    `factors` are the sampling factors of the first component.
    """
    parts = b"".join(bytes((number, factors if number == 1 else 0x11, 0)) for number in (1, 2, 3))
    frame = struct.pack(">BHHB", 8, edge, edge, 3) + parts
    # One code of one bit, which stands for a difference of no bits.
    table = bytes((0x00, 1)) + bytes(15) + bytes((0,))
    scan = bytes((3, 1, 0, 2, 0, 3, 0, 1, 0, 0))
    header = segment(0xC3, frame) + segment(0xC4, table) + segment(0xDA, scan)
    # Adobe's segment, transform 0: the components are RGB and not YCbCr.
    adobe = segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0))
    return b"\xff\xd8" + adobe + header + bytes(edge * edge * 3 // 8) + b"\xff\xd9"


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


@pytest.mark.parametrize("damage", ["cut", "zeros before a restart marker"])
def test_no_second_attempt_shrinks_a_damaged_one(damage: str) -> None:
    """Decoders' second opinions ask for small pictures."""
    whole = lossless_jpeg(EDGE)
    damaged = whole[: len(whole) // 2] if damage == "cut" else whole[:5000] + b"\0" * 6 + b"\xff\xd1" + whole[5000:]
    ran = subprocess.run([sys.executable, "-c", READ], input=damaged, capture_output=True, timeout=600, check=False)
    assert ran.returncode == 1, ran.stderr.decode()
    assert b"CorruptImage" in ran.stderr
