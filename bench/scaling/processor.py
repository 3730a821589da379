"""Processor time, which depends little on other load, unlike wall-clock time."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

_TICKS = os.sysconf("SC_CLK_TCK")
_QUANTILES = np.linspace(0.0, 1.0, 21)
_Item = TypeVar("_Item")


def seconds_of(*pids: int) -> float:
    """Return the processor time of processes and their running children, in seconds."""
    return sum(_read(Path(f"/proc/{pid}/stat")) for pid in _family(pids))


def seconds_of_thread(pid: int) -> float:
    """Return the processor time of the first thread of a process, in seconds."""
    return _read(Path(f"/proc/{pid}/task/{pid}/stat"))


def milliseconds(work: Callable[[_Item], object], items: Iterable[_Item]) -> list[float]:
    """Return the processor time of `work` on each item, in this thread."""
    times = []
    for item in items:
        start = time.thread_time()
        work(item)
        times.append((time.thread_time() - start) * 1e3)
    return times


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Return 21 quantiles, minimum to maximum."""
    return tuple(round(float(value), 4) for value in np.quantile(values, _QUANTILES))


def taken_by_others(before: Sequence[int], after: Sequence[int], *, ours: float) -> float:
    """Return the share of all cores' time between two `ticks` that was neither idle nor `ours`."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    idle, stolen_too = spent[3] + spent[4], sum(spent[:8])
    return max(0.0, (stolen_too - idle - ours * _TICKS) / stolen_too) if stolen_too else 0.0


def ticks() -> list[int]:
    """Return the ticks of all cores since boot: user, nice, system, idle, iowait, irq, softirq, steal."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    return [int(field) for field in fields]


def _family(pids: Iterable[int]) -> list[int]:
    family = list(pids)
    for pid in family:  # Extended during the iteration.
        family += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return family


def _read(stat: Path) -> float:
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS
