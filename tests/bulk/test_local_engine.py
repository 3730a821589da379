"""The local engine: it ends soon when a run is stopped."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bulk.engines import local
from bulk.engines.local import LocalEngine
from bulk.errors import Stopped
from bulk.output.score_cache import ScoreCache
from bulk.output.tally import UnitResult
from bulk.sources.source import open_source
from bulk.work_unit import WorkUnit
from common.signals import Interrupted, interruptible
from tests.bulk.helpers import tar_bytes


class _Reading:
    """A worker whose units read until shortly after it is stopped."""

    def __init__(self, *_: object, **__: object) -> None:
        self._stopped = threading.Event()

    def __enter__(self) -> "_Reading":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        self._stopped.set()

    def run(self, _: WorkUnit) -> UnitResult:
        self._stopped.wait(60)
        time.sleep(0.2)
        raise Stopped("the run was stopped")


def test_the_end_of_a_run_does_not_wait_for_units_that_never_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.tar").write_bytes(tar_bytes({}))
    monkeypatch.setattr(local, "Worker", _Reading)
    job: Any = None
    results = LocalEngine(1).run(open_source(str(tmp_path), {}).units(), job, ScoreCache.empty(), watch=lambda _: None)
    signalled = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGUSR2])
    with interruptible([signal.SIGUSR2]):
        begin = time.monotonic()
        signalled.start()
        with pytest.raises(Interrupted):
            next(results)
    assert time.monotonic() - begin < 2.5  # The engine waits 3 s for units that do not end.
