"""One page about a model: whole in itself, true to the card, and harmless whatever a data set is called."""

import hashlib
import html
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from common.errors import StorageError
from gate import Band, Label
from gate.card import CardBand, CardDataSet, CardVerdicts
from lensgate.cli import main
from tests.support.datasets import half, write_dataset
from tests.support.models import model_of, write_model
from tests.training.reports import (
    ESCAPED,
    SIZE,
    UNFAMILIAR,
    Made,
    graph,
    make_report,
    write_audit,
    write_comparison,
    write_study,
)
from training.data.dataset import Split, read_dataset
from training.data.records import Manifest, Records, read_rows, write_records
from training.errors import RecordsError
from training.evaluation.calibrate import exact_interval
from training.evaluation.guarantees import (
    CALIBRATION_FILE,
    CERTIFICATE_FILE,
)
from training.evaluation.novelty import HEAD_FILE
from training.evaluation.raw_band import RawBand
from training.evaluation.seeds import SeedMean, ValueSummary
from training.evaluation.selective_risk import selective_risk
from training.model.train import RUN_FILE, FitRun
from training.report import PAGE_FILE, training_run, write_report
from training.report.comparisons import studies
from training.report.evidence import Evidence
from training.report.formatting import edges, number, percent, probability, share
from training.report.image_files import ImageFiles
from training.report.page import Html, Section, render
from training.report.selection import _marks
from training.search.study import StudyResult


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_report(tmp_path_factory.mktemp("report"))


