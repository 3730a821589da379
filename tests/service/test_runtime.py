"""The parts of a service: built without a thread, started and closed together, and free of HTTP inside."""

import ast
import asyncio
import gc
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from gate.pixels import Pixels
from gate.scorer import CPU, CUDA
from lensgate.cli import parse
from service import demo, server
from service.inference.model_runner import LoadedModel
from service.process import signals
from service.runtime import build_runtime
from service.settings import Settings
from tests.service.v2.test_faults import EDGE, INFER, request
from tests.support.models import brightness_model
from tests.support.servers import TIMEOUT, FakeScorer, running_service, wait_until

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("service.http", "service.api", "service.access", "service.records", "service.metrics", "service.runtime")


def fake(version: str, provider: str = "fake") -> LoadedModel:
    return LoadedModel(brightness_model(version).card, FakeScorer(), provider)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_inference_imports_neither_http_nor_records_nor_metrics() -> None:
    names = {name for path in (ROOT / "service/inference").glob("*.py") for name in imported(path)}
    assert "service.settings" in names
    assert not {name for name in names if name.startswith((*FORBIDDEN, "starlette", "fastapi", "sqlalchemy"))}


@pytest.mark.parametrize(("provider", "runs"), [(CPU, 2), (CUDA, 1)])
def test_threads_start_with_the_runtime_and_end_with_it(tmp_path: Path, provider: str, runs: int) -> None:
    def started() -> list[str]:
        names = [thread.name for thread in threading.enumerate() if thread not in before]
        return sorted(name for name in names if not name.startswith("asyncio"))

    async def run() -> None:
        async with runtime:
            assert started() == ["decode-0", "decode-1", *["inference"] * (runs + 1), "preview-worker", "recorder"]
        wait_until(lambda: not started())

    before = threading.enumerate()
    settings = Settings(records_url=f"sqlite:///{tmp_path / 'records.db'}", decode_threads=2)
    runtime = build_runtime(settings, fake("1", provider), shadow=fake("2", provider))
    assert not started()
    asyncio.run(run())


def test_threads_that_cannot_be_started_are_an_error_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runtime = build_runtime(Settings(records_url="off"), fake("1"))
    with monkeypatch.context() as patched, pytest.raises(OSError, match="raise the limit of processes"):
        patched.setattr(threading.Thread, "start", start)
        runtime.start()


def test_probes_are_answered_until_the_threads_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    closing, go = threading.Event(), threading.Event()

    def close(*, timeout: float) -> None:
        closing.set()
        assert go.wait(TIMEOUT + timeout)

    with running_service(metrics_port=0) as service:
        monkeypatch.setattr(service.runtime.runner, "close", close)
        service.stop()
        assert closing.wait(TIMEOUT)
        try:
            url = service.server.metrics_url
            found = [httpx.get(f"{url}{path}", timeout=TIMEOUT) for path in ("/livez", "/readyz")]
        finally:
            go.set()
        assert [answer.status_code for answer in found] == [200, 503]
        monkeypatch.undo()
        asyncio.run(service.runtime.close())


def test_a_failed_run_drops_the_queued_rest_of_its_request() -> None:
    held, go = threading.Event(), threading.Event()

    def fault(images: Pixels) -> BaseException | None:
        if not images.any():
            return RuntimeError("the model fails")
        held.set()
        assert go.wait(TIMEOUT)
        return None

    size = EDGE * EDGE * 3
    body, headers = request(bytes(size) + b"\xff" * 2 * size, count=3)
    with running_service(max_batch_size=1) as service, ThreadPoolExecutor(1) as pool:
        service.scorer.fault = fault
        answer = pool.submit(service.client.post, INFER, content=body, headers=headers)
        try:
            assert held.wait(TIMEOUT)
            assert answer.result(TIMEOUT).status_code == 500
            wait_until(lambda: service.queued == 0)
        finally:
            go.set()
        wait_until(lambda: service.inflight == 0)
    assert service.scorer.batches == [1, 1, 1]  # The failed image twice, and the one that the model had begun.


def serve(options: Namespace) -> None:
    options.run(options)


@pytest.mark.parametrize(
    "start",
    [
        lambda _: serve(parse(["serve", "--port", "0", "--workers", "1"])),
        lambda folder: demo.main(folder, {}),
    ],
    ids=["serve", "make run"],
)
def test_objects_of_the_start_are_frozen_before_the_server_runs(
    start: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class FakeServer:
        """Counts the frozen objects instead of listening."""

        started, url = True, "http://fake"

        def run(self) -> None:
            frozen.append(gc.get_freeze_count())

    frozen = list[int]()
    for each in (demo, server):
        monkeypatch.setattr(each, "make_server", lambda _: FakeServer())
    monkeypatch.setattr(signals, "guard_start", lambda: None)
    monkeypatch.setattr(demo, "guard_start", lambda: None)
    gc.unfreeze()
    try:
        start(tmp_path)
    finally:
        gc.unfreeze()
    assert frozen[0] > 1_000
