import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.runbooks import render

from .dashboard import BOARDS, FOLDER, Query, fill, names, panels, queries, read_board, variables
from .rules import alerts, recordings
from .tools import ROOT, output

PROVISIONING = ROOT / "deploy/grafana/provisioning"
EVERY = (*BOARDS, "runbooks")
PANELS = [pytest.param(panel, id=f"{board}: {panel['title']}") for board in BOARDS for panel in panels(board)]


def document(path: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return parsed


def all_links() -> list[tuple[str, str]]:
    """Title and address of every link of every dashboard and panel."""
    boards = [read_board(name) for name in EVERY]
    holders = [*boards, *(panel for board in boards for panel in board["panels"])]
    return [(link["title"], link["url"]) for holder in holders for link in holder.get("links", ())]


def test_every_dashboard_that_is_there_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_a_dashboard_is_provisioned_and_not_edited(name: str) -> None:
    board = read_board(name)
    assert board["uid"] == ("lensgate" if name == "lensgate" else f"lensgate-{name}")
    assert board["title"].startswith("Lensgate")
    assert board["description"].endswith(".")
    assert board["editable"] is False
    assert board["schemaVersion"] >= 39
    assert board["id"] is None, "an id belongs to one Grafana's database"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_keeps_itself_up_to_date(name: str) -> None:
    board = read_board(name)
    assert board["refresh"] in board["timepicker"]["refresh_intervals"]


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize("panel", PANELS)
def test_the_steps_of_a_threshold_rise(panel: dict[str, Any]) -> None:
    if panel["type"] == "heatmap":
        assert "thresholds" not in panel["fieldConfig"]["defaults"], "its colours are a scale"
        return
    first, *others = (step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"])
    assert first is None, "the colour of everything below"
    assert others == sorted(set(others))


@pytest.mark.parametrize("panel", PANELS)
def test_the_queries_of_a_panel_have_letters_of_their_own(panel: dict[str, Any]) -> None:
    letters = [target["refId"] for target in panel["targets"]]
    assert sorted(set(letters)) == sorted(letters)


@pytest.mark.parametrize("name", EVERY)
def test_panels_have_ids_and_titles_of_their_own(name: str) -> None:
    every = read_board(name)["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in every}) == len(every)


@pytest.mark.parametrize("name", EVERY)
def test_panels_fit_the_grid_and_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read_board(name)["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert columns.stop <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    bottom = max(y for _, y in taken) + 1
    assert len(taken) == 24 * bottom, "the grid has holes"


def test_every_query_goes_to_the_chosen_data_source() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asked = [target["datasource"] for board in BOARDS for panel in panels(board) for target in panel["targets"]]
    asked += [note["datasource"] for board in BOARDS for note in read_board(board)["annotations"]["list"]]
    assert [source for source in asked if source != chosen] == []


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_in_a_query_is_known(board: str) -> None:
    assert list(variables(board)) == ["datasource", "job", "version"]
    assert [query.expr for query in queries() if query.board == board and "$" in fill(query.expr, board)] == []


@pytest.mark.parametrize("query", queries(), ids=str)
def test_every_query_keeps_to_the_chosen_job(query: Query) -> None:
    # Expectations apply to every job, and the alert for a missing gate has no job label.
    belongs_to_all = query.expr.startswith(("all:", "sum(ALERTS{"))
    assert belongs_to_all or 'job=~"$job"' in query.expr


def test_every_recorded_series_that_is_shown_is_recorded() -> None:
    recorded = {rule["record"] for rule in recordings()}
    shown = {name for query in queries() for name in names(query.expr) if ":" in name}
    assert shown
    assert shown <= recorded


@pytest.mark.parametrize("title", ["Reject rate now", "Reject rate, last 1,000 decisions", "Reject rate over time"])
def test_a_reject_rate_changes_its_colour_where_it_leaves_the_expected_range(title: str) -> None:
    (expected,) = (rule["expr"] for rule in recordings() if rule["record"].endswith(":expected_high"))
    (panel,) = (panel for panel in panels("lensgate") if panel["title"] == title)
    edges = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert expected == f"vector({edges[1]})"


def test_an_edge_of_the_band_is_not_rounded_to_one() -> None:
    found = [panel for name in BOARDS for panel in panels(name) if "lensgate_band_high" in str(panel.get("targets"))]
    assert len(found) == 2
    assert all(panel["fieldConfig"]["defaults"]["decimals"] >= 6 for panel in found)


def test_the_objectives_that_are_shown_are_those_that_are_kept() -> None:
    for title, objective in (("Requests that got", "availability"), ("Decisions within", "latency")):
        (rule,) = (rule for rule in recordings() if rule["record"] == f"all:lensgate_{objective}:objective")
        (panel,) = (panel for panel in panels("lensgate") if panel["title"].startswith(title))
        *_, good = (step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"])
        assert rule["expr"] == f"vector({good})"
        assert f"Objective {good * 100:g} %." in panel["description"]


def test_every_link_leads_to_a_dashboard_or_the_runbook_of_its_name() -> None:
    uids = {read_board(name)["uid"] for name in EVERY}
    runbooks = {panel["id"]: panel["title"] for panel in read_board("runbooks")["panels"]}
    assert all_links()
    for title, url in all_links():
        found = re.fullmatch(r"/d/([\w-]+)(?:\?viewPanel=panel-(\d+))?", url)
        assert found is not None, url
        assert found[1] in uids
        if found[2]:
            assert title == f"Runbook: {runbooks[int(found[2])]}"


def test_every_alert_has_a_panel_that_links_to_its_runbook() -> None:
    linked = {title.removeprefix("Runbook: ") for title, _ in all_links() if title.startswith("Runbook: ")}
    assert linked == {rule["alert"] for rule in alerts()}


def test_the_runbooks_shown_are_those_in_the_documentation() -> None:
    shown = (FOLDER / "runbooks.json").read_text()
    assert shown == render(), "run python deploy/grafana/runbooks.py"


def test_the_first_panel_of_the_runbooks_links_to_each_of_them() -> None:
    """A link from the operations page ends in an anchor, which Grafana ignores."""
    first, *others = read_board("runbooks")["panels"]
    links = re.findall(r"\[(Lensgate\w+)]\(/d/lensgate-runbooks\?viewPanel=panel-(\d+)\)", first["options"]["content"])
    assert links == [(panel["title"], str(panel["id"])) for panel in others]


def test_links_of_the_runbooks_lead_to_panels_or_other_sites() -> None:
    text = "".join(panel["options"]["content"] for panel in read_board("runbooks")["panels"])
    targets = re.findall(r"]\(([^)]+)\)", text)
    assert targets
    assert [target for target in targets if not target.startswith(("/d/lensgate-runbooks?", "https://"))] == []
    assert "`docs/explanation/audit.md` explains it" in text


def test_a_mean_over_instances_leaves_out_those_without_a_value() -> None:
    """One NaN would hide the others, and a new instance has no value yet."""
    means = [query.expr for query in queries() if query.expr.startswith("avg by")]
    assert len(means) == 3
    assert [expr for expr in means if not expr.endswith(" >= 0)")] == []


def test_no_query_divides_by_zero() -> None:
    divided = [expr.partition("\n/")[2] for query in queries() if "\n/" in (expr := query.expr)]
    assert divided
    assert [part for part in divided if "> 0)" not in part and "objective)" not in part] == []
    assert [query.expr for query in queries() if " / " in query.expr] == [], "a division stands on a line of its own"


def test_another_pod_of_the_served_version_is_not_a_new_version(tmp_path: Path) -> None:
    (note,) = (query for query in queries() if (query.board, query.panel) == ("lensgate", "Version served"))
    pods = (("a", "3", "1x40"), ("b", "3", "_x20 1x20"), ("c", "4", "_x30 1x10"))
    series = [
        {"series": f'lensgate_model_info{{job="lensgate", instance="{pod}", version="{version}"}}', "values": values}
        for pod, version, values in pods
    ]

    def shown(time: str, **versions: int) -> dict[str, Any]:
        samples = [{"labels": f'{{version="{name[1]}"}}', "value": value} for name, value in versions.items()]
        return {"expr": fill(note.expr, note.board), "eval_time": time, "exp_samples": samples}

    checks = [shown("5m15s", v3=0), shown("7m45s", v3=0, v4=1), shown("9m30s", v3=0, v4=0)]
    case = {"interval": "15s", "input_series": series, "promql_expr_test": checks}
    (tmp_path / "rules.yml").write_text("groups: []\n")
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [case]}))
    assert "SUCCESS" in output("promtool", "test", "rules", str(tmp_path / "test.yml"))


def test_grafana_finds_the_provisioned_files() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/lensgate.yml").read_text())["providers"]
    services = document("docker-compose.yml")["services"]
    scraped_every = document("deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert [variables(board)["datasource"]["current"]["value"] for board in BOARDS] == [source["uid"]] * len(BOARDS)
    assert source["jsonData"]["timeInterval"] == scraped_every
    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert (destination["name"], destination["url"]) == ("trace_id", "$TRACE_URL")
    assert services["grafana"]["environment"]["TRACE_URL"] == "${TRACE_URL:-}"
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/lensgate.json"