def part(page: str, name: str) -> str:
    """The markup of one section."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    assert found, f"the page has no section {name}"
    return found[1]


def section(page: str, name: str) -> str:
    """The text of one section, figures and markup left out."""
    text = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", part(page, name), flags=re.DOTALL)
    return re.sub(r"\s+", " ", text).replace("\xa0", " ")


class Elements(HTMLParser):
    """Every element of a page with its attributes, as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def test_the_page_fetches_nothing_and_runs_nothing(made: Made) -> None:
    elements = Elements(made.page).found
    policy = next(one for tag, one in elements if "http-equiv" in one)
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    attributes = [item for _, one in elements for item in one.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    targets = [value for name, value in attributes if name in {"src", "xlink:href", "srcset", "action", "data"}]
    assert len(targets) > 100
    assert all(target.startswith(("#", "data:image/webp;base64,")) for target in targets)
    links = [one["href"] for tag, one in elements if tag == "a"]
    assert all(target.startswith(("#", "file:///")) for target in links)
    assert all("href" not in one for tag, one in elements if tag not in {"a", "use"})
    assert not re.search(r"https?://|url\((?!#)|@import", made.page)
    assert len(made.page) < 5_000_000


def test_whatever_a_data_set_is_called_it_is_text(made: Made) -> None:
    assert ESCAPED in made.page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in section(made.page, "data")
    assert "a &amp; &lt;b&gt;" in section(made.page, "repeat").replace("&#x27;", "'")


def test_every_link_of_the_contents_leads_to_a_section(made: Made) -> None:
    links = re.findall(r'<a href="#([\w-]+)">', made.page)
    assert links == re.findall(r'<section id="([\w-]+)">', made.page)
    expected = "data training results mistakes calibration certificate band unfamiliar discarded issues studies"
    assert links == [*expected.split(), "comparison", "maps", "repeat"]


def test_the_top_says_what_the_card_says(made: Made) -> None:
    top = re.search(r"<header>(.*?)</header>", made.page, re.DOTALL)
    assert top
    (metrics,) = made.card.metrics.values()
    labels = made.card.data[0].images["test"].values()
    assert metrics.selective_accuracy
    assert metrics.coverage
    assert 0 < metrics.coverage.value < 1
    for written in (
        *map(share, (metrics.accuracy, metrics.coverage, metrics.selective_accuracy, metrics.unfamiliar)),
        number(metrics.log_loss),
        f"the accuracy is {percent(metrics.accuracy.value)}",
        f"reach {percent(max(labels) / sum(labels))}",
        f"accepts {percent(metrics.coverage.value)}",
        f"{made.card.band.low:g} to {made.card.band.high:g}, certified",
        "2 January 2026",
        "Of the images accepted as glasses at most 90 % are labelled wrongly with confidence 0.5",
        "40 outliers of",
    ):
        assert written in top[1]


def test_every_test_image_is_counted_once_by_what_became_of_it(made: Made) -> None:
    rows = re.findall(
        r"<tr>(.*?)</tr>", made.page[made.page.index('id="results"') : made.page.index('id="calibration"')]
    )
    counts = np.array([[int(cell) for cell in re.findall(r'class="number">(\d+)<', row)] for row in rows[1:]])
    (metrics,) = made.card.metrics.values()
    assert counts.shape == (2, 5)
    assert (counts[:, 0] == counts[:, 1:].sum(axis=1)).all()
    assert counts[:, 0].sum() == metrics.images
    assert metrics.coverage
    assert counts[:, 1:3].sum() / metrics.images == metrics.coverage.value
    assert counts[:, 4].sum() > 0


def test_every_mistake_is_named_with_a_link_to_its_file(made: Made) -> None:
    found = re.findall(r'<div class="mistake">(.*?)</div></div>', part(made.page, "mistakes"))
    (metrics,) = made.card.metrics.values()
    of_test = [one for one in found if f" · {Split.TEST}<" in one]
    assert len(of_test) == round((1 - metrics.accuracy.value) * metrics.images) > 0
    labels = {row.name: row for row in read_rows(made.sources.records)}
    assert len(found) > len(of_test)
    for one in found:
        url, name = re.findall(r'<a href="(file:[^"]+)">([^<]+)</a>', one)[0]
        path = Path(unquote(urlsplit(html.unescape(url)).path))
        row = labels[path.stem]
        assert path.name == name and hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
        said, other = ("glasses", "no glasses") if row.glasses else ("no glasses", "glasses")
        assert f"label {said}, predicted <b>{other}</b>" in one
        assert f" · {row.split}<" in one
        assert re.search(r"probability (&lt; )?0\.\d{4,8}, (accept: confident|discard: (uncertain|unfamiliar))<", one)
        assert html.escape(str(path)) in one.replace("<wbr>", "")


def test_a_file_that_has_changed_is_not_linked_and_a_moved_folder_is_named(made: Made, tmp_path: Path) -> None:
    manifest = Manifest.read(made.sources.records)
    ((name, folder),) = manifest.folders.items()
    row = read_rows(made.sources.records)[0]
    moved = shutil.copytree(folder, tmp_path / name)
    path = ImageFiles.of(made.sources.records, manifest, [moved]).find(name, row.name)
    assert path and path.is_relative_to(moved)
    path.write_bytes(b"another image")
    assert ImageFiles.of(made.sources.records, manifest, [moved]).find(name, row.name) is None
    assert ImageFiles.of(made.sources.records, manifest, [tmp_path / "gone" / name]).missing == [name]
    with pytest.raises(RecordsError, match="not elsewhere"):
        ImageFiles.of(made.sources.records, manifest, [tmp_path / "elsewhere"])


def test_the_data_are_counted_and_what_was_left_out_is_named(made: Made) -> None:
    text = section(made.page, "data")
    for split, labels in made.card.data[0].images.items():
        total = sum(labels.values())
        assert f"{split} {total} {labels[Label.GLASSES]} {100 * labels[Label.GLASSES] / total:.1f} %" in text
    assert "1 remark on files and splits" in text


def test_training_names_the_epoch_that_was_kept_and_the_settings(made: Made) -> None:
    text = section(made.page, "training")
    assert "3 epochs over" in text
    assert "Epoch 2 was selected: it has the lowest validation loss." in text
    assert "filters 2 4" in text
    assert "patience 2" in text


def test_the_band_in_use_is_held_against_the_papers_on_both_splits(made: Made) -> None:
    text = section(made.page, "band")
    band = f"{made.card.band.low:g} to {made.card.band.high:g}"
    accepted, errors = made.card.band.accepted, made.card.band.errors
    assert accepted is not None
    images = sum(made.card.data[0].images["calibration"].values())
    # Of the familiar images, as in all rows.
    kept = share(exact_interval(accepted, images)).replace("\xa0", " ")
    assert f"calibration in use, {band} {accepted} {errors} {kept} " in text
    assert made.card.band.coverage == accepted / (images + UNFAMILIAR)
    assert text.count("in use, ") == text.count("the paper&#x27;s, 0.4 to 0.6") == 2
    shown = section(made.page, "certificate")
    for label in Label:
        assert f"Tested edges of {label}, most careful first: 1" in shown
        assert f"Of the images accepted as {label} at most 90 % are labelled wrongly" in shown
        assert f"{label} is not certified at 1 %" in shown
    assert "scored by 3 networks of one recipe" in shown
    assert "The served network alone" in shown
    assert "With the band in use it accepts" in shown
    assert "63.5 %" in shown


def test_kinds_that_are_no_portrait_have_the_cards_shares(made: Made) -> None:
    text = section(made.page, "unfamiliar")
    assert "black 40 100.0 % [91.2, 100.0] 22.5 % [12.3, 37.6]" in text
    assert "One image of each kind" in text


def test_discarded_images_are_shown_by_reason(made: Made) -> None:
    text = section(made.page, "discarded")
    (metrics,) = made.card.metrics.values()
    assert metrics.unfamiliar
    assert metrics.selective_accuracy
    assert metrics.coverage
    shown = {
        reason: int(amount) for amount, reason in re.findall(r"(\d+) of \d+ test images \(\d+\.\d %\) are (\w+):", text)
    }
    wrong = (1 - metrics.selective_accuracy.value) * metrics.coverage.value
    assert min(shown.values()) > 0
    assert shown["unfamiliar"] == pytest.approx(metrics.unfamiliar.value * metrics.images)
    assert shown["contradicted"] == pytest.approx(wrong * metrics.images)
    assert shown["uncertain"] + shown["unfamiliar"] == pytest.approx((1 - metrics.coverage.value) * metrics.images)


def test_doubtful_labels_studies_and_comparisons_are_shown_where_given(made: Made) -> None:
    assert "The 25 most doubtful of 29 labels" in section(made.page, "issues")
    study = section(made.page, "studies")
    assert "32 1 20 90.0 % 0.200 - 2.0" in study
    assert "The log loss is 0.1250 higher with 32 than with &lt;64&gt; (p 0.010)." in study
    assert "Failed: 32, seed 1." in study
    compared = section(made.page, "comparison")
    assert "runs/&lt;two&gt; 32 1,234 1 95.8 % [79.7, 99.3] 0.100 [0.050, 0.200]" in compared
    assert "Wrong only with runs/&lt;two&gt;: 0 images; wrong only with runs/one: 2 (McNemar" in compared


def test_report_names_everything_that_repeats_the_training(made: Made) -> None:
    text = section(made.page, "repeat")
    for written in (made.card.sha256, made.card.training.records, made.card.data[0].fingerprint, "Seed of the fit 3"):
        assert written in text


def test_edges_near_1_keep_their_digits() -> None:
    assert edges(Band(0.4, 0.6)) == "0.4 to 0.6"
    assert edges(Band(1.5e-9, 0.99999996)) == "1.5e-09 to 0.99999996"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"),
        (9e-8, "< 0.001"),
        (0.04988, "0.04988"),
        (0.05, "0.050"),
        (0.5, "0.500"),
        (0.99956286, "0.9996"),
        (0.999994, "0.9999940"),
        (0.99999857, "0.999999"),
        (0.9999995, "> 0.999999"),
        (1.0, "1.000"),
    ],
)
def test_a_probability_is_shown_on_its_side_of_the_band(value: float, shown: str) -> None:
    assert probability(value, Band(0.0499, 0.99999467)) == shown


