"""The scaling commands run and print their tables, and docs/operation/scaling.md holds the same tables."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.scaling import bulk, check, databases, measured, nginx, pair, plan, predicted_vs_measured, scenarios
from bench.scaling import cost_command as cost
from bench.scaling import measure_command as measure
from bench.scaling import simulate_command as simulate
from bench.scaling.inputs import Inputs
from bench.scaling.pair import Expense
from bench.scaling.predicted_vs_measured import Figures, ImageCost, PredictionRow, capacity, predict
from bench.scaling.processor import taken_by_others
from bench.scaling.replica_failure import SIGNALS, SignalOutcome
from bench.scaling.routes import kinds
from bench.scaling.tables import DocumentError, blocks, by_name, number, power, refresh
from bench.serving.openloop import LoadPlan
from gate import ModelStore
from tests.conftest import ROOT

DOCUMENT = ROOT / "docs/operation/scaling.md"
SAMPLES = ROOT / "samples"


@pytest.fixture
def has_nginx() -> None:
    """Nginx is there; where `CI` is set it has to be."""
    if nginx.program() is None:
        reason = "this test needs nginx: make tools installs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def test_the_document_holds_the_plan_that_the_command_prints() -> None:
    wanted = {**by_name(plan.tables(measured.load(), Inputs())), "nginx": nginx.example()}
    found = blocks(DOCUMENT)
    assert {name: found.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("study", simulate.STUDIES, ids=lambda study: study.name)
def test_the_document_holds_the_simulated_tables(study: simulate.FleetStudy) -> None:
    replicas = study.replicas[study.replicas.index(2)]
    row = study.row(replicas, simulate.mix_of(measured.load()))
    assert f"| {' | '.join(row)} |" in blocks(DOCUMENT)[study.name].splitlines()


def test_every_table_of_the_document_is_made_by_a_command() -> None:
    made = {table.name for table in plan.tables(measured.load(), Inputs())}
    made |= {"nginx", "checked", "checked-end", *(study.name for study in simulate.STUDIES)}
    found = blocks(DOCUMENT)
    assert set(found) == made
    assert len(found["checked"].splitlines()) == 2 + len(check.LOADS) * len(nginx.METHODS)
    assert len(found["checked-end"].splitlines()) == 2 + len(SIGNALS)


def test_costs_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "scaling.md"
    shutil.copy(DOCUMENT, document)
    assert cost.main(["--write", str(document)]) == 0
    assert document.read_text() == DOCUMENT.read_text()
    usual = capsys.readouterr().out
    assert cost.main(["--core-hour", "0.4"]) == 0
    dear = capsys.readouterr().out
    assert [line.split("|")[1] for line in dear.splitlines() if "|" in line] == [
        line.split("|")[1] for line in usual.splitlines() if "|" in line
    ]
    assert dear != usual


def test_files_at_fault_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"taken": 1}')
    for given in (other, tmp_path / "none.json"):
        for command in (cost.main, simulate.main):
            assert command(["--measured", str(given)]) == 1
            assert f"{given}" in (said := capsys.readouterr().err)
            assert "bench.scaling.measure_command --out" in said
    document = tmp_path / "empty.md"
    document.write_text("nothing")
    assert cost.main(["--write", str(document)]) == 1
    assert "<!-- measured-paths -->" in capsys.readouterr().err
    assert document.read_text() == "nothing"


def test_a_document_s_blocks_are_replaced_alone(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("a\n<!-- one -->\nold\n<!-- / -->\nb\n<!-- two -->\n<!-- / -->\nc\n")
    refresh(document, {"one": "new\\1", "two": "| x |"})
    assert document.read_text() == "a\n<!-- one -->\nnew\\1\n<!-- / -->\nb\n<!-- two -->\n| x |\n<!-- / -->\nc\n"
    assert blocks(document) == {"one": "new\\1", "two": "| x |"}
    with pytest.raises(DocumentError, match="no place for three"):
        refresh(document, {"three": ""})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,230,000"),
        (12.34, "12.3"),
        (0.012345, "0.0123"),
        (999.6, "1,000"),
        (9.999, "10.0"),
        (math.nan, "-"),
    ],
)
def test_numbers_are_written_with_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_powers_of_ten_are_written_as_such() -> None:
    assert [power(value) for value in (1e5, 1e9, 2e5)] == ["10^5", "10^9", "200,000"]


def test_the_simulation_prints_and_writes_all_its_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scenarios, "MIN_IMAGES", 200)
    monkeypatch.setattr(scenarios, "IMAGES_EACH", 10)
    document = tmp_path / "scaling.md"
    shutil.copy(DOCUMENT, document)
    assert simulate.main(["--write", str(document)]) == 0
    printed = capsys.readouterr().out
    for study in simulate.STUDIES:
        block = blocks(document)[study.name]
        assert block in printed
        assert [line.split("|")[1].strip() for line in block.splitlines()[2:]] == [str(one) for one in study.replicas]


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        (simulate.main, ["--png", "1.5"], "not a share"),
        (simulate.main, ["--png", "0.5", "--write", "a.md"], "leave out --png"),
        (cost.main, ["--core-hour", "1", "--write", "a.md"], "leave out the others"),
        (cost.main, ["--load", "1.5"], "--load 1.5 is not from 0.01 to 1"),
        (cost.main, ["--peak", "0.5"], "--peak 0.5 is not from 1 to inf"),
        (measure.main, ["--rows", "7"], "7 is less than 8"),
        (measure.main, ["--rounds", "0"], "0 is less than 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    command: Callable[[list[str]], int], given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(given)
    assert said in capsys.readouterr().err


FIGURES = Figures(100.0, 10.0, 50.0)


def test_a_row_agrees_if_all_figures_are_within_tolerance() -> None:
    row = PredictionRow("round robin", 0.5, 100.0, Figures(110.0, 12.0, 40.0), FIGURES, others=0.0)
    assert [round(row.off(name), 3) for name in predicted_vs_measured.MAX_OFF] == [0.1, 0.2, -0.2]
    assert row.agrees
    assert row.cells() == ["round robin", "0.5", "100", "110 / 100 (+10%)", "12.0 / 10.0 (+20%)", "40.0 / 50.0 (-20%)"]
    for other in (Figures(120.0, 10.0, 50.0), Figures(100.0, 13.0, 50.0), Figures(100.0, 10.0, float("nan"))):
        assert not PredictionRow("round robin", 0.5, 100.0, other, FIGURES, others=0.0).agrees
    assert not PredictionRow("round robin", 0.5, 100.0, FIGURES, Figures(0.0, 10.0, 50.0), others=0.0).agrees
    assert SignalOutcome("SIGKILL", 5, 5).agrees
    assert not SignalOutcome("SIGKILL", 5, 4).agrees


def test_the_prediction_for_few_images_is_the_time_of_one() -> None:
    pictures = [ImageCost(1000, 6.0), ImageCost(1000, 8.0)]
    expense = Expense(replica=9.0, between=1.0)
    plan = LoadPlan(1, rate=2.0, seconds=10.0, poisson=False)
    alone = predict(plan, pictures, expense, method="round robin", is_alone=True)
    # 2 ms of all else, and 1 ms before the replica has it.
    assert [alone.goodput, alone.p50, alone.p99] == pytest.approx([2.0, 9.0, 11.0])
    shared = predict(plan, pictures, expense, method="round robin", is_alone=False)
    assert shared.p99 == pytest.approx(10.0 / (1 - 0.001) + 1.0)
    assert capacity(expense, is_alone=True) == pytest.approx(2_000 / 9)
    assert capacity(expense, is_alone=False) == pytest.approx(200)


def test_the_share_of_others_excludes_idle_time_and_ours() -> None:
    before = [0, 0, 0, 0, 0, 0, 0, 0]
    after = [300, 0, 100, 500, 50, 0, 0, 50]
    second = os.sysconf("SC_CLK_TCK")
    assert taken_by_others(before, after, ours=200 / second) == pytest.approx(0.25)
    assert taken_by_others(before, after, ours=2_000 / second) == 0.0
    assert taken_by_others(before, before, ours=0.0) == 0.0


def test_a_check_needs_nginx_and_two_cores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert check.main(["--images", str(SAMPLES)]) == 2
    assert "a core of its own" in capsys.readouterr().err
    monkeypatch.setattr(nginx, "program", lambda: None)
    assert check.main(["--images", str(SAMPLES)]) == 2
    assert "nginx is not installed" in capsys.readouterr().err


@pytest.mark.usefixtures("has_nginx")
def test_replicas_are_compared_with_their_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nginx, "METHODS", {"least connections": "least_conn;"})
    monkeypatch.setattr(check, "LOADS", (0.3,))
    monkeypatch.setattr(check, "SIGNALS", [signal.SIGKILL])
    document = tmp_path / "scaling.md"
    shutil.copy(DOCUMENT, document)
    status = check.main(["--images", str(SAMPLES), "--seconds", "0.5", "--write", str(document)])
    printed = capsys.readouterr().out
    assert status == int("missed:" in printed)
    found = blocks(document)
    assert found["checked"].splitlines()[2].startswith("| least connections | 0.3 |")
    assert found["checked-end"].splitlines()[2].startswith("| SIGKILL |")
    assert found["checked"] in printed


@pytest.mark.usefixtures("has_nginx")
def test_the_cost_of_an_image_is_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "kinds", lambda *given: {"png": kinds(*given)["png"]})
    monkeypatch.setattr(measure, "bulk_ms", lambda *_, **__: 9.0)
    monkeypatch.setattr(databases, "postgres", lambda *_, **__: None)
    out = tmp_path / "measured.json"
    options = ["--seconds", "0.2", "--rounds", "1", "--rows", "400", "--out", str(out), "--images", str(SAMPLES)]
    assert measure.main(options) == 0
    found = measured.load(out)
    route = found.routes["png"]
    assert route.cpu_ms > route.loop_ms > 0
    assert list(route.decode_ms) == sorted(route.decode_ms)
    assert route.request_bytes > max(path.stat().st_size for path in SAMPLES.glob("*.png")) * 0.9
    assert route.balancer_ms is not None
    assert found.series > 500
    assert set(found.databases) == {"sqlite"}
    assert set(found.how) >= {"cpu_ms", "bulk_ms", "prune_seconds", "series"}
    assert "| PNG file |" in capsys.readouterr().out


def test_a_bulk_run_is_measured_without_its_start(tmp_path: Path) -> None:
    picture = (SAMPLES / "none-1.png").read_bytes()
    assert bulk.run_seconds([picture], tmp_path, 2) > 0.1
    with pytest.raises(RuntimeError, match="lensgate bulk ended with status"):
        bulk.bulk_ms([], repeat=1)
    found = bulk.bulk_ms([picture] * 3, repeat=4, measure=lambda pictures, _, times: 1.5 + 0.01 * times * len(pictures))
    assert found == pytest.approx(10.0)


@pytest.mark.parametrize("database", [databases.sqlite, databases.postgres])
def test_a_database_is_filled_counted_and_emptied(database: object) -> None:
    assert callable(database)
    found = database(ModelStore(ROOT / "models").load().card, rows=400)
    assert found.rows == 400
    assert found.prune_rows == 100
    assert 200 < found.row_bytes < 5_000
    assert min(found.insert_ms, found.count_seconds, found.prune_seconds) > 0


def test_nginx_is_configured_as_in_the_document() -> None:
    text = nginx.configuration("127.0.0.1:80", ["a:1", "b:2"], method="round robin")
    assert "server a:1 max_fails=3 fail_timeout=2s;\n    server b:2" in text
    assert "least_conn" not in text
    assert "least_conn;" in nginx.example()
    assert not {"METHOD", "SERVERS", "LISTEN"} & set(text.replace(";", " ").split())
    assert json.loads(measured.FILE.read_text())["routes"].keys() >= {"png", "jpeg", "large", "small", "batch"}
    assert pair.REPLICAS == 2
