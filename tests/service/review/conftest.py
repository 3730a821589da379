from collections.abc import Iterator
from pathlib import Path

import pytest

from service.records.store import Store
from service.records.tables import metadata
from tests.support.postgres import running_postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """One server for all tests of a process."""
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.debian)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store: a file, and a real PostgreSQL."""
    is_sqlite = request.param == "sqlite"
    store = Store(f"sqlite:///{tmp_path}/records.db" if is_sqlite else request.getfixturevalue("postgres_url"))
    yield store
    metadata.drop_all(store.engine)
    store.close()