def test_a_band_that_accepts_no_image_is_not_drawn_as_one_without_errors() -> None:
    none = selective_risk(np.array([0.5, -0.5]), np.array([1, 0]), RawBand(low=-1, high=1))
    some = selective_risk(np.array([0.5, -2.0]), np.array([1, 0]), RawBand(low=-1, high=1))
    marks = _marks(cast(Evidence, SimpleNamespace(certified=None)), "test", {"none": none, "some": some})
    assert [(one.name, one.coverage, one.risk) for one in marks] == [("some", 0.5, 0.0)]


def test_few_images_are_not_shown_as_none_nor_most_as_all() -> None:
    shares = (0.0, 1e-9, 0.0004, 0.0006, 0.5, 0.9994, 0.9999, 1.0)
    shown = ["0.0", "< 0.1", "< 0.1", "0.1", "50.0", "99.9", "> 99.9", "100.0"]
    assert [percent(one) for one in shares] == [f"{one}\xa0%" for one in shown]
    assert percent(0.00004, decimals=2) == "< 0.01\xa0%"
    assert share(exact_interval(99_999, 100_000)) == "> 99.9\xa0% [99.9, 100.0]"
    assert share(exact_interval(9, 9)).endswith("[66.3, 100.0]")
    assert share(exact_interval(0, 10**6)) == "0.0\xa0% [0.0, 0.1]"


