"""Killed at any step and run again, `lensgate train all` ends with a complete model and never accepts half of one."""

import os
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from gate import ModelStore
from gate.scorer import Scorer
from lensgate.cli import main
from tests.support.datasets import barred, half, write_dataset
from tests.support.images import encode
from tests.support.servers import wait_until
from training import cli as steps
from training.evaluation import label_audit, novelty

# Each file exists as soon as a step is under way or has just ended.
MOMENTS = ("records/shards/*.json", "audit/folds/*", "fit/state.npz", "fit/calibration.json")


def chain(arguments: list[str], log: Path) -> None:
    """Run the command in this process, with a short audit and novelty fit, and print to `log`."""
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    # Too few to be useful, but the same code path.
    steps.audit.FOLDS, label_audit.ROUNDS, novelty.EPOCHS, novelty.OUTLIERS = 2, 1, 1, 20
    label_audit.AUDIT_PRESET = label_audit.AUDIT_PRESET.changed(filters=(4,), augment=0.0)
    sys.exit(main(arguments))


def begun(process: BaseProcess, work: Path, moment: str) -> bool:
    return any(work.glob(moment)) or not process.is_alive()


def test_chain_killed_at_every_step_ends_with_a_complete_model(
    fork: Callable[..., BaseProcess], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, work, models = write_dataset(tmp_path / "bars", half(320)), tmp_path / "work", tmp_path / "models"
    (data / "faces-spring-2020/faces-spring-2020/face-17.png").write_bytes(encode(barred(17, True))[:200])
    arguments = ["train", "all", "--data", str(data), "--work", str(work), "--out", str(models)]
    arguments += ["--size", "32", "--epochs", "2", "--version", "7", "--batch-size", "64", "--augment", "0"]
    arguments += ["--licence", "bars=public domain", "--source", "bars=made for a test"]
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
    printed = log.read_text()
    assert finished.exitcode == 0, printed
    assert "face-17.png is left out" in printed
    assert "log loss [95 %]" in printed
    assert [f"{number}/7 " in printed for number in range(1, 8)] == [True] * 7
    assert printed.endswith(f"next: lensgate serve --models {models}\n")
    model = ModelStore(models).load()
    assert model.card.version == "7"
    assert (model.card.data[0].source, model.card.data[0].licence) == ("made for a test", "public domain")
    assert model.card.training.settings["batch_size"] == 64
    Scorer(model, device="cpu")
    assert (work / "report.html").read_text().endswith("</html>\n")
    assert {path.name for path in work.rglob(".*")} <= {".lensgate.lock", ".lensgate-all.lock"}
    assert main(["models", "verify", "7", "--models", str(models)]) == 0
    assert main(["train", "evaluate", "--records", str(work / "records"), "--models", str(models)]) == 0
    assert "bars" in capsys.readouterr().out
