"""Certify again from the records: edges, missing labels, sources, and the command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sqlalchemy import insert

from common.evidence import Side, log_evidence
from gate import Band, Label, Model, ModelStore
from gate.card import CardBand, CardClass, DiscardedShares, Interval, NoveltyThreshold, SplitMetrics
from lensgate.band_export import lost_promises, with_band
from lensgate.cli import main
from service.ids import new_id
from service.inference.model_loading import load_model
from service.records.store import Store
from service.records.tables import verdicts
from service.review.draws import Draws
from service.review.recertify import ClassRecertificate, Recertificate, candidates, certify_label, recertify
from service.review.served_version import ServedVersion
from service.settings import Settings
from tests.service.review.decisions import audited, fill
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import running_service

SERVED = ServedVersion("1", Band(0.4, 0.6), None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """SQLite alone: the tests of the audit read the same query from PostgreSQL."""
    store = Store(f"sqlite:///{tmp_path}/records.db")
    yield store
    store.close()


def judge(store: Store, count: int, *, errors: int = 0, **changes: Any) -> None:
    """Audited images of a label, the first of them labelled wrongly."""
    label = changes.setdefault("label", "glasses")
    records = fill(store, [audited(new_id(), **changes) for _ in range(count)], jpeg=None)
    other = {"glasses": "no_glasses", "no_glasses": "glasses"}[label]
    rows = [
        {"record": record, "verdict": other if at < errors else label, "reviewer": "Anna", "time": at}
        for at, record in enumerate(records)
    ]
    with store.begin() as connection:
        connection.execute(insert(verdicts), rows)


def found(store: Store, served: ServedVersion = SERVED, **terms: Any) -> Recertificate:
    with store.begin() as connection:
        return recertify(connection, served, **terms)


def glasses(store: Store, **terms: Any) -> ClassRecertificate:
    return found(store, **terms).classes[Label.GLASSES]


def test_an_edge_in_use_that_keeps_the_target_is_certified(store: Store) -> None:
    judge(store, 600, errors=1, probability=0.98)
    one = glasses(store)
    assert (one.certified, one.edge, one.images, one.errors, one.kept) == (True, 0.6, 600, 1, 1.0)
    assert 0.004 < one.bound < 0.01
    assert one.evidence == pytest.approx(
        np.exp(log_evidence([1] + [0] * 599, [1] * 600, target=0.01, side=Side.BELOW)[-1])
    )
    assert found(store).band.model_dump() == {"low": 0.4, "high": 0.6}


@pytest.mark.parametrize("target", [0.01, 0.0123, 0.05])
def test_the_bound_of_a_certified_label_is_at_most_its_target(target: float) -> None:
    """Also with the fewest verdicts that certify it, which exclude the target and hardly less."""
    needed = np.log(20)
    fewest = np.flatnonzero(log_evidence([0] * 2_000, [1] * 2_000, target=target, side=Side.BELOW) >= needed)[0]
    for images, certified in ((fewest, True), (fewest - 1, False)):
        draws = Draws(np.full(images, "glasses"), np.zeros(images), np.ones(images), np.full(images, 0.9))
        one = certify_label(draws, Label.GLASSES, 0.6, target=target, confidence=0.95)
        assert (one.certified, one.bound <= target) == (certified, certified)


def test_errors_near_the_band_lead_to_a_more_careful_edge(store: Store) -> None:
    judge(store, 600, probability=0.99)
    judge(store, 60, errors=20, probability=0.7)
    one = glasses(store)
    assert one.certified
    # The last candidate beyond which the images at 0.7 no longer are.
    assert one.edge == min(edge for edge in candidates(Label.GLASSES, 0.6) if edge >= 0.7)
    assert (one.images, one.errors) == (600, 0)
    assert one.kept == pytest.approx(600 / 660)
    assert found(store).band.high == one.edge


def test_lower_edge_is_certified_among_its_own_candidates(store: Store) -> None:
    judge(store, 600, label="no_glasses", probability=0.01)
    judge(store, 60, errors=20, label="no_glasses", probability=0.3)
    one = found(store)
    assert one.classes[Label.NO_GLASSES].edge == max(edge for edge in candidates(Label.NO_GLASSES, 0.4) if edge <= 0.3)
    assert (one.band.low, one.band.high) == (one.classes[Label.NO_GLASSES].edge, 0.6)


def test_too_few_labels_are_counted(store: Store) -> None:
    assert glasses(store).labels_needed == 372
    judge(store, 100, probability=0.98)
    before = glasses(store)
    assert not before.certified
    assert before.labels_needed is not None
    judge(store, before.labels_needed, probability=0.98)
    assert glasses(store).certified


def test_images_that_were_passed_over_are_among_the_missing_labels(store: Store) -> None:
    passed_over = fill(store, [audited(new_id(), label="glasses", probability=0.98) for _ in range(5)])
    judge(store, 400, probability=0.98)
    before = glasses(store)
    assert (before.certified, before.labels_needed) == (False, 5)
    rows = [{"record": record, "verdict": "glasses", "reviewer": "Anna", "time": 0} for record in passed_over]
    with store.begin() as connection:
        connection.execute(insert(verdicts), rows)
    assert glasses(store).certified


def test_a_risk_above_the_target_cannot_be_certified_by_any_number(store: Store) -> None:
    judge(store, 300, errors=9, probability=0.98)
    one = glasses(store)
    assert (one.certified, one.labels_needed) == (False, None)
    assert glasses(store, target_risk=0.1).certified


def test_a_single_error_at_the_start_does_not_end_the_sequence(store: Store) -> None:
    judge(store, 380, errors=1, probability=0.9999)
    judge(store, 400, probability=0.98)
    assert glasses(store).certified


def test_weights_of_the_draws_count(store: Store) -> None:
    judge(store, 600, probability=0.98)
    judge(store, 20, errors=10, probability=0.98, draw="claimed_error", draw_weight=0.01)
    assert glasses(store).certified
    judge(store, 20, errors=10, probability=0.98)
    assert not glasses(store).certified


def test_each_source_is_certified_by_its_own_images(store: Store) -> None:
    judge(store, 500, probability=0.98, source="good")
    judge(store, 500, errors=100, probability=0.98, source="bad")
    assert glasses(store, source="good").certified
    assert not glasses(store, source="bad").certified
    assert glasses(store, source="unknown").images == 0


def test_the_target_is_that_of_the_card_unless_given(store: Store) -> None:
    judge(store, 600, probability=0.98)
    assert glasses(store).target_risk == 0.01
    assert found(store, ServedVersion("1", Band(0.4, 0.6), 0.05)).classes[Label.GLASSES].target_risk == 0.05
    assert glasses(store, target_risk=0.02, confidence=0.99).target_risk == 0.02


def certify(store: Store, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    if not (folder / "models").exists():
        write_model(folder / "models", brightness_model(band=CardBand(low=0.4, high=0.6)))
    command = ["certify", "--models", str(folder / "models"), "--records-url", str(store), *options]
    return main(command), capsys.readouterr().out


@pytest.mark.parametrize("url", ["sqlite:///{}/absent.db", "off"])
def test_records_that_do_not_exist_are_not_created(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "models", brightness_model())
    command = ["certify", "--models", str(tmp_path / "models"), "--records-url", url.format(tmp_path)]
    assert main(command) == 1
    assert "name the service's with --records-url" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///{}/models/glasses/CURRENT", "file is not a database"),
        ("postgresql://u:secret@127.0.0.1:1/records", "Connection refused"),
    ],
    ids=["another file", "a server that is down"],
)
def test_records_that_cannot_be_read_are_one_line(
    url: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "models", brightness_model())
    command = ["certify", "--models", str(tmp_path / "models"), "--records-url", url.format(tmp_path)]
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lensgate: the record store is unavailable: ")
    assert reason in line
    assert "--records-url" in line
    assert "secret" not in line


def test_the_command_prints_the_band_or_what_is_missing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(store, 600, probability=0.98)
    status, said = certify(store, tmp_path, capsys)
    assert status == 1
    assert "glasses     certified: at most 1 % wrong (0 of 600 wrong at p > 0.6" in said
    assert "no_glasses  not certified for 1 %: about" in said
    assert "LENSGATE_BAND_LOW=0.4 LENSGATE_BAND_HIGH=0.6" in said
    judge(store, 600, label="no_glasses", probability=0.01, source="g")
    status, said = certify(store, tmp_path, capsys, "--json")
    assert status == 0
    assert json.loads(said)["classes"]["no_glasses"]["certified"]
    assert certify(store, tmp_path, capsys, "--source", "g")[0] == 1


def test_the_printed_band_and_promise_are_those_that_were_certified(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(store, 600, probability=0.9999999)
    judge(store, 60, errors=60, probability=0.9999)
    chosen = ("--target-risk", "0.01004", "--confidence", "0.9876543")
    _, printed = certify(store, tmp_path, capsys, *chosen, "--json")
    edge = json.loads(printed)["band"]["high"]
    _, said = certify(store, tmp_path, capsys, *chosen)
    assert "confidence 0.9876543 for each label" in said
    assert "certified: at most 1.004 % wrong" in said
    assert float(said.partition("LENSGATE_BAND_HIGH=")[2].split()[0]) == edge > 0.9999


def test_a_target_that_needs_too_many_labels_is_not_blamed_on_errors(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(store, 60, probability=0.98)
    _, said = certify(store, tmp_path, capsys, "--target-risk", "0.00001")
    assert said.count("not certified for 0.001 %: more than 20,000 more labels needed (0 of ") == 2
    judge(store, 60, errors=60, probability=0.98)
    _, said = certify(store, tmp_path, capsys)
    assert "not certified for 1 %: too many errors for 20,000 more labels (60 of 120 wrong" in said


def test_an_exported_band_is_promoted_and_served_with_its_certificate(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(store, 600, probability=0.99)
    judge(store, 60, errors=20, probability=0.7)
    judge(store, 600, label="no_glasses", probability=0.01)
    assert certify(store, tmp_path, capsys, "--export")[0] == 0
    models = ModelStore(tmp_path / "models")
    assert models.current() == "1"
    assert main(["models", "promote", "2", "--models", str(tmp_path / "models")]) == 0
    card, before = models.load().card, models.load("1")
    with running_service(loaded=load_model(models, Settings(models=tmp_path / "models"))) as service:
        shown = service.client.get("/v1/model").json()
        answer = service.post(encode(flat(180))).json()
    assert (answer["decision"], answer["model"]["version"]) == ("discard", "2")  # 180 / 255 was accepted before.
    assert answer["band"] == {"low": 0.4, "high": card.band.high}
    assert shown["band"]["verdicts"]["version"] == "1"
    assert card.band.verdicts
    assert all(evidence >= 20 for evidence in card.band.verdicts.evidence.values())
    classes = card.band.classes or {}
    assert [(one.certified, one.accepted, one.errors) for one in classes.values()] == [(True, 600, 0), (True, 600, 0)]
    assert all(0 < one.bound <= one.target_risk == card.band.target_risk for one in classes.values())
    assert card.training.commands[-1].startswith("lensgate certify")
    assert graph_without_card(models.load()) == graph_without_card(before)


def graph_without_card(model: Model) -> bytes:
    graph = onnx.load_from_string(model.graph)
    del graph.metadata_props[:]
    return bytes(graph.SerializeToString(deterministic=True))


def test_figures_of_another_band_are_left_out_of_the_exported_card(store: Store) -> None:
    seen = Interval(value=0.9, low=0.8, high=1.0)
    kinds = {"halves": DiscardedShares(images=9, discarded=seen, unfamiliar=seen)}
    metrics = SplitMetrics(images=9, accuracy=seen, log_loss=seen, coverage=seen, selective_accuracy=seen)
    sure = CardClass(certified=True, target_risk=0.01, accepted=400, errors=0, bound=0.0075)
    card: dict[str, Any] = {
        "band": CardBand(chosen_by="certified", classes=dict.fromkeys(Label, sure)),
        "metrics": {"test": metrics},
        "novelty_threshold": NoveltyThreshold(value=1.0, chosen_by="-", kinds=kinds),
    }
    judge(store, 600, probability=0.98)
    with store.begin() as connection:
        served = ServedVersion.of(brightness_model(**card).card, Band())
        found = recertify(connection, served)
    exported = with_band(brightness_model(**card), found, served, version="2", command="-").card
    assert exported.metrics["test"] == metrics.model_copy(update={"coverage": None, "selective_accuracy": None})
    assert exported.novelty_threshold
    assert exported.novelty_threshold.kinds == {}
    assert exported.band.target_risk is None
    assert lost_promises(brightness_model(**card).card, found) == [Label.NO_GLASSES]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--export", "--source", "g"], "leave --source out"),
        (["--export", "1"], "versions are never overwritten"),
        (["--export", "a/b"], "not a valid version name"),
        (["--export", "HISTORY"], "a file beside the versions"),
        (["--export", "--target-risk", "0.0001"], "no label is certified"),
    ],
)
def test_a_band_that_cannot_be_exported_leaves_no_version(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    judge(store, 600, probability=0.98, source="g")
    write_model(tmp_path / "models", brightness_model(band=CardBand(low=0.4, high=0.6)))
    assert main(["certify", "--models", str(tmp_path / "models"), "--records-url", str(store), *options]) == 1
    assert text in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "models/glasses").iterdir() if path.is_dir()] == ["1"]


def test_the_command_refuses_a_confidence_that_certifies_anything(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "models", brightness_model())
    asked = ["--records-url", str(store), "--confidence", "1e-320"]
    assert main(["certify", "--models", str(tmp_path / "models"), *asked]) == 1
    assert "--confidence must be from 0.5 to below 1, not " in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--target-risk", "2"), ("--confidence", "x"), ("--source", "a\nb")])
def test_the_command_refuses_values_out_of_range(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        certify(store, tmp_path, capsys, *option)
