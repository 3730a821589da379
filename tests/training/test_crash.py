"""Killed at any step and run again, `lensgate train all` ends with a whole model; half of one is never taken for it."""

import subprocess
import sys
from functools import partial
from pathlib import Path

from gate import ModelStore
from gate.scorer import Scorer
from tests.support.datasets import half, write_dataset
from tests.support.servers import wait_until

# What is there as soon as a step is under way or has just ended.
MOMENTS = ("records/shards/*.json", "audit/folds/*", "fit/state.npz", "fit/calibration.json")


def begun(process: "subprocess.Popen[bytes]", work: Path, moment: str) -> bool:
    return any(work.glob(moment)) or process.poll() is not None


def test_a_chain_that_is_killed_again_and_again_ends_with_a_whole_model(tmp_path: Path) -> None:
    data, work, models = write_dataset(tmp_path / "bars", half(600)), tmp_path / "work", tmp_path / "models"
    command = [sys.executable, "-m", "lensgate", "train", "all", "--data", str(data), "--work", str(work)]
    command += ["--out", str(models), "--size", "32", "--epochs", "2", "--version", "7"]
    log = (tmp_path / "log").open("wb")
    for moment in MOMENTS:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(partial(begun, process, work, moment), timeout=240)
        process.kill()
        assert process.wait() != 0, (tmp_path / "log").read_text()
        assert ModelStore(models).versions() == []
    finished = subprocess.run(command, stdout=log, stderr=log, check=False)
    log.close()
    assert finished.returncode == 0, (tmp_path / "log").read_text()
    model = ModelStore(models).load()
    assert model.card.version == "7"
    Scorer(model, device="cpu")
    assert (work / "report.html").read_text().endswith("</html>\n")
    assert not list(work.rglob("*.partial*"))
