import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from gate.cores import usable_cores
from tests.support import fast_lane
from tests.support.servers import Process, Running, running_process, running_service

ROOT = Path(__file__).parents[1]

# `make test-containers` runs these in one process: they share a Docker engine, which takes minutes and root to start.
collect_ignore = ["containers"]

# The files that take the most CPU time, longest first.
SLOWEST = (
    "training/test_search.py",
    "training/test_crash.py",
    "training/test_fit.py",
    "deploy/test_prometheus.py",
    "bulk/test_kill.py",
    "training/test_guarantees.py",
    "bench/test_bench.py",
    "training/test_paper_run.py",
    "browser/test_docs.py",
    "training/test_audit.py",
    "training/test_chain.py",
    "bench/test_scaling_commands.py",
    "browser/test_operations.py",
    "browser/test_decisions.py",
    "service/records/test_wire.py",
    "training/test_devices.py",
    "training/test_machines.py",
    "service/test_faults.py",
    "browser/test_oncall.py",
    "service/test_live.py",
    "test_fast_collection.py",
    "service/records/test_several_processes.py",
    "deploy/test_live.py",
    "bulk/test_ray.py",
)
MAX_WORKERS = 4

# Collected tests live until the end of the run; repeated garbage collections over them took a tenth of the time.
gc.set_threshold(5_000, 20, 100)

# The time an example takes depends on the load of the machine, so Hypothesis sets no deadline.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fast`, which `make test-fast` passes."""
    parser.addoption("--fast", action="store_true", help="run only tests that need pip packages and little time")


def pytest_configure(config: pytest.Config) -> None:
    """Fail every test of the fast lane that needs more than the lane promises."""
    if config.getoption("fast"):
        config.option.markexpr = "not debian"
        sys.addaudithook(fast_lane.refuse)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the files of the full lane out of the fast one."""
    return True if config.getoption("fast") and not fast_lane.includes(collection_path) else None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use one worker more than there are cores: tests of a server wait much of their time.

    In the fast lane, the collection of another worker takes longer than it saves.
    """
    return min(usable_cores() + (not config.getoption("fast")), MAX_WORKERS)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests with a fixture that starts a program of Debian."""
    if fast_lane.FIXTURES & set(getattr(item, "fixturenames", ())):
        item.add_marker("debian")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, so that none of them runs alone at the end."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Restore the root logger: a test that runs a command in this process replaces its handlers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Restore signal handlers: a service in this process ignores HUP and USR2, and child processes inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR2)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def service() -> Iterator[Running]:
    """Run a server around a fake model, with every setting at its default."""
    with running_service() as running:
        yield running


@pytest.fixture(scope="session")
def live_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Run the service as it ships: its own process, the committed model, default settings."""
    folder = tmp_path_factory.mktemp("live")
    records = f"sqlite:///{folder / 'lensgate.db'}"
    environment = {**os.environ, "LENSGATE_MODELS": str(ROOT / "models"), "LENSGATE_RECORDS_URL": records}
    with running_process(folder / "service.log", environment) as process:
        yield process


@pytest.fixture(scope="session")
def faces() -> Path:
    """Return the folder of labelled faces, which are not part of the project; `LENSGATE_FACES` names it."""
    folder = Path(os.environ.get("LENSGATE_FACES", ROOT.parent / "shared/faces"))
    if (folder / "train.csv").is_file():
        return folder
    reason = f"this test needs labelled faces in {folder}: set LENSGATE_FACES to a folder in the Kaggle layout"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
