"""The service answers the requests that the runbooks tell operators to send."""

import re
from collections.abc import Iterator

import pytest

from tests.support.servers import Running, running_service

from .rules import RUNBOOKS

TEXT = RUNBOOKS.read_text()
PATHS = sorted(set(re.findall(r'`curl (?:-i )?"?\$GATE([^"` ]+)', TEXT)))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that keeps records."""
    database = tmp_path_factory.mktemp("records") / "records.db"
    with running_service(records_url=f"sqlite:///{database}") as running:
        yield running


@pytest.mark.parametrize("path", PATHS)
def test_every_request_of_a_runbook_is_answered(service: Running, path: str) -> None:
    answer = service.client.get(path)
    assert answer.status_code == 200, answer.text
