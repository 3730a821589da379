"""Tuning on several machines that share only a bucket; some of them are killed."""

import csv
import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bench.serving.processes import free_port
from common.storage import AnyPath, StoragePath, sizes_of
from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from tests.support.servers import wait_until
from training.model.checkpoint import TrainingProgress
from training.model.preset import PRESETS, Preset
from training.search import coordinator as chief
from training.search import tune
from training.search.trials import TrialMetrics, train_and_measure

# Keras Tuner's locks call two names that Python is about to retire.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning")

TINY = Preset(size=32, filters=(4,), epochs=3)
TRIALS = 4
SECONDS = 1200  # at most, on a machine that is busy


def machine(command: list[str], environment: dict[str, str], log: Path, stop: bool) -> None:
    """`lensgate` on a machine of its own; with `stop` it gets stuck after its first epoch and can but be killed.

    What it trains is appended to `log`, and that it is stuck to the file beside it.
    """
    os.environ.update(environment)
    PRESETS["paper"] = TINY
    chief.LEASE, chief.BEAT = 3.0, 0.2
    kept = TrainingProgress.on_epoch_end

    def on_epoch_end(progress: TrainingProgress, epoch: int, logs: dict[str, float] | None = None) -> None:
        kept(progress, epoch, logs)
        if stop:
            log.with_suffix(".stuck").touch()
            threading.Event().wait()

    def logged(*arguments: object, title: str, **options: object) -> TrialMetrics:
        with log.open("a") as file:
            file.write(f"{title}\n")
        return train_and_measure(*arguments, title="", **options)  # type: ignore[arg-type]

    TrainingProgress.on_epoch_end = on_epoch_end  # type: ignore[assignment,method-assign]
    tune.train_and_measure = logged  # type: ignore[attr-defined]
    raise SystemExit(main(command))


def table(out: AnyPath) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "trials.csv").read_bytes().decode().splitlines()))


def without_seconds(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


def test_killed_machines_lose_nothing_and_nothing_counts_twice(
    bucket: StoragePath,
    s3: dict[str, str],
    tmp_path: Path,
    fork: Callable[..., BaseProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker is killed in the middle of a trial and never comes back, the chief is killed meanwhile and does."""
    monkeypatch.setitem(PRESETS, "paper", TINY)
    data = write_dataset(tmp_path / "bars", half(120))
    assert main(["train", "prepare", "--data", str(data), "--size", "32", "--records", f"{bucket}/records"]) == 0
    command = ["train", "tune", "learning-rate", "--records", f"{bucket}/records", "--trials", str(TRIALS), "--out"]
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}

    def start(name: str, *, stop: bool = False) -> BaseProcess:
        # Each has its own disk.
        environment = {**s3, **address, "KERASTUNER_TUNER_ID": name, "XDG_CACHE_HOME": str(tmp_path / name)}
        return fork(machine, [*command, f"{bucket}/tune"], environment, tmp_path / f"{name}.log", stop)

    first, victim = start("chief"), start("one", stop=True)
    wait_until((tmp_path / "one.stuck").exists, timeout=SECONDS)
    first.kill()
    first.join()
    last, other = start("chief"), start("two")
    wait_until((tmp_path / "two.log").exists, timeout=SECONDS)
    victim.kill()
    assert main([*command, str(tmp_path / "undisturbed")]) == 0
    for process in (last, other):
        process.join(SECONDS)
        assert process.exitcode == 0
    rows = table(bucket / "tune")
    assert without_seconds(rows) == without_seconds(table(tmp_path / "undisturbed"))
    best = (bucket / "tune/best.json").read_bytes()
    assert best == (tmp_path / "undisturbed/best.json").read_bytes()
    trained = Counter("".join((tmp_path / f"{name}.log").read_text() for name in ("one", "two")).splitlines())
    assert sorted(trained.values()) == [1] * (TRIALS - 1) + [2]
    # The trial resumed from the dead worker's checkpoint in the bucket, so its duration is unknown.
    assert [row["seconds"] == "" for row in rows].count(True) == 1
    state = json.loads((bucket / "tune/trials/oracle.json").read_bytes())
    assert sorted(state["end_order"]) == state["start_order"]
    assert sizes_of(bucket / "tune/trials").keys() == {"oracle.json"}
    assert not sizes_of(tmp_path / "chief"), "who trains nothing needs no records"
