"""docker-compose.yml on a real engine: gate, Prometheus and Alertmanager."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.containers.compose import Compose
from tests.containers.engine import wait_for
from tests.containers.images import Built

COUNT = """
import sqlite3
print(*sqlite3.connect("/data/lensgate.db").execute("SELECT count(*) FROM decisions").fetchone())
"""


def recorded(compose: Compose) -> int:
    return int(compose.execute("gate", "python", "-c", COUNT).stdout)


def status_of_process_one(compose: Compose) -> dict[str, str]:
    lines = compose.execute("gate", "cat", "/proc/1/status").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_sample_is_decided_about(compose: Compose, sample: Path) -> None:
    status, body = compose.post(sample)
    assert status == 200, body
    answer = json.loads(body)
    assert (answer["label"], answer["decision"]) == ("glasses", "accept")


def test_process_one_is_the_service_without_root_or_privileges(compose: Compose) -> None:
    found = status_of_process_one(compose)
    assert found["Name"] == "lensgate"
    assert found["Uid"].split() == ["65532"] * 4
    assert {name: int(value, 16) for name, value in found.items() if name.startswith("Cap")} == {
        "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0,
    }  # fmt: skip
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2", "Docker's filter is left on"


@pytest.mark.parametrize("service", ["gate", "prometheus", "alertmanager"])
def test_the_root_cannot_be_written(compose: Compose, service: str) -> None:
    ran = compose.execute(service, "touch", "/x")
    assert ran.returncode != 0
    assert "Read-only file system" in ran.stdout


def test_the_data_folder_and_tmp_can_be_written_and_run_no_program(compose: Compose) -> None:
    assert compose.execute("gate", "touch", "/data/x", "/tmp/x").returncode == 0  # noqa: S108
    assert compose.execute("gate", "rm", "/data/x").returncode == 0
    script = "cp /bin/true /tmp/program && /tmp/program"
    assert "Permission denied" in compose.execute("gate", "sh", "-c", script).stdout


def test_the_gate_is_healthy_and_has_no_terminal(compose: Compose) -> None:
    wait_for(lambda: compose.state("gate")["Health"]["Status"] != "starting", "the first health check")
    found = compose.inspect("gate")
    assert found["State"]["Health"]["Status"] == "healthy"
    assert found["Config"]["Tty"] is False
    assert found["RestartCount"] == 0


def test_configuration_of_a_tight_checkout_is_readable_after_make_readable(built: Built, compose: Compose) -> None:
    """The checkout was copied as under `umask 077`; Prometheus runs as an unprivileged user."""
    assert stat.S_IMODE((built.checkout / "pyproject.toml").stat().st_mode) == 0o600
    rules = compose.get("http://127.0.0.1:9090/api/v1/rules")
    assert rules["data"]["groups"], compose.logs("prometheus")


def test_prometheus_reads_the_gate(compose: Compose) -> None:
    def healths() -> list[str]:
        targets = compose.get("http://127.0.0.1:9090/api/v1/targets")
        return [target["health"] for target in targets["data"]["activeTargets"]] if targets else []

    wait_for(lambda: "up" in healths() and "unknown" not in healths(), "every target was asked")
    assert set(healths()) == {"up"}


def test_prometheus_knows_the_alertmanager(compose: Compose) -> None:
    found = compose.get("http://127.0.0.1:9090/api/v1/alertmanagers")
    assert [manager["url"] for manager in found["data"]["activeAlertmanagers"]] == [
        "http://alertmanager:9093/api/v2/alerts"
    ]


def test_a_hangup_does_not_end_the_gate(compose: Compose, sample: Path) -> None:
    """A supervisor or a lost terminal sends it."""
    compose.engine.output("kill", "--signal=HUP", compose.container("gate"))
    assert compose.post(sample)[0] == 200
    assert compose.inspect("gate")["RestartCount"] == 0


@dataclass(frozen=True)
class Stopped:
    """State of a gate after `docker compose stop`."""

    status: int
    log: list[str]
    recorded_by_the_next: int


@pytest.fixture(scope="module")
def stopped(compose: Compose, sample: Path) -> Stopped:
    """Stop the gate, remove its container and start another."""
    assert compose.post(sample)[0] == 200
    wait_for(lambda: recorded(compose) > 0, "a decision is recorded")
    compose("stop")
    status, log = compose.state("gate")["ExitCode"], compose.logs("gate")
    compose("down")
    compose.up("gate")
    return Stopped(status, log, recorded(compose))


def test_a_stop_ends_with_status_0(stopped: Stopped) -> None:
    assert stopped.status == 0


def test_records_outlive_the_container(stopped: Stopped) -> None:
    assert stopped.recorded_by_the_next > 0


def test_every_line_of_the_log_is_json_from_start_to_end(stopped: Stopped) -> None:
    assert any("/v1/decisions" in line for line in stopped.log)
    for line in stopped.log:
        assert line.startswith("{"), line
        json.loads(line)
