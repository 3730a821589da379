"""Run the service under mixed load with broken images, and watch its memory and its counters.

    python -m bench.soak --images ../shared/faces/originals --minutes 10 --plot soak.png

Half of the requests are broken: truncated, damaged, expensive by design, or abandoned. The slope is that of a straight
line through the resident memory after a warm-up of a fifth of the time. The status is 1 if memory grows by more than
1 MB a minute, if a counter of the service differs from the client's, or if an answer is a fault.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.serving.contenders import PICTURES, ROOT, lensgate
from bench.serving.posts import read_pictures
from bench.serving.processes import MemoryWatch
from bench.soak.counters import Counters
from bench.soak.load import ClientResults, drive
from bench.soak.requests import EncodedImages, make_kinds
from gate import ModelStore
from training.figures.style import NO_GLASSES, WIDTH, as_png, styled

MAX_GROWTH = 1.0
"""MB a minute."""

WARM_SHARE = 0.2
SETTLE_SECONDS = 20.0
_FAULTS_SHOWN = 10
_PRINT_SECONDS = 60.0


@dataclass
class Memory:
    """Resident memory over time."""

    minutes: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)
    _shown: float = 0.0

    def note(self, resident: float) -> None:
        """Store a sample, and print one a minute."""
        seconds = time.monotonic() - self._start
        self.minutes.append(seconds / 60)
        self.megabytes.append(resident)
        if seconds - self._shown >= _PRINT_SECONDS:
            self._shown = seconds
            print(f"{seconds / 60:6.1f} min {resident:8.1f} MB", flush=True)

    def slope(self) -> tuple[float, float]:
        """Growth in MB a minute after the warm-up, and the height of the line at its middle in MB."""
        first = int(len(self.minutes) * WARM_SHARE)
        minutes, megabytes = np.array(self.minutes[first:]), np.array(self.megabytes[first:])
        growth, _ = np.polyfit(minutes, megabytes, 1)
        return float(growth), float(megabytes.mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a check fails."""
    options = _parser().parse_args(arguments)
    faces = read_pictures(options.images)
    kinds = make_kinds(EncodedImages(faces, size=ModelStore(ROOT / "models").load().card.input.size))
    memory = Memory()
    with lensgate("soak").running(faces[0]) as server:
        counters = Counters(server.port)
        with MemoryWatch(server.pid, period=1.0, on_sample=memory.note) as watch:
            seen = drive(
                server.port,
                kinds,
                connections=options.connections,
                seconds=options.minutes * 60,
                seed=options.seed,
            )
        problems = settled(counters, seen)
    growth, level = memory.slope()
    _report(seen)
    print(
        f"memory: {level:.0f} MB, {growth:+.2f} MB a minute, peak {watch.peak:.0f} MB; at most {MAX_GROWTH:.2f} wanted"
    )
    for text in [*seen.faults[:_FAULTS_SHOWN], *problems]:
        print(f"WRONG: {text}")
    if options.plot:
        options.plot.write_bytes(as_png(chart(memory, growth)))
    return int(growth > MAX_GROWTH or bool(seen.faults) or bool(problems))


def settled(counters: Counters, seen: ClientResults) -> list[str]:
    """Return the differences once they are stable: abandoned requests may still run when the load ends."""
    until = time.monotonic() + SETTLE_SECONDS
    waiting = threading.Event()
    while (differing := list(counters.differences(seen))) and time.monotonic() < until:
        waiting.wait(0.5)
    return differing


def _report(seen: ClientResults) -> None:
    kinds: dict[str, Counter[int]] = {}
    for (kind, status), count in sorted(seen.kinds.items()):
        kinds.setdefault(kind, Counter())[status] += count
    for kind, statuses in kinds.items():
        shown = ", ".join(f"{status or 'left'}: {count:,}" for status, count in statuses.items())
        print(f"{kind:18}{shown}")
    decided, refused = seen.decisions.total(), seen.image_errors.total()
    print(f"{seen.answers:,} answers: {decided:,} decisions, {refused:,} images that could not be judged")


@styled
def chart(memory: Memory, growth: float) -> Figure:
    """Plot the resident memory over time, with its growth after the warm-up in the title."""
    figure = Figure((WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.plot(memory.minutes, memory.megabytes, linewidth=0.8, color=NO_GLASSES)
    axes.set(xlabel="minutes", ylabel="resident memory, MB", xlim=(0, None), ylim=(0, None))
    axes.set_title(f"Mixed load, half of it broken:\n{growth:+.2f} MB a minute after warm-up")
    return figure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of load (10)")
    parser.add_argument("--connections", type=int, default=8, help="requests at a time (8)")
    parser.add_argument("--seed", type=int, default=1, help="of the requests (1)")
    parser.add_argument("--plot", type=Path, help="PNG file for memory over time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
