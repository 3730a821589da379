"""The number of cores on every system."""

import math
import os
from pathlib import Path

import pytest

from gate.control_groups import ControlGroups
from gate.cores import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
def test_only_the_cores_that_the_process_is_bound_to_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5})
    assert usable_cores(ControlGroups(tmp_path)) == 3


@pytest.mark.parametrize(("found", "cores"), [(8, 8), (None, 1)])
def test_all_cores_count_where_the_system_has_no_affinity(
    monkeypatch: pytest.MonkeyPatch, found: int | None, cores: int, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: found)
    assert usable_cores(ControlGroups(tmp_path)) == cores


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("5000 100000", 1),
        ("6400000 50000", 64),
        ("", 64),
    ],
)
def test_no_more_cores_count_than_a_container_may_use_the_time_of(
    monkeypatch: pytest.MonkeyPatch, limit: str, cores: int, tmp_path: Path
) -> None:
    """As with `docker run --cpus 2` on a machine with 64 cores, whose threads would stand still most of the time."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores(ControlGroups(tmp_path)) == cores


def test_the_lowest_limit_of_the_group_and_those_around_it_holds(tmp_path: Path) -> None:
    unit, own = tmp_path / "system.slice/gate.service", tmp_path / "own"
    assert ControlGroups(tmp_path, own).cores() == math.inf
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    own.write_text("1:cpu:/other\n0::/system.slice/gate.service\n")
    # A container whose own group is mounted as the root.
    assert ControlGroups(tmp_path, own).cores() == 0.5
    unit.mkdir(parents=True)
    (unit / "cpu.max").write_text("25000 100000\n")
    assert ControlGroups(tmp_path, own).cores() == 0.25
    (unit / "cpu.max").write_text("100000 100000\n")
    assert ControlGroups(tmp_path, own).cores() == 0.5
    own.write_text("0::/../../gate\n")
    assert ControlGroups(tmp_path, own).cores() == 0.5
