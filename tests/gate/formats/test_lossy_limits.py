"""Cost of one JPEG or WebP, valid or broken: memory is bounded and released."""

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from gate import read_pixels
from gate.errors import CorruptImage, UnsupportedImage
from tests.gate.formats import test_jpeg, test_webp
from tests.gate.leaks import assert_nothing_leaks
from tests.support.images import Pixels, encode, portrait
from tests.support.jpegs import join, planes_of, sampled_jpeg, segments

SIZE = 32
EDGE = 4096
MAX_BYTES = 200 * 2**20

MEASURE = """
import sys
from pathlib import Path
from gate import read_pixels
from gate.errors import ImageError
with open(sys.argv[1], "rb") as file:
    data = file.read()
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
before = peak()
try:
    read_pixels(data, 64)
except ImageError as error:
    sys.exit(str(error))
print(peak() - before)
"""


def failures() -> dict[str, bytes]:
    """Damaged files of every kind and on every path, by name."""
    plain, progressive = test_jpeg.PLAIN, test_jpeg.PROGRESSIVE
    cmyk = encode(Image.fromarray(test_jpeg.FACE).convert("CMYK"), "JPEG")
    odd = sampled_jpeg(test_jpeg.PLANES, test_jpeg.ODD[0])
    padded = test_jpeg.RESTARTS.replace(b"\xff\xd1", bytes(9) + b"\xff\xd1")
    found = {
        "jpeg header cut": plain[:200],
        "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 9000,
        "jpeg without a frame": b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9",
        "jpeg with a broken profile, cut": test_jpeg.with_segments(plain, test_jpeg.icc(0, 1))[:-300],
        "jpeg with zeros before a marker, cut": padded[:-300] + b"\xff\xd9",
    }
    for kind, data in {"plain": plain, "progressive": progressive, "cmyk": cmyk, "odd": odd}.items():
        for name, damage in test_jpeg.DAMAGE.items():
            found[f"{kind} jpeg, {name}"] = damage(data)
    return found | {f"webp, {name}": damage() for name, damage in test_webp.DAMAGE.items() if name != "too many chunks"}


def test_failed_decodes_leak_no_memory() -> None:
    assert_nothing_leaks(lambda data: read_pixels(data, SIZE), failures())


def large() -> Pixels:
    return np.repeat(np.repeat(portrait(512), EDGE // 512, axis=0), EDGE // 512, axis=1)


def animation() -> bytes:
    frames = [Image.new("RGBA", (EDGE, EDGE), (shade, 10, 200, 255)) for shade in range(0, 200, 50)]
    return encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50, method=0)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: encode(Image.fromarray(large()).convert("CMYK"), "JPEG", quality=70), id="CMYK"),
        pytest.param(
            lambda: encode(Image.fromarray(large()).convert("CMYK"), "JPEG", quality=70, progressive=True),
            id="progressive CMYK",
        ),
        pytest.param(lambda: encode(large(), "JPEG", progressive=True, subsampling="4:4:4"), id="progressive"),
        pytest.param(lambda: encode(large(), "WEBP", lossless=True, quality=0, method=0), id="lossless WebP"),
        pytest.param(animation, id="animated WebP"),
    ],
)
def test_no_picture_takes_more_memory_than_it_may(make: Callable[[], bytes], tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(make())
    done = subprocess.run([sys.executable, "-c", MEASURE, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= MAX_BYTES


def of_odd_sampling() -> bytes:
    return sampled_jpeg(planes_of(portrait(64)), test_jpeg.ODD[0])


def with_many_scans(data: bytes) -> bytes:
    parts, coded = segments(data)
    *head, scan = parts
    return join(head, b"") + 21 * join([scan], coded[:-2])[2:] + coded[-2:]


def enlarged(frame: bytes, edge: int) -> bytes:
    """Return the body of a start of frame with another size."""
    return frame[:1] + struct.pack(">HH", edge, edge) + frame[5:]


def with_many_intervals(data: bytes) -> bytes:
    """Each component in scans of its own, with a restart marker after each block of 4096 x 4096 pixels."""
    parts, coded = segments(data)
    head = [(marker, enlarged(body, EDGE) if marker == 0xC0 else body) for marker, body in parts[:-1]]
    scans = [(0xDA, bytes([1, component, 0x11 * (component > 1), 0, 63, 0])) for component in (1, 1, 1, 2, 3)]
    return join([*head, (0xDD, b"\x00\x01"), *scans[:1]], coded[:-2]) + join(scans[1:], coded)[2:]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(
            lambda data: data[:2] + data[2:-2] + bytes(5_100_000) + data[-2:], "too large to check", id="size"
        ),
        pytest.param(lambda data: data.replace(b"\xff\xc0", b"\xff\xc9", 1), "arithmetic coding", id="arithmetic"),
        pytest.param(with_many_scans, "21 scans, and above 20 takes too long", id="scans"),
        pytest.param(with_many_intervals, "851,968 restart intervals, and above", id="intervals"),
    ],
)
def test_a_picture_of_odd_sampling_that_cannot_be_checked_is_told_why(
    change: Callable[[bytes], bytes], text: str
) -> None:
    with pytest.raises(UnsupportedImage, match=f"rare sampling factors and .*{text}.*: save it as 4:2:0"):
        read_pixels(change(of_odd_sampling()), SIZE)


def tiled(data: bytes, edge: int, *, end: bytes = b"") -> bytes:
    """Repeat the single unit of a JPEG over a larger picture, with a restart marker after each; `end` follows the first
    twenty units."""
    parts, coded = segments(data)
    unit = coded[:-2]
    count = -(-edge // 24) * -(-edge // 8)
    units = (unit + (end if index < 20 else b"") + bytes([0xFF, 0xD0 + index % 8]) for index in range(count))
    head = [(marker, enlarged(body, edge) if marker == 0xC0 else body) for marker, body in parts]
    return join([*head[:-1], (0xDD, b"\x00\x01"), head[-1]], b"".join(units)[:-2] + b"\xff\xd9")


def test_a_large_picture_of_odd_sampling_is_checked_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five groups of intervals and two masks: with six it was decoded 32 times, which took four seconds."""
    decodes, opened = list[JpegImageFile](), JpegImagePlugin.JpegImageFile

    def counted(file: IO[bytes]) -> JpegImageFile:
        decodes.append(opened(file))
        return decodes[-1]

    monkeypatch.setattr(JpegImagePlugin, "JpegImageFile", counted)
    levels = np.random.default_rng(1).integers(125, 131, (8, 24), np.uint8)
    unit = sampled_jpeg([levels] * 3, ((3, 1), (1, 1), (1, 1)))
    assert read_pixels(tiled(unit, 2304), SIZE).shape == (SIZE, SIZE, 3)
    assert len(decodes) == 8
    decodes.clear()
    with pytest.raises(CorruptImage, match="more coded data than pixels"):
        read_pixels(tiled(unit, 2304, end=b"\x12\x34\x56\x78" * 3), SIZE)
    assert len(decodes) == 2 + 2 * 5
