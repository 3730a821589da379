"""Killed at any step and run again, `lensgate train all` ends with a complete model and never accepts half of one."""

import os
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from gate import ModelStore
from gate.scorer import Scorer
from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from tests.support.servers import wait_until
from training import cli as steps
from training.evaluation import novelty

# Each file exists as soon as a step is under way or has just ended.
MOMENTS = ("records/shards/*.json", "audit/folds/*", "fit/state.npz", "fit/calibration.json")


def chain(arguments: list[str], log: Path) -> None:
    """Run the command in this process, with a short audit and novelty fit, and print to `log`."""
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    steps.audit.FOLDS, novelty.EPOCHS = 2, 1
    sys.exit(main(arguments))


def begun(process: BaseProcess, work: Path, moment: str) -> bool:
    return any(work.glob(moment)) or not process.is_alive()


def test_chain_killed_at_every_step_ends_with_a_complete_model(
    fork: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    data, work, models = write_dataset(tmp_path / "bars", half(600)), tmp_path / "work", tmp_path / "models"
    arguments = ["train", "all", "--data", str(data), "--work", str(work), "--out", str(models)]
    arguments += ["--size", "32", "--epochs", "2", "--version", "7"]
    log = tmp_path / "log"
    for moment in MOMENTS:
        process = fork(chain, arguments, log)
        wait_until(partial(begun, process, work, moment), timeout=1200)
        process.kill()
        process.join()
        assert process.exitcode != 0, log.read_text()
        assert ModelStore(models).versions() == []
    finished = fork(chain, arguments, log)
    finished.join()
    assert finished.exitcode == 0, log.read_text()
    model = ModelStore(models).load()
    assert model.card.version == "7"
    Scorer(model, device="cpu")
    assert (work / "report.html").read_text().endswith("</html>\n")
    assert not list(work.rglob("*.partial*"))
