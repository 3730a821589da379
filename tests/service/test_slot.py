"""One worker as its parent sees it, the frames between them, and the number of workers."""

import errno
import math
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gate.control_groups import ControlGroups
from gate.cores import usable_cores
from service.errors import SettingsError
from service.process.frames import Channel, Collected, Frame, FrameBuffer, Kind, WorkerReading
from service.process.rolling_reload import RollingReload
from service.process.slot import FIRST_DELAY, LONGEST_DELAY, SILENT_SECONDS, STEADY_SECONDS, Slot, describe_status
from service.settings import Settings
from service.worker_context import WorkerContext
from service.workers import Machine, become_parent, count_workers
from tests.support.servers import wait_until

START = 300.0

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def ended(slot: Slot, status: int) -> None:
    wait_until(lambda: slot.status is not None)
    assert slot.status == status
    slot.close()


def test_restart_delay_doubles_for_early_exits_and_resets_for_steady_workers() -> None:
    clock = Clock()
    slot = Slot(1, lambda *_: [sys.executable, "-S", "-c", "raise SystemExit(3)"], start_seconds=START, clock=clock)
    waits = []
    for _ in range(9):
        slot.start()
        ended(slot, 3)
        waits.append(slot.due - clock.now)
    assert waits == [0.0, *(FIRST_DELAY * 2**n for n in range(6)), LONGEST_DELAY, LONGEST_DELAY]
    slot.start()
    clock.now += STEADY_SECONDS
    ended(slot, 3)
    assert slot.due == clock.now


def test_a_worker_that_hangs_is_killed_once_it_has_listened() -> None:
    clock = Clock()
    slot = Slot(1, lambda *_: SLEEP, start_seconds=START, clock=clock)
    slot.start()
    clock.now += SILENT_SECONDS + 1
    assert not slot.kill_if_silent()  # A model may take long to load.
    slot.is_ready = True
    slot.heard()
    assert not slot.kill_if_silent()
    clock.now += SILENT_SECONDS + 1
    assert slot.kill_if_silent()
    # It may take a while to end: once is enough, and one line in the log.
    assert not slot.kill_if_silent()
    ended(slot, -signal.SIGKILL)


def test_a_worker_that_hangs_before_it_listens_is_killed_later() -> None:
    clock = Clock()
    slot = Slot(1, lambda *_: SLEEP, start_seconds=START, clock=clock)
    slot.start()
    clock.now += START
    assert not slot.kill_if_silent()
    slot.heard()  # It may report its metrics, and yet never listen.
    clock.now += 1
    assert slot.kill_if_silent()
    ended(slot, -signal.SIGKILL)


def test_orders_to_a_worker_wait_until_it_handles_signals() -> None:
    code = (
        "import signal; held = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "raise SystemExit(len(held & {signal.SIGHUP, signal.SIGUSR2}))"
    )
    slot = Slot(1, lambda *_: [sys.executable, "-S", "-c", code], start_seconds=START)
    slot.start()
    ended(slot, 2)


@pytest.mark.parametrize(
    ("status", "text"),
    [(3, "status 3"), (-9, "signal SIGKILL"), (-40, "signal 40"), (-signal.SIGRTMAX, "signal SIGRTMAX")],
)
def test_every_end_of_a_worker_has_a_text(status: int, text: str) -> None:
    assert describe_status(status) == text


def test_an_order_to_reload_waits_for_a_worker_that_is_still_starting() -> None:
    starting, ready, dead = (Slot(number, lambda *_: SLEEP, start_seconds=START) for number in (1, 2, 3))
    for slot in (starting, ready):
        slot.start()
    ready.is_ready = True
    reload = RollingReload(60)
    reload.begin([starting, ready, dead])
    assert reload.take() is ready
    assert reload.take() is None  # It is still reloading.
    reload.finish(ready)
    assert reload.take() is None
    for slot in (starting, dead):
        slot.is_ready = True
    assert reload.take() is starting
    reload.finish(starting)
    # The third begins after the order and reads the files as they are.
    assert reload.take() is None
    for slot in (starting, ready):
        slot.signal(signal.SIGKILL)
        ended(slot, -signal.SIGKILL)


def test_a_successor_is_given_the_last_reading_first() -> None:
    code = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendall(s.recv(100)); s.recv(1)"
    slot = Slot(1, lambda _, link: [sys.executable, "-S", "-c", code, str(link)], start_seconds=START)
    slot.reading = b"counts"
    channel = slot.start()
    found: list[Frame] = []

    def receive() -> list[Frame]:
        found.extend(channel.receive()[0])
        return found

    wait_until(receive)
    assert found == [Frame(Kind.EARLIER, b"counts")]
    slot.signal(signal.SIGTERM)
    ended(slot, -signal.SIGTERM)


