import itertools
import re
from typing import Any

import pytest
import yaml

from .dashboard import DASHBOARD, fill, names, panels, queries, read_dashboard, rules, variables
from .tools import ROOT

PROVISIONING = ROOT / "deploy/grafana/provisioning"


def document(path: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return parsed


def test_the_dashboard_is_provisioned_and_not_edited() -> None:
    board = read_dashboard()
    assert board["uid"] == "lensgate"
    assert board["editable"] is False
    assert board["refresh"] == "5s"
    assert board["schemaVersion"] >= 39
    assert board["id"] is None, "an id belongs to one Grafana's database"


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


def test_panels_have_ids_and_titles_of_their_own() -> None:
    every = read_dashboard()["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in every}) == len(every)


def test_panels_fit_the_grid_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read_dashboard()["panels"]:
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
    asked = [target["datasource"] for panel in panels() for target in panel["targets"]]
    assert [source for source in asked if source != chosen] == []


def test_every_variable_in_a_query_is_known() -> None:
    assert list(variables()) == ["datasource", "job", "version"]
    assert [query.expr for query in queries() if "$" in fill(query.expr)] == []


def test_every_query_keeps_to_the_chosen_job() -> None:
    assert [query.expr for query in queries() if 'job=~"$job"' not in query.expr] == []


def test_every_recorded_series_that_is_shown_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules()}
    shown = {name for query in queries() for name in names(query.expr) if ":" in name}
    assert shown
    assert shown <= recorded


def test_grafana_finds_what_is_provisioned() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/lensgate.yml").read_text())["providers"]
    services = document("docker-compose.yml")["services"]
    scraped_every = document("deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert source["uid"] == variables()["datasource"]["current"]["value"]
    assert source["jsonData"]["timeInterval"] == scraped_every
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"
