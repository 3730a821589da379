"""Trace the host names and addresses that a process and its children use, beyond this machine."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("trace.c")


@dataclass(frozen=True)
class NetworkTrace:
    """An environment in which to start a process, and the trace of that process.

    Args:
        folder: holds the library, the record and a home folder of its own.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, as an operator has it: `CI` turns the telemetry of libraries off."""
        ours = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")}
        home = str(self.folder / "home")
        traced = {"LD_PRELOAD": str(self.folder / "trace.so"), "TRACE_NETWORK": str(self._record)}
        return {**ours, **traced, "HOME": home, "XDG_CACHE_HOME": f"{home}/.cache"}

    @property
    def seen(self) -> list[str]:
        """Calls with their targets, in order."""
        return self._record.read_text().splitlines() if self._record.exists() else []

    @property
    def written(self) -> list[str]:
        """Files that were left in the home folder: a device id is one."""
        home = self.folder / "home"
        return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())

    @property
    def _record(self) -> Path:
        return self.folder / "network"


def trace_network(folder: Path) -> NetworkTrace:
    """Compile the library that traces into `folder`."""
    (folder / "home").mkdir()
    command: list[str | Path] = [
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        folder / "trace.so",
        _SOURCE,
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return NetworkTrace(folder)
