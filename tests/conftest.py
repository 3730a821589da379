import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from gate.cores import usable_cores
from tests.support.servers import Process, Running, running_process, running_service

ROOT = Path(__file__).parents[1]

# `make test-containers` runs them in one process: they share an engine that needs root and minutes to start.
collect_ignore = ["containers"]

# The slowest files first; each takes half a core minute to a full one.
SLOWEST = (
    "training/test_chain.py",
    "training/test_crash.py",
    "deploy/test_prometheus.py",
    "service/test_live.py",
    "service/test_faults.py",
    "training/test_fit.py",
    "training/test_promise.py",
)
MOST_WORKERS = 4

# The objects of 3,000 collected tests live to the end: scanning them again and again took a tenth of the time.
gc.set_threshold(5_000, 20, 100)

# The time of an example depends on the load of the machine.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: tests of a server mostly wait."""
    return min(usable_cores() + 1, MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest files first, so that no worker is left alone with one at the end."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that starts the command in this process must not leave its handler to the tests after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A service that was started in this process ignores HUP and USR2, and so would every process started after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR2)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def service() -> Iterator[Running]:
    """A server around a fake model, with every setting at its default."""
    with running_service() as running:
        yield running


@pytest.fixture(scope="session")
def live_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The service as it ships: its own process, the committed model, the settings' defaults."""
    folder = tmp_path_factory.mktemp("live")
    records = f"sqlite:///{folder / 'lensgate.db'}"
    environment = {**os.environ, "LENSGATE_MODELS": str(ROOT / "models"), "LENSGATE_RECORDS_URL": records}
    with running_process(folder / "service.log", environment) as process:
        yield process


@pytest.fixture(scope="session")
def faces() -> Path:
    """Labelled faces that are not part of the project; `LENSGATE_FACES` says where they lie."""
    folder = Path(os.environ.get("LENSGATE_FACES", ROOT.parent / "shared/faces"))
    if (folder / "train.csv").is_file():
        return folder
    reason = f"this test needs labelled faces in {folder}: set LENSGATE_FACES to a folder in the Kaggle layout"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
