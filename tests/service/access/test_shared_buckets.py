"""Rates that hold for all workers together."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.access.shared_buckets import SharedBuckets, make_memory


@pytest.fixture
def memory() -> Iterator[int]:
    made = make_memory()
    yield made
    os.close(made)


def take(buckets: SharedBuckets, now: float, name: str = "a") -> float:
    return buckets.take(name, rate=2.0, capacity=3.0, now=now)


def test_workers_share_a_bucket(memory: int) -> None:
    one, other = SharedBuckets(memory), SharedBuckets(memory)
    assert [take(one, 0.0), take(other, 0.0), take(one, 0.0), take(other, 0.0)] == [0.0, 0.0, 0.0, 0.5]
    assert take(other, 0.0, name="b") == 0.0
    assert take(one, 0.5) == 0.0
    assert take(other, 0.5) == 0.5


def test_a_lower_capacity_applies_at_once(memory: int) -> None:
    buckets = SharedBuckets(memory)
    take(buckets, 0.0)
    assert buckets.take("a", rate=2.0, capacity=1.0, now=0.0) == 0.0
    assert buckets.take("a", rate=2.0, capacity=1.0, now=0.0) == 0.5


def test_names_replace_full_buckets_and_no_other() -> None:
    buckets = SharedBuckets(make_memory(2))
    for number in range(5):
        now = 10.0 * number
        assert [take(buckets, now, name="spent") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
        assert take(buckets, now, name=f"other {number}") == 0.0
        assert take(buckets, now, name="spent") == 0.5


def test_many_processes_are_granted_what_one_is(memory: int) -> None:
    code = (
        "import sys; from service.access.shared_buckets import SharedBuckets\n"
        "buckets = SharedBuckets(int(sys.argv[1]))\n"
        "print(sum(buckets.take('a', rate=1.0, capacity=1000.0, now=0.0) == 0.0 for _ in range(1000)))"
    )
    command = [sys.executable, "-c", code, str(memory)]
    running = [subprocess.Popen(command, pass_fds=[memory], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    granted = sum(int(process.communicate(timeout=60)[0]) for process in running)
    # One may be granted twice whenever a process is interrupted while it holds the lock, as on a busy machine. Without
    # a common count it would be 3,000.
    assert 1000 <= granted <= 1200


def test_a_stopped_process_with_the_lock_stops_no_other(memory: int) -> None:
    code = (
        "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(memory)]
    with subprocess.Popen(
        command, pass_fds=[memory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(OSError, match="unavailable"):
            fcntl.lockf(memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert take(SharedBuckets(memory), 0.0) == 0.0
        holder.communicate(timeout=20)
