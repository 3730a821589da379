"""Uploads to the service as the process an operator starts and stops."""

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.streams.uploads import TAR_TYPE, Caller, member
from tests.support.images import encode, flat, portrait
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Process, running_process, wait_until

WHITE = encode(flat(255))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    write_model(tmp_path / "models", brightness_model())
    return {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}


def post(process: Process, body: Iterator[bytes]) -> dict[str, dict[str, int]]:
    """The summary of one upload."""
    headers = {"Content-Type": TAR_TYPE}
    answer = httpx.post(
        f"{process.url}/v1/decisions/batch", content=body, headers=headers, timeout=TIMEOUT, trust_env=False
    )
    summary: dict[str, dict[str, int]] = json.loads(answer.text.splitlines()[-1])
    return summary


def peak(process: Process) -> int:
    """The most bytes of memory it ever held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_upload_of_300_mb_grows_memory_by_less_than_24_mb(environment: dict[str, str], tmp_path: Path) -> None:
    face = member("a.jpg", encode(portrait(1024), "JPEG", quality=98, subsampling=0))
    count = 300_000_000 // len(face)
    with running_process(tmp_path / "log", environment, "--decode-threads", "2") as process:
        post(process, itertools.chain(itertools.repeat(face, 20), [bytes(1024)]))
        before = peak(process)
        summary = post(process, itertools.chain(itertools.repeat(face, count), [bytes(1024)]))
        grown = peak(process) - before
    assert sum(summary["summary"].values()) - summary["summary"]["error"] == count
    assert grown < 24_000_000


def test_sigterm_ends_a_stream_with_its_lines_and_the_process_with_status_0(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running_process(tmp_path / "log", environment) as process, Caller(process.url) as caller:
        caller.send(member("a.png", WHITE) + member("b.png", WHITE)[:600])
        assert caller.line()["id"] == "a.png"
        process.process.send_signal(signal.SIGTERM)
        fault, summary = caller.rest()
        assert fault["error"]["code"] == "draining"
        assert summary == {"summary": {"accept": 1, "discard": 0, "error": 0}}
        assert process.process.wait(TIMEOUT) == 0
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    (access,) = (line for line in lines if line["logger"] == "service.access")
    assert (access["route"], access["status"]) == ("/v1/decisions/batch", 200)
    assert (access["accept"], access["discard"], access["error"], access["ended"]) == (1, 0, 0, "draining")
    assert {line["level"] for line in lines} == {"info"}


def test_disconnect_is_logged_and_is_not_an_error(environment: dict[str, str], tmp_path: Path) -> None:
    with running_process(tmp_path / "log", environment) as process:
        with Caller(process.url) as caller:
            caller.send(member("a.png", WHITE) + member("b.png", WHITE)[:600])
            assert caller.line()["id"] == "a.png"
        wait_until(lambda: "client_gone" in process.log.read_text())
    assert all(json.loads(line)["level"] == "info" for line in process.log.read_text().splitlines())
