"""The compiled part of the fast path: bounds, machines without SIMD, sanitizers, AVX state, NEON."""

import ast
import itertools
import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gate import read_pixels
from gate.errors import CorruptImage
from gate.formats.png import fast_decoder as png
from tests.conftest import ROOT
from tests.gate.formats.test_png import ALL_FILTERS, ODD_FILES, by_pillow, decoded_by, is_taken, noise, outcome
from tests.support.images import PNG_SIGNATURE, filtered_png

SOURCE = ROOT / "gate/formats/png/scanlines.c"


def test_the_library_refuses_sizes_that_do_not_fit() -> None:
    lines, means = np.zeros(16 * 49, np.uint8), np.zeros(8 * 8 * 3, np.uint8)
    sound = {"length": lines.size, "width": 16, "height": 16, "channels": 3, "size": 8, "room": means.size}
    changes = [{"length": 783}, {"length": 785}, {"width": 0}, {"height": 0}, {"size": 0}, {"size": 7}, {"size": 16}]
    changes += [{"width": 2**63}, {"channels": 2}, {"channels": 4}, {"room": 191}, {"height": 2**32, "size": 2**32}]

    def called_with(**sizes: int) -> int:
        assert png.LIBRARY is not None
        *before, room = sizes.values()
        return png.LIBRARY(lines.ctypes.data, *before, means.ctypes.data, room)

    assert called_with(**sound) == 0
    assert {called_with(**sound | change) for change in changes} == {2}


