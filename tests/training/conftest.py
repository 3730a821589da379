"""Fixtures that stand in for many machines: processes, and object storage with the S3 protocol."""

import multiprocessing
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import fsspec
import pytest

from common.storage import StoragePath
from tests.support.objects import running_s3

BUCKETS = count()
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["training.search.study", "training.search.tune"])


@pytest.fixture
def fork() -> Iterator[Callable[..., BaseProcess]]:
    """Starts a function in a process of its own, which has all it imports already."""
    started: list[BaseProcess] = []

    def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
        process = FORKS.Process(target=target, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The variables by which a process finds the server."""
    with running_s3() as environment:
        yield environment


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> StoragePath:
    """An empty bucket."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(BUCKETS)}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    return StoragePath(f"s3://{name}")


@pytest.fixture
def memory() -> Iterator[StoragePath]:
    """Storage that is empty, and ends with the test."""
    yield StoragePath("memory://records")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies of remote files are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
