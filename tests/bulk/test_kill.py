"""The command as its own process, killed and interrupted while it works."""

import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from common.storage import TEMPORARY
from tests.bulk.helpers import read_rows, shards, tar_bytes
from tests.conftest import ROOT
from tests.support.images import encode, portrait

TARS, IMAGES = 24, 40
LIMIT = 600.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tars of images that take their time to be decoded."""
    folder = tmp_path_factory.mktemp("source")
    data = encode(portrait(512))
    for tar in range(TARS):
        # Bytes after the end of a PNG change only its hash.
        members = {f"{image:03d}.png": data + bytes([tar, image]) for image in range(IMAGES)}
        (folder / f"x-{tar}.tar").write_bytes(tar_bytes(members))
    return folder


@contextmanager
def running(source: Path | str, out: Path, keep: Path, models: Path) -> Iterator["subprocess.Popen[str]"]:
    flags = ["--keep", str(keep), "--models", str(models), "--json"]
    command = [sys.executable, "-m", "lensgate", "bulk", str(source), str(out), *flags]
    # A shell starts background jobs with SIGINT ignored, and nohup all with SIGHUP; child processes inherit both.
    before = [(number, signal.signal(number, signal.SIG_DFL)) for number in (signal.SIGINT, signal.SIGHUP)]
    try:
        started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    with started as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Until it holds; the process must not have ended by then."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def finish(source: Path, out: Path, keep: Path, models: Path) -> None:
    with running(source, out, keep, models) as process:
        printed = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, printed


def test_killed_runs_end_in_the_same_output_as_an_undisturbed_run(source: Path, models: Path, tmp_path: Path) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    for done in range(3):
        with running(source, out, keep, models) as process:
            # In the middle of a shard, and each time with more of them finished.
            wait_for(lambda: len(list(out.glob("*.parquet"))) > done and any(out.glob(f"{TEMPORARY}*")), process)  # noqa: B023
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=LIMIT)
        assert 0 < len(list(out.glob("*.parquet"))) < TARS
        assert len(read_rows(out)) % IMAGES == 0
    finish(source, out, keep, models)
    finish(source, tmp_path / "calm", tmp_path / "calm-keep", models)
    assert shards(out) == shards(tmp_path / "calm")
    assert shards(keep) == shards(tmp_path / "calm-keep")
    assert len(shards(out)) == TARS
    assert not list(tmp_path.glob(f"*/{TEMPORARY}*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_an_interrupted_run_ends_soon_without_unfinished_files_and_reports_it(
    number: signal.Signals, source: Path, models: Path, tmp_path: Path
) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    with running(source, out, keep, models) as process:
        wait_for(lambda: any(out.glob("*.parquet")), process)
        process.send_signal(number)
        printed, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number
    assert printed == ""
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert 0 < len(shards(out)) < TARS
    assert not list(tmp_path.glob(f"*/{TEMPORARY}*"))


class _Stuck(http.server.BaseHTTPRequestHandler):
    """Says that each file is there, and never sends it."""

    asked: ClassVar[threading.Event]
    freed: ClassVar[threading.Event]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.set()
        self.freed.wait(LIMIT)


class _StuckIndex(_Stuck):
    """Has an index page, and never answers what its files are."""

    def do_HEAD(self) -> None:
        if self.path == "/":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "20")
            self.end_headers()
        else:
            super().do_GET()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path == "/":
            self.wfile.write(b"<a href='a.png'></a>")


@pytest.mark.parametrize(
    ("number", "handler", "path"),
    [
        (signal.SIGINT, _Stuck, "{0..2}.png"),
        (signal.SIGTERM, _Stuck, "{0..2}.png"),
        (signal.SIGHUP, _Stuck, "{0..2}.png"),
        (signal.SIGTERM, _StuckIndex, ""),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP", "SIGTERM in a listing"],
)
def test_a_hanging_read_does_not_block_the_end_of_a_run(
    number: signal.Signals, handler: type[_Stuck], path: str, models: Path, tmp_path: Path
) -> None:
    _Stuck.asked, _Stuck.freed = threading.Event(), threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{path}"
        with running(url, tmp_path / "out", tmp_path / "keep", models) as process:
            assert _Stuck.asked.wait(LIMIT), process.poll()
            begin = time.monotonic()
            process.send_signal(number)
            _, said = process.communicate(timeout=LIMIT)
        took = time.monotonic() - begin
        _Stuck.freed.set()
        server.shutdown()
    assert process.returncode == 128 + number
    assert "run the same command again to resume" in said
    # Without a bound the store's own time-out counts, five minutes.
    assert took < 30
    assert not list(tmp_path.glob(f"*/{TEMPORARY}*"))
