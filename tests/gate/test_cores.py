"""The number of cores on every system."""

import os

import pytest

from gate.cores import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
def test_only_the_cores_that_the_process_is_bound_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5})
    assert usable_cores() == 3


@pytest.mark.parametrize(("found", "cores"), [(8, 8), (None, 1)])
def test_all_cores_count_where_the_system_has_no_affinity(
    monkeypatch: pytest.MonkeyPatch, found: int | None, cores: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: found)
    assert usable_cores() == cores
