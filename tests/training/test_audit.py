"""Labels that were turned over on purpose are found, shown to a person, and corrected by the table they edit."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gate import Label
from lensgate.cli import main
from tests.support.datasets import barred, half, write_dataset
from tests.support.images import encode
from training.data.dataset import Split, read_corrections, read_dataset
from training.data.folds import split_folds
from training.data.records import Records, load_records, write_records
from training.errors import DataError
from training.evaluation import label_audit as audit_module
from training.evaluation.label_audit import AUDIT_PRESET, Issue, audit, find_issues, write_issues
from training.model.checkpoint import TrainingProgress
from training.report.contact_sheet import write_contact_sheet

COUNT = 120
FLIPPED = {11, 22, 33, 44, 55, 66}
TINY = AUDIT_PRESET.changed(filters=(4,), batch_size=4, epochs=10, learning_rate=0.01, augment=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with the labels of some turned over in `train.csv`."""
    folder = write_dataset(tmp_path_factory.mktemp("data") / "bars", half(COUNT))
    table = folder / "train.csv"
    head, *lines = table.read_text().splitlines()
    turned = [line[:-1] + str(1 - int(line[-1])) if int(line.split(",")[0]) in FLIPPED else line for line in lines]
    table.write_text("\n".join([head, *turned]) + "\n")
    return folder


@pytest.fixture(scope="module")
def records(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Records:
    out = tmp_path_factory.mktemp("records")
    write_records([read_dataset(data)], out, sizes=[32], seed=0)
    return load_records(out, *Split)


@pytest.fixture(scope="module")
def audited(records: Records, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Issue]]:
    out = tmp_path_factory.mktemp("audit")
    return out, audit(records, out, preset=TINY, folds=2, seed=0)


def some(count: int = 4, *, data_sets: tuple[str, ...] = ("bars",)) -> Records:
    """As many records without a picture worth the name, labels alternating."""
    names = tuple(f"face-{index}" for index in range(count))
    sets = tuple(data_sets[index % len(data_sets)] for index in range(count))
    labels = (np.arange(count) % 2).astype(np.float32)
    return Records(np.zeros((count, 32, 32, 3), np.uint8), labels, names, sets, ("",) * count)


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_that_were_turned_over_are_found(audited: tuple[Path, list[Issue]]) -> None:
    _, issues = audited
    assert {int(issue.number) for issue in issues} == FLIPPED
    for issue in issues:
        shown = half(COUNT)[int(issue.number)]
        assert (issue.suggested is Label.GLASSES) == bool(shown)
        assert issue.given is not issue.suggested
        assert issue.score < 0.5


def test_issues_are_worst_first_and_scored_by_the_label_given() -> None:
    records = some(40)
    probability = np.where(records.labels == 1, 0.9, 0.1)
    probability[[3, 6]] = 0.05, 0.98
    issues = find_issues(records, probability)
    assert [(issue.name, issue.given, issue.suggested) for issue in issues] == [
        ("face-6", Label.NO_GLASSES, Label.GLASSES),
        ("face-3", Label.GLASSES, Label.NO_GLASSES),
    ]
    assert [issue.score for issue in issues] == pytest.approx([0.02, 0.05])


def test_labels_that_fit_raise_no_issue() -> None:
    records = some(40)
    assert find_issues(records, np.where(records.labels == 1, 0.9, 0.1)) == []


def test_folds_hold_each_picture_once_and_its_duplicates_with_it(records: Records) -> None:
    images = records.images.copy()
    images[50:54] = np.clip(images[0].astype(int) + np.arange(4)[:, None, None, None] * 2, 0, 255)
    parts = split_folds(replace(records, images=images), folds=3, seed=0)
    assert (np.sum(parts, axis=0) == 1).all()
    assert len({tuple(part[[0, 50, 51, 52, 53]]) for part in parts}) == 2
    for part in parts:
        assert records.labels[part].mean() == pytest.approx(0.5, abs=0.1)


