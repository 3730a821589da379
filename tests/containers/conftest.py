import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.compose import Compose, running_project
from tests.containers.engine import BRIDGED, HOST_NETWORK, Engine, run, running_engine
from tests.containers.images import Built, build_images, debian_root
from tests.deploy.tools import ROOT

# Debian's root is kept for the next run; all else is removed.
CACHE = ROOT / "runs/containers"

NOTES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOTES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the measurements."""
    for note in config.stash[NOTES]:
        terminalreporter.write_line(note)


@pytest.fixture(scope="session")
def notes(pytestconfig: pytest.Config) -> list[str]:
    """Figures that the run prints at its end."""
    return pytestconfig.stash[NOTES]


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    """The engine's images, containers and volumes."""
    if sys.platform != "linux":
        pytest.skip("a Docker engine of the tests' own needs Linux")
    if os.geteuid() != 0:
        pytest.fail("a Docker engine of the tests' own needs root: `make test-containers` asks for it", pytrace=False)
    folder = CACHE / f"engine-{os.getpid()}"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built(data: Path, notes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Every image, built before anything is run: the engine that builds has no network for containers."""
    archive = debian_root(CACHE / "bookworm.tar")
    with running_engine(data, HOST_NETWORK) as engine:
        notes.append(f"storage: {engine.output('info', '--format={{.Driver}}').strip()}")
        images = build_images(engine, archive, tmp_path_factory.mktemp("images"))
    notes.append(f"seconds to build: {', '.join(f'{name} {took:.0f}' for name, took in engine.seconds.items())}")
    return images


@pytest.fixture(scope="session")
def engine(data: Path, built: Built) -> Iterator[Engine]:
    """An engine that holds the images, in a network of its own."""
    assert built
    with running_engine(data, BRIDGED) as running:
        yield running


@pytest.fixture(scope="module")
def compose(engine: Engine, built: Built) -> Iterator[Compose]:
    """The project of docker-compose.yml, with the gate, Prometheus and Alertmanager running."""
    run("make", "readable", cwd=built.checkout)
    with running_project(engine, built.checkout) as project:
        project.up("gate", "prometheus", "alertmanager")
        yield project


@pytest.fixture(scope="session")
def sample() -> Path:
    """A drawn face with glasses."""
    return ROOT / "samples/frames-1.png"
