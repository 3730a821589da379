"""Read the limits of this process's control groups, as of a container, a pod or a systemd unit (Linux)."""

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """The control group of a process and those that contain it: the lowest limit holds.

    A container has a namespace in which its group is the root; a systemd unit is some levels below. In version 1 each
    controller has groups of its own, mounted below its name; in version 2 all of them share one group.

    Args:
        root: where the control groups are mounted.
        own: names the group of the process.
    """

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def cores(self) -> float:
        """Return the cores whose time the groups allow; infinity without a limit."""
        return min(map(_cores, self._folders("cpu")))

    def memory(self) -> float:
        """Return the bytes that the groups allow; infinity without a limit."""
        return min(map(_memory, self._folders("memory")))

    def _folders(self, controller: str) -> list[Path]:
        lines = (line.split(":", 2) for line in _read(self.own).splitlines() if line.count(":") > 1)
        paths = {name: path for _, names, path in lines for name in names.split(",")}
        mounts = (self.root, paths.get("", "/")), (self.root / controller, paths.get(controller, "/"))
        groups = [(mount, mount / path.strip("/")) for mount, path in mounts]
        return [each for mount, group in groups for each in (group, *group.parents) if each.is_relative_to(mount)]


def _cores(group: Path) -> float:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:  # Version 1; without a limit the quota is -1.
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    return float(quota) / float(period) if quota.isdigit() and period.isdigit() else math.inf


def _memory(group: Path) -> float:
    memory = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")  # The latter in version 1.
    return float(memory) if memory.isdigit() else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:  # No limit, or another version of control groups.
        return ""