def test_a_label_with_too_few_pictures_is_named(records: Records) -> None:
    few = records.select(np.flatnonzero(records.labels == 0)).relabelled((np.arange(COUNT // 2) < 2).astype(np.float32))
    with pytest.raises(DataError, match="2 distinct images are labelled glasses: too few for 3 folds"):
        split_folds(few, folds=3, seed=0)


def test_a_finished_fold_is_not_trained_again(
    audited: tuple[Path, list[Issue]], records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, issues = audited
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    trained: list[str] = []

    def count(*_: object, title: str, **__: object) -> None:
        trained.append(title)
        raise InterruptedError

    monkeypatch.setattr(audit_module, "train_network", count)
    assert audit(records, tmp_path, preset=TINY, folds=2, seed=0) == issues
    assert not trained
    turned = records.relabelled(1 - records.labels)
    for labels, preset, seed in ((records, TINY.changed(epochs=4), 0), (records, TINY, 1), (turned, TINY, 0)):
        with pytest.raises(InterruptedError):
            audit(labels, tmp_path, preset=preset, folds=2, seed=seed)
    assert len(trained) == 3


def test_an_audit_that_was_killed_goes_on_after_its_last_epoch(
    audited: tuple[Path, list[Issue]], records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, issues = audited
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    (tmp_path / "folds/round-1-fold-2.npz").unlink()
    epochs: list[int] = []
    step = TrainingProgress.on_epoch_end

    def dies_in_the_seventh(progress: TrainingProgress, epoch: int, logs: dict[str, float] | None = None) -> None:
        step(progress, epoch, logs)
        epochs.append(epoch)
        if len(epochs) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingProgress, "on_epoch_end", dies_in_the_seventh)
    with pytest.raises(KeyboardInterrupt):
        audit(records, tmp_path, preset=TINY, folds=2, seed=0)
    assert audit(records, tmp_path, preset=TINY, folds=2, seed=0) == issues
    assert epochs == list(range(TINY.epochs))  # The second round's folds are the same as they were, to the last bit.
    kept = {path.name for path in (tmp_path / "folds").iterdir()}
    assert kept == {f"round-{turn}-fold-{fold}.npz" for turn in (1, 2) for fold in (1, 2)}


def test_kept_proposals_correct_the_data_set(audited: tuple[Path, list[Issue]], data: Path, tmp_path: Path) -> None:
    _, issues = audited
    (proposal,) = write_issues(issues, tmp_path, data_sets=["bars"])
    assert proposal.name == "proposed_corrections.csv"
    corrected = read_dataset(data, corrections=proposal)
    assert corrected.problems == ()
    assert {int(one.name[5:]): int(bool(one.glasses)) for one in corrected.train} == half(COUNT)
    table = rows(tmp_path / "label_issues.csv")
    assert list(table[0]) == ["id", "given", "suggested", "score"]
    assert {int(row["id"]) for row in table} == FLIPPED
    assert [float(row["score"]) for row in table] == sorted(float(row["score"]) for row in table)


def test_several_data_sets_are_told_apart(tmp_path: Path) -> None:
    issues = [
        Issue(name, "face-7", given=Label.GLASSES, suggested=Label.NO_GLASSES, score=score)
        for name, score in (("a", 0.1), ("b", 0.2))
    ]
    proposals = write_issues(issues, tmp_path, data_sets=["a", "b", "c"])
    assert [(row["data_set"], row["id"]) for row in rows(tmp_path / "label_issues.csv")] == [("a", "7"), ("b", "7")]
    assert [path.name for path in proposals] == [f"{name}-proposed_corrections.csv" for name in "abc"]
    assert [len(rows(path)) for path in proposals] == [1, 1, 0]


@pytest.mark.parametrize(
    ("name", "given"),
    [("face-12", "12"), ("face-=cmd|calc", "face-=cmd|calc"), ("face-2.0", "face-2.0.png"), ("face-v2.0", "v2.0")],
)
def test_a_correction_finds_its_image_by_an_id_that_is_no_formula(tmp_path: Path, name: str, given: str) -> None:
    issue = Issue("a", name, given=Label.GLASSES, suggested=Label.NO_GLASSES, score=0.1)
    (proposal,) = write_issues([issue], tmp_path, data_sets=["a"])
    assert [row["id"] for path in (proposal, tmp_path / "label_issues.csv") for row in rows(path)] == [given] * 2
    assert list(read_corrections(proposal)) == [issue.name]


def test_a_network_learns_both_labels_however_many_are_doubted(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an image to learn from, its training would wait for a batch without end."""
    learned: list[int] = []

    def train(images: Records, *_: object, state: Path, **__: object) -> SimpleNamespace:
        learned.append(len(images))
        state.parent.mkdir(parents=True, exist_ok=True)
        state.touch()
        return SimpleNamespace(network=None)

    monkeypatch.setattr(audit_module, "train_network", train)
    monkeypatch.setattr(audit_module, "predict_logits", lambda _, images: np.zeros(len(images)))
    monkeypatch.setattr(audit_module, "find_label_issues", lambda *_, **__: np.ones(len(records), bool))
    audit(records, tmp_path, folds=2, seed=0)
    assert learned[2:] == learned[:2]
    assert min(learned) > 0


def test_contact_sheet_embeds_its_images_and_escapes_names(tmp_path: Path) -> None:
    issues = [
        Issue(name, f"face-{number}", given=Label.GLASSES, suggested=Label.NO_GLASSES, score=0.25)
        for number, name in enumerate(("<script>", '"quoted"'))
    ]
    images = {}
    for issue, (kind, size) in zip(issues, (("PNG", 64), ("JPEG", 400)), strict=True):
        image = tmp_path / f"{issue.name}.image"
        image.write_bytes(encode(barred(1, True, size), kind))
        images[issue.data_set, issue.name] = image
    page = write_contact_sheet(issues, tmp_path, images=images, audited=8, command="audit --out 'a&b'").read_text()
    assert len(re.findall(r'<img src="data:image/webp;base64,[A-Za-z0-9+/=]+"', page)) == 2
    assert not re.search(r"https?:|<script|<link|url\(|@import", page)
    assert "&lt;script&gt; 0" in page
    assert "&quot;quoted&quot; 1" in page
    assert "a&amp;b" in page
    assert "2 of 8 labels (25.0\N{NO-BREAK SPACE}%) contradict the image" in page
    assert "<span>25.0\N{NO-BREAK SPACE}%</span>" in page


def test_a_page_stops_at_the_worst_that_it_can_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.report.contact_sheet.LARGEST_SHEET", 1)
    image = tmp_path / "face-0.png"
    image.write_bytes(encode(barred(0, True)))
    issue = Issue("bars", "face-0", given=Label.NO_GLASSES, suggested=Label.GLASSES, score=0.1)
    page = write_contact_sheet([issue] * 3, tmp_path, images={("bars", "face-0"): image}, audited=9, command="-")
    assert page.read_text().count("<figure>") == 1
    assert "the worst 1 are below" in page.read_text()


def test_the_command_goes_the_whole_way(
    audited: tuple[Path, list[Issue]],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(audited[0], tmp_path, dirs_exist_ok=True)  # The folds are finished; all else is made.
    prepared = tmp_path / "records/manifest.json"
    prepared.parent.mkdir()
    prepared.write_text("of another step")
    monkeypatch.setattr(audit_module, "AUDIT_PRESET", TINY)
    command = ["train", "audit", "--data", str(data), "--out", str(tmp_path), "--folds", "2"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"6 of {COUNT} labels seem to contradict the image: {tmp_path / 'label_issues.html'}" in printed
    assert str(data / "corrections.csv") in printed
    assert prepared.read_text() == "of another step"
    assert {int(row["id"]) for row in rows(tmp_path / "label_issues.csv")} == FLIPPED
    assert (tmp_path / "label_issues.html").read_text().count("<figure>") == 6


def test_records_of_another_step_are_left_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--data", str(data), "--records", str(tmp_path / "records")]
    assert main(["train", "prepare", *command]) == 0
    assert main(["train", "audit", *command, "--out", str(tmp_path)]) == 1
    assert "choose a separate folder for the audit" in capsys.readouterr().err


def test_one_fold_is_refused_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "audit", "--data", "x", "--out", "y", "--folds", "1"])
    assert "at least 2 folds" in capsys.readouterr().err
