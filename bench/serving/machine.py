"""The machine and versions of a measurement."""

import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path

from gate.cores import usable_cores

_DISTRIBUTIONS = ("numpy", "onnxruntime", "deflate", "pillow", "starlette", "uvicorn", "uvloop", "httptools")


def describe() -> list[str]:
    """Return lines with processor, cores, interpreter and versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _DISTRIBUTIONS)
    return [
        f"{_processor()}, {usable_cores()} cores, Linux {platform.release()}",
        f"Python {platform.python_version()}, {versions}, {_wrk()}",
    ]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _wrk() -> str:
    if (tool := shutil.which("wrk")) is None:
        return "no wrk"
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])
