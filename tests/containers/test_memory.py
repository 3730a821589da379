"""The memory limit of the gate's container under pictures that are small as files and large when decoded."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.compose import Compose, running_project
from tests.containers.engine import Engine, wait_for
from tests.containers.images import Built

EDGE = 4096
AT_ONCE = 16
PEAK = ("sh", "-c", "cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2>/dev/null")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def large_png(edge: int) -> bytes:
    """Encode a black picture with 16 bits a channel and alpha: `8 * edge**2` bytes of pixels, a thousandth as file."""
    header = struct.pack(">IIBBBBB", edge, edge, 16, 6, 0, 0, 0)
    row = b"\0" * (1 + 8 * edge)
    compressor = zlib.compressobj(9)
    pixels = b"".join([*(compressor.compress(row) for _ in range(edge)), compressor.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def gate(engine: Engine, built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The gate with as many decode threads as it has on sixteen cores."""
    override = tmp_path_factory.mktemp("memory") / "cores.yml"
    override.write_text(f'services: {{gate: {{environment: {{LENSGATE_DECODE_THREADS: "{AT_ONCE}"}}}}}}\n')
    with running_project(engine, built.checkout, override) as project:
        project.up("gate")
        yield project


def test_sixteen_concurrent_large_images_fit_the_memory_limit(
    gate: Compose, sample: Path, tmp_path: Path, notes: list[str]
) -> None:
    picture = tmp_path / "large.png"
    picture.write_bytes(large_png(EDGE))
    answers = gate.post_at_once(picture, AT_ONCE)
    peak = gate.execute("gate", *PEAK).stdout.strip()
    notes.append(f"{AT_ONCE} large pictures: {sorted(status for status, _ in answers)}, at most {peak} bytes held")
    # Requests answered 504 leave running decodes behind, which may end the process.
    wait_for(lambda: gate.post(sample)[0] == 200, "a sample is decided about")
    found = gate.inspect("gate")
    assert found["HostConfig"]["Memory"] == 2 << 30
    assert (found["State"]["OOMKilled"], found["RestartCount"]) == (False, 0)
    assert {status for status, _ in answers} <= {200, 422, 429, 503, 504}
