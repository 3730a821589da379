"""The PostgreSQL variant of the compose files on a real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.compose import Compose, running_project
from tests.containers.engine import Engine, wait_for
from tests.containers.images import Built

QUERY = ("psql", "--username=lensgate", "--dbname=lensgate", "--tuples-only", "--no-align", "--command")


@pytest.fixture(scope="module")
def compose(engine: Engine, built: Built) -> Iterator[Compose]:
    with running_project(engine, built.checkout, "docker-compose.postgres.yml") as project:
        project.up("postgres", "gate")
        yield project


def recorded(compose: Compose) -> str:
    """Count the decisions in the database; return the error output if it does not answer."""
    return compose.execute("postgres", *QUERY, "SELECT count(*) FROM decisions").stdout.strip()


def test_a_decision_is_recorded(compose: Compose, sample: Path) -> None:
    assert compose.post(sample)[0] == 200
    wait_for(lambda: recorded(compose) == "1", "a decision is recorded")


def test_the_database_cannot_be_reached_from_outside(compose: Compose) -> None:
    found = compose.inspect("postgres")
    assert not found["HostConfig"]["PortBindings"]
    (network,) = found["NetworkSettings"]["Networks"]
    assert compose.engine.inspect(network)["Internal"] is True


def test_the_password_is_asked_for(compose: Compose) -> None:
    wrong = "import psycopg; psycopg.connect('postgresql://lensgate:wrong@postgres/lensgate')"
    ran = compose.execute("gate", "python", "-c", wrong)
    assert "password authentication failed" in ran.stdout


def test_decisions_during_a_database_outage_are_recorded_afterwards(compose: Compose, sample: Path) -> None:
    before = int(recorded(compose))
    compose.engine.output("kill", compose.container("postgres"))
    assert compose.post(sample)[0] == 200
    compose.engine.output("start", compose.container("postgres"))
    wait_for(lambda: recorded(compose) == str(before + 1), "the decision is recorded")


def test_a_stop_ends_both_with_status_0(compose: Compose) -> None:
    compose("stop")
    assert {name: compose.state(name)["ExitCode"] for name in ("gate", "postgres")} == {"gate": 0, "postgres": 0}