def test_the_same_inputs_give_the_same_page(made: Made, tmp_path: Path) -> None:
    assert write_report(made.sources, tmp_path / "again.html").read_text() == made.page


def test_report_of_an_uncalibrated_run_names_the_missing_steps(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command, on an uncalibrated run, with every figure saved."""
    run = tmp_path / "a run"
    shutil.copytree(made.sources.run, run)
    for name in (CALIBRATION_FILE, CERTIFICATE_FILE, HEAD_FILE):
        (run / name).unlink()
    plain = made.card.text().model_copy(update={"band": CardBand(), "novelty_threshold": None, "version": "plain"})
    write_model(tmp_path / "models", model_of(graph(), plain))
    command = ["train", "report", "--records", str(made.sources.records), "--run", str(run)]
    out = ["--models", str(tmp_path / "models"), "--version", "plain", "--out", str(tmp_path / "page")]
    assert main([*command, *out, "--figures", str(tmp_path / "figures")]) == 0
    assert str(tmp_path / "page" / PAGE_FILE) in capsys.readouterr().out
    page = (tmp_path / "page" / PAGE_FILE).read_text()
    assert "there is no guarantee for the accepted images" in page
    assert "calibration in use" not in section(page, "band")
    absent = section(page, "absent")
    for step in ("calibrate", "certify", "audit", "study", "compare"):
        assert f"lensgate train {step} " in absent
    assert f"--run &#x27;{run}&#x27;" in absent
    for name in ("calibration", "certificate", "unfamiliar", "issues", "studies", "comparison"):
        assert f'<section id="{name}">' not in page
    saved = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(saved) == len(re.findall("<figure[ >]", page))
    assert all(re.fullmatch(r"\d\d-[A-Za-z0-9-]+\.png", name) for name in saved)
    assert (tmp_path / "figures" / saved[0]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "advice"),
    [({"seed": 4}, "another run"), ({"records": "0"}, "another run")],
    ids=["the seed differs", "the records differ"],
)
def test_a_run_that_the_model_is_not_of_is_refused(
    made: Made, tmp_path: Path, changes: dict[str, object], advice: str
) -> None:
    run = shutil.copytree(made.sources.run, tmp_path / "run")
    (run / RUN_FILE).write_text(FitRun.read(run).model_copy(update=changes).model_dump_json())
    with pytest.raises(RecordsError, match=advice):
        write_report(replace(made.sources, run=run), tmp_path)


def test_records_that_the_model_did_not_learn_from_are_refused(made: Made, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "other", half(60))
    write_records([read_dataset(data)], tmp_path / "records", sizes=[SIZE], seed=0)
    with pytest.raises(RecordsError, match="other records"):
        write_report(replace(made.sources, records=tmp_path / "records"), tmp_path)


def test_report_refuses_a_model_exported_before_certify(made: Made, tmp_path: Path) -> None:
    write_model(tmp_path, model_of(graph(), made.card.text().model_copy(update={"band": CardBand()})))
    with pytest.raises(RecordsError, match="train export"):
        write_report(replace(made.sources, models=tmp_path), tmp_path)


def test_a_band_of_verdicts_is_traced_to_the_version_that_they_are_about(made: Made, tmp_path: Path) -> None:
    verdicts = CardVerdicts(version="7", low=0.3, high=0.7, evidence={})
    text = made.card.text().model_copy(update={"band": made.card.band.model_copy(update={"verdicts": verdicts})})
    write_model(tmp_path, model_of(graph(), text))
    with pytest.raises(RecordsError, match="--version 7"):
        write_report(replace(made.sources, models=tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace(",", ";"), "its cells are separated by semicolons.*or run `lensgate train audit`"),
        (lambda text: text.replace("0.002", "much"), "line 2 is not as the audit wrote it"),
        (lambda text: text + "61,glasses\n", "line 31 is not as the audit wrote it"),
    ],
    ids=["semicolons", "no number", "a short row"],
)
def test_a_table_of_issues_that_was_edited_is_named(
    made: Made, tmp_path: Path, change: Callable[[str], str], fault: str
) -> None:
    table = write_audit(tmp_path / "audit") / "label_issues.csv"
    table.write_text(change(table.read_text()))
    with pytest.raises(RecordsError, match=fault):
        write_report(replace(made.sources, audit=table.parent), tmp_path)


@pytest.mark.parametrize("step", ["audit", "study", "compare"])
def test_a_folder_that_holds_nothing_is_an_error_that_names_the_step(made: Made, tmp_path: Path, step: str) -> None:
    changes = {
        "audit": replace(made.sources, audit=tmp_path),
        "study": replace(made.sources, studies=(tmp_path,)),
        "compare": replace(made.sources, comparison=tmp_path),
    }
    with pytest.raises(RecordsError, match=f"run `lensgate train {step}` first"):
        write_report(changes[step], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["study", "compare"])
def test_a_result_on_other_records_is_refused(made: Made, tmp_path: Path, step: str) -> None:
    sources = replace(made.sources, studies=(), comparison=None)
    if step == "study":
        sources = replace(sources, studies=(write_study(tmp_path / "other", "f" * 64),))
    else:
        sources = replace(sources, comparison=write_comparison(tmp_path / "other", "f" * 64))
    with pytest.raises(RecordsError, match=f"about other records than the report: run `lensgate train {step}`"):
        write_report(sources, tmp_path)


@pytest.mark.parametrize("kind", ["page", "figures"])
def test_unwritable_report_is_refused_before_images_are_scored(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("training.report.gather", lambda _: pytest.fail("scored"))
    (tmp_path / "file").touch()
    places = (tmp_path / "file", None) if kind == "page" else (tmp_path, tmp_path / "file")
    with pytest.raises(StorageError, match="file is not a folder: name another place"):
        write_report(made.sources, places[0], figures=places[1])


def test_a_data_set_whose_images_are_all_copies_has_no_examples() -> None:
    """An auxiliary set may hold copies of a main one alone; its images are left out of the records."""
    portraits = Records(
        np.zeros((2, 32, 32, 3), np.uint8), np.array([0, 1], np.float32), ("a", "b"), ("bars",) * 2, ("",) * 2
    )
    empty, bars = (
        CardDataSet(name=name, fingerprint="", source="", licence="", images={}) for name in ("copies", "bars")
    )
    evidence = SimpleNamespace(
        card=SimpleNamespace(data=(bars, empty)), train=portraits, manifest=SimpleNamespace(problems=())
    )
    shown = training_run.data(cast(Evidence, evidence))
    assert [figure.name for figure in shown.figures()] == ["labels-bars"]
    assert "copies" in render("", Html(""), [shown])


def test_a_study_with_one_run_of_each_value_tested_no_difference() -> None:
    point = SeedMean(value=0.9)
    summaries = tuple(
        ValueSummary(
            value=value,
            runs=1,
            accuracy=point,
            log_loss=point,
            seconds=None,
            bytes=1,
            images=20,
            standard_error=0.1,
        )
        for value in ("32", "64")
    )
    study = StudyResult(
        kind="resolution", records="", settings={}, runs=(), failed=(), summaries=summaries, differences=()
    )
    found = studies(cast(Evidence, SimpleNamespace(studies=[study])))
    assert isinstance(found, Section)
    text = " ".join(map(str, found.parts))
    assert "No difference was tested: each value has one run." in text
    assert "significant" not in text