def test_frames_arrive_whole_in_any_portions() -> None:
    sent = [Frame(Kind.READING, bytes(range(256))), Frame(Kind.RELOAD), Frame(Kind.COLLECT, b"[1, true]")]
    data = b"".join(frame.encode() for frame in sent)
    for size in (1, 7, len(data)):
        buffer = FrameBuffer()
        portions = (data[start : start + size] for start in range(0, len(data), size))
        assert [frame for portion in portions for frame in buffer.feed(portion)] == sent


def test_a_channel_keeps_what_the_other_end_does_not_take() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel, large = Channel(ours), Frame(Kind.EARLIER, bytes(4 * 2**20))
        channel.send(large)
        assert channel.unsent > 0
        buffer, found = FrameBuffer(), list[Frame]()
        while not found:
            found.extend(buffer.feed(theirs.recv(2**20)))
            channel.flush()
        assert found == [large]
        theirs.close()
        channel.send(large)
        assert (channel.unsent, channel.receive()) == (0, ([], False))


def test_readings_of_workers_are_the_same_after_the_wire() -> None:
    collected = Collected(
        2,
        [
            WorkerReading(number=1, is_alive=True, has_answered=False, data=b"one"),
            WorkerReading(number=3, is_alive=False, has_answered=True, data=b""),
        ],
    )
    assert Collected.decode(collected.encode()) == collected


def test_workers_keep_the_limits_of_the_machine_together() -> None:
    workers = [WorkerContext(number, 3) for number in (1, 2, 3)]
    assert sum(worker.share(256) for worker in workers) <= 256
    assert [worker.share(2) for worker in workers] == [1, 1, 1]
    for count, cores, threads in ((2, 16, 12), (8, 64, 12), (2, 2, 2), (1, 5, 5)):
        assert WorkerContext(1, count).threads(cores) == threads


@pytest.mark.parametrize(("cores", "count"), [(0.5, 1), (8, 1), (8.5, 2), (16, 2), (64, 8), (5000, 128)])
def test_eight_cores_are_one_worker(cores: float, count: int) -> None:
    machine = Machine(cores, math.inf)
    assert count_workers(Settings(), machine) == count
    assert count_workers(Settings(workers=3), machine) == 3
    assert count_workers(Settings(shared_memory=True), machine) == 1


def test_the_limits_of_a_container_lower_the_number(tmp_path: Path) -> None:
    assert Machine.find(ControlGroups(tmp_path)) == Machine(usable_cores(), math.inf)
    unit = tmp_path / "system.slice" / "gate.service"
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert Machine.find(ControlGroups(tmp_path)) == Machine(usable_cores(), math.inf)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2 * 2**30}\n")
    assert Machine.find(ControlGroups(tmp_path)) == Machine(0.5, 2 * 2**30)
    own = tmp_path / "own"
    own.write_text("1:cpu:/other\n0::/system.slice/gate.service\n")
    unit.mkdir(parents=True)
    assert Machine.find(ControlGroups(tmp_path, own)) == Machine(
        0.5, 2 * 2**30
    )  # A container whose own group is mounted as the root.
    (unit / "cpu.max").write_text("25000 100000\n")
    (unit.parent / "memory.max").write_text(f"{2**30}\n")
    assert Machine.find(ControlGroups(tmp_path, own)) == Machine(0.25, 2**30)
    own.write_text("0::/../../gate\n")
    assert Machine.find(ControlGroups(tmp_path, own)) == Machine(0.5, 2 * 2**30)
    assert count_workers(Settings(), Machine(64, 2 * 2**30)) == 5
    assert count_workers(Settings(), Machine(64, 2**29)) == 1


def test_the_limits_of_a_container_with_control_groups_of_version_1_lower_the_number(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n")
    cpu, memory = (tmp_path / name / "docker" / "abc" for name in ("cpu", "memory"))
    for folder in (cpu, memory):
        folder.mkdir(parents=True)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    assert Machine.find(ControlGroups(tmp_path, own)) == Machine(usable_cores(), float(2**63 - 4096))
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    (cpu / "cpu.cfs_quota_us").write_text("25000\n")
    (memory / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    assert Machine.find(ControlGroups(tmp_path, own)) == Machine(0.25, 2**30)
    # In a container without a namespace of its own, its group is mounted as the root.
    own.write_text("4:memory:/docker/gone\n3:cpu,cpuacct:/docker/gone\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    assert Machine.find(ControlGroups(tmp_path, own)) == Machine(0.5, float(2**63 - 4096))


def test_system_that_refuses_shared_memory_is_told_to_use_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(SettingsError, match=r"LENSGATE_WORKERS: .* Operation not permitted; set it to 1"):
        become_parent(Settings(port=0), {}, count=2)


def test_shared_memory_belongs_to_one_process() -> None:
    with pytest.raises(SettingsError, match="LENSGATE_SHARED_MEMORY needs LENSGATE_WORKERS=1"):
        count_workers(Settings(workers=2, shared_memory=True))