def build(folder: Path, *flags: str, sources: tuple[Path, ...] = (SOURCE,), cc: str = "cc") -> Path:
    target = folder / "built"
    command = [cc, "-std=c11", *flags, "-o", str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return target


def test_machines_without_the_vectors_get_the_same(tmp_path: Path) -> None:
    strict = ("-O2", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror")
    plain = png.load_library(build(tmp_path, *strict, "-shared", "-fPIC", "-DLENSGATE_PLAIN"))
    assert plain is not None
    for edge, channels in ((96, 3), (96, 4), (66, 3), (33, 4)):
        data = filtered_png(noise(edge, channels), ALL_FILTERS)
        with decoded_by(plain):
            assert is_taken(data, 3)
            assert outcome(data, 3) == by_pillow(data, 3)
    with decoded_by(plain), pytest.raises(CorruptImage):
        read_pixels(PNG_SIGNATURE + ODD_FILES["a filter that is none"][1], 8)


AVX_DRIVER = """
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
int lensgate_shrink(const uint8_t *, size_t, size_t, size_t, size_t, size_t, uint8_t *, size_t);
__attribute__((target("avx"))) int main(void) {
    static uint8_t lines[4 * 13], means[3];
    int64_t upper[2];
    __asm__ volatile("vpcmpeqd %%xmm15, %%xmm15, %%xmm15; vinsertf128 $1, %%xmm15, %%ymm15, %%ymm15" ::: "xmm15");
    if (lensgate_shrink(lines, sizeof lines, 4, 4, 3, 1, means, sizeof means)) return 2;
    __asm__ volatile("vextractf128 $1, %%ymm15, %%xmm0; vmovups %%xmm0, %0" : "=m"(upper) :: "xmm0");
    printf("%d", upper[0] || upper[1]);
    return 0;
}
"""


@pytest.mark.skipif(
    not re.search(r"\bavx\b", Path("/proc/cpuinfo").read_text()), reason="needs a processor with AVX registers"
)
def test_dirty_upper_halves_of_avx_registers_are_cleared(tmp_path: Path) -> None:
    """Old upper halves slow all code of 128 bits down: to half its speed, or to a quarter."""
    (tmp_path / "driver.c").write_text(AVX_DRIVER)
    dirty = build(tmp_path, "-O2", "-mno-vzeroupper", sources=(SOURCE, tmp_path / "driver.c"))
    assert subprocess.run([dirty], capture_output=True, check=True).stdout == b"0"


def test_the_library_hides_every_name_but_its_own(tmp_path: Path) -> None:
    built = build(tmp_path, "-shared", "-fPIC", "-fvisibility=hidden")
    names = subprocess.run(["nm", "-D", "--defined-only", built], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in names.splitlines()] == ["lensgate_shrink"]
    posix = {"select", "read", "write", "open", "close", "poll", "send", "recv", "accept", "bind", "listen", "index"}
    assert posix.isdisjoint(re.findall(r"^static .*?(\w+)\(", SOURCE.read_text(), re.MULTILINE))


# Each call gets memory of exactly its lengths, `offset` bytes from an aligned address.
DRIVER = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
int lensgate_shrink(const uint8_t *, size_t, size_t, size_t, size_t, size_t, uint8_t *, size_t);
int main(void) {
    uint32_t n[6];
    while (fread(n, sizeof n, 1, stdin)) {
        const size_t offset = n[5], room = (size_t)n[4] * n[4] * 3;
        uint8_t *lines = malloc(offset + n[0]), *means = calloc(1, offset + room);
        if (fread(lines + offset, 1, n[0], stdin) != n[0]) return 1;
        putchar(lensgate_shrink(lines + offset, n[0], n[1], n[2], n[3], n[4], means + offset, room));
        fwrite(means + offset, 1, room, stdout);
        free(lines);
        free(means);
    }
    return 0;
}
"""


def driver(folder: Path, *flags: str, cc: str = "cc") -> Path:
    (folder / "driver.c").write_text(DRIVER)
    return build(folder, *flags, sources=(SOURCE, folder / "driver.c"), cc=cc)


class Calls:
    """Input of the driver, and the results in its output."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(5)
        self._rooms: list[int] = []
        self.input = bytearray()

    def add(self, shape: tuple[int, int, int, int], filters: Sequence[int], *, offset: int = 0) -> None:
        """Add random lines of `shape` (width, height, channels, size); `filters` repeat."""
        width, height, channels, size = shape
        lines = self._random.integers(0, 256, (height, 1 + width * channels), dtype=np.uint8)
        lines[:, 0] = np.resize(np.array(filters, np.uint8), height)
        self.input += struct.pack("6I", lines.size, *shape, offset) + lines.tobytes()
        self._rooms.append(size * size * 3)

    def results(self, output: bytes) -> list[tuple[int, bytes]]:
        """Status and means of each call."""
        ends = list(itertools.accumulate(1 + room for room in self._rooms))
        assert len(output) == ends[-1]
        return [(output[start], output[start + 1 : end]) for start, end in itertools.pairwise([0, *ends])]


@pytest.mark.parametrize("variant", ["VECTORS_IF_ANY", "LENSGATE_PLAIN"])
def test_the_sanitizers_report_no_error(tmp_path: Path, variant: str) -> None:
    """The memory has exactly the given lengths, so that a stray byte is one too many."""
    checked = driver(tmp_path, "-O1", "-g", f"-D{variant}", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    calls = Calls()
    shapes = [(w, h, c, s) for c in (3, 4) for s in (1, 2, 5) for w in (s, 3 * s, 8 * s) for h in (s, 2 * s, 7 * s)]
    for shape in [*shapes, (2, 600, 3, 2), (600, 1, 4, 1)]:
        calls.add(shape, range(5) if shape[1] % 7 else range(7))
    done = subprocess.run(
        [checked], input=calls.input, capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert {status for status, _ in calls.results(done.stdout)} == {0, 1}


def on_arm(folder: Path) -> Path:
    """The driver as arm64 images build the library, with NEON, which every 64-bit ARM processor has."""
    found = re.search(r"^FLAGS = (.*)$", (ROOT / "hatch_build.py").read_text(), re.MULTILINE)
    assert found is not None
    flags = [flag for flag in ast.literal_eval(found[1]) if flag not in {"-shared", "-fPIC"}]
    return driver(folder, *flags, "-Werror", "-static", cc="aarch64-linux-gnu-gcc")


def test_neon_gives_the_same_bits_as_plain_c(tmp_path: Path) -> None:
    """On an emulated processor: filters in all combinations of four rows, widths, ends of rows and alignments."""
    for name in ("arm", "plain"):
        (tmp_path / name).mkdir()
    arm, plain = on_arm(tmp_path / "arm"), driver(tmp_path / "plain", "-O2", "-DLENSGATE_PLAIN")
    disassembly = subprocess.run(["aarch64-linux-gnu-objdump", "-d", arm], capture_output=True, text=True, check=True)
    body = disassembly.stdout.partition("<lensgate_shrink>:")[2].partition("\n\n")[0]
    assert {"uqsub", "uhadd", "umin", "cmhs"} <= set(body.split())
    calls = Calls()
    groups = list(itertools.chain(*itertools.product(range(5), repeat=4)))
    for channels in (3, 4):
        for start in range(0, len(groups), 100):
            calls.add((100, 100, channels, 100), groups[start : start + 100])
        for width in range(1, 50):
            calls.add((width, width, channels, width), (4, 4, 4, 4, 3, 1, 2, 0), offset=width % 16)
        for size, wide, tall in ((1, 1, 600), (1, 700, 1), (7, 9, 5), (3, 257, 258), (16, 4, 4)):
            calls.add((size * wide, size * tall, channels, size), range(5), offset=size)
    calls.add((4, 4, 3, 4), [5])
    commands: tuple[list[str | Path], ...] = (["qemu-aarch64", arm], [plain])
    found, expected = (
        calls.results(subprocess.run(command, input=calls.input, capture_output=True, check=True).stdout)
        for command in commands
    )
    assert found == expected
    assert [status for status, _ in found][-2:] == [0, 1]
