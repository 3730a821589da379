"""The compiled part of the fast path: bounds, machines without SIMD, sanitizers, AVX state."""

import io
import re
import struct
import subprocess
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
        assert png._shrink is not None
        *before, room = sizes.values()
        return png._shrink(lines.ctypes.data, *before, means.ctypes.data, room)

    assert called_with(**sound) == 0
    assert {called_with(**sound | change) for change in changes} == {2}


def build(folder: Path, *flags: str, sources: tuple[Path, ...] = (SOURCE,)) -> Path:
    target = folder / "built"
    command = ["cc", "-std=c11", *flags, "-o", str(target), *map(str, sources)]
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
    driver = build(tmp_path, "-O2", "-mno-vzeroupper", sources=(SOURCE, tmp_path / "driver.c"))
    assert subprocess.run([driver], capture_output=True, check=True).stdout == b"0"


def test_the_library_hides_every_name_but_its_own(tmp_path: Path) -> None:
    built = build(tmp_path, "-shared", "-fPIC", "-fvisibility=hidden")
    names = subprocess.run(["nm", "-D", "--defined-only", built], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in names.splitlines()] == ["lensgate_shrink"]
    posix = {"select", "read", "write", "open", "close", "poll", "send", "recv", "accept", "bind", "listen", "index"}
    assert posix.isdisjoint(re.findall(r"^static .*?(\w+)\(", SOURCE.read_text(), re.MULTILINE))


DRIVER = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
int lensgate_shrink(const uint8_t *, size_t, size_t, size_t, size_t, size_t, uint8_t *, size_t);
int main(void) {
    uint32_t n[5];
    while (fread(n, sizeof n, 1, stdin)) {
        const size_t room = (size_t)n[4] * n[4] * 3;
        uint8_t *lines = malloc(n[0]), *means = malloc(room);
        if (fread(lines, 1, n[0], stdin) != n[0]) return 1;
        printf("%d", lensgate_shrink(lines, n[0], n[1], n[2], n[3], n[4], means, room));
        fwrite(means, 1, 1, stdout);
        free(lines);
        free(means);
    }
    return 0;
}
"""


@pytest.mark.parametrize("variant", ["VECTORS_IF_ANY", "LENSGATE_PLAIN"])
def test_the_sanitizers_report_no_error(tmp_path: Path, variant: str) -> None:
    """Each call gets memory of exactly its lengths, so that a stray byte is one too many."""
    (tmp_path / "driver.c").write_text(DRIVER)
    flags = ("-O1", "-g", f"-D{variant}", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    driver = build(tmp_path, *flags, sources=(SOURCE, tmp_path / "driver.c"))
    calls = io.BytesIO()
    random = np.random.default_rng(5)
    shapes = [(w, h, c, s) for c in (3, 4) for s in (1, 2, 5) for w in (s, 3 * s, 8 * s) for h in (s, 2 * s, 7 * s)]
    for width, height, channels, size in [*shapes, (2, 600, 3, 2), (600, 1, 4, 1)]:
        lines = random.integers(0, 256, (height, 1 + width * channels), dtype=np.uint8)
        lines[:, 0] %= 5 if height % 7 else 7
        calls.write(struct.pack("5I", lines.size, width, height, channels, size) + lines.tobytes())
    done = subprocess.run(
        [driver], input=calls.getvalue(), capture_output=True, env={"ASAN_OPTIONS": "detect_leaks=0"}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(done.stdout[::2]) == {ord("0"), ord("1")}
