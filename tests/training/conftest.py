"""What it takes to test many machines on one: processes, and object storage that speaks S3."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from training.storage import Remote

BUCKETS = count()
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["training.study", "training.tune"])


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
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Of whoever runs the tests.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    server.stop()


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Remote:
    """An empty bucket."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(BUCKETS)}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    return Remote(f"s3://{name}")


@pytest.fixture
def memory() -> Iterator[Remote]:
    """Storage that is empty, and ends with the test."""
    yield Remote("memory://records")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies of remote files are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
