"""Processor time per image of `lensgate bulk`: a long run minus a short one, which is start-up only."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.serving.contenders import ROOT


def run_seconds(pictures: Sequence[bytes], folder: Path, times: int) -> float:
    """Return the processor time of a run over each image so many times.

    Raises:
        RuntimeError: the run ends with a status other than 0; the text is its output.
    """
    source = folder / "images"
    source.mkdir(parents=True)
    for number, data in enumerate(pictures):
        original = source / f"{number}-0.{_ending(data)}"
        original.write_bytes(data)
        for turn in range(1, times):
            (source / f"{number}-{turn}{original.suffix}").hardlink_to(original)
    command = [sys.executable, "-m", "lensgate", "bulk", str(source), str(folder / "table"), "--models", "models"]
    before = _children()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LENSGATE_")}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"lensgate bulk ended with status {ran.returncode}: {ran.stderr.strip()}")
    return _children() - before


def bulk_ms(
    pictures: Sequence[bytes], *, repeat: int, measure: Callable[[Sequence[bytes], Path, int], float] = run_seconds
) -> float:
    """Return core milliseconds per image; the long run holds each image `repeat` times more often.

    Raises:
        RuntimeError: a run fails.
    """
    with tempfile.TemporaryDirectory() as name:
        short = measure(pictures, Path(name) / "short", 1)
        long = measure(pictures, Path(name) / "long", 1 + repeat)
    return (long - short) / (repeat * len(pictures)) * 1e3


def _children() -> float:
    """Return the processor time of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ending(data: bytes) -> str:
    return "jpg" if data.startswith(b"\xff\xd8") else "png"
