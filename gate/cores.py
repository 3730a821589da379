"""How many cores this process may use."""

import math
import os
from collections.abc import Sequence
from pathlib import Path


def usable_cores(groups: Sequence[Path] | None = None) -> int:
    """Count the cores that the process is bound to, and at most those whose time its control groups allow.

    More threads than that would use up the time of a period together and then all stand still. Where the system has no
    affinity (macOS), all of the machine's cores count.

    Args:
        groups: folders of control groups; by default those of this process.
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:
        bound = os.cpu_count() or 1
    return max(1, math.ceil(min(bound, core_quota(control_groups() if groups is None else groups))))


def control_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the folders of this process's control group and of all that contain it: the lowest limit holds.

    A container has a namespace in which its group is the root; a systemd unit is some levels below.

    Args:
        root: where the control groups are mounted.
        own: names the one of this process.
    """
    path = next((line.removeprefix("0::/") for line in read_limit(own).splitlines() if line.startswith("0::/")), "")
    group = root / path
    return [group, *(each for each in group.parents if each.is_relative_to(root))]


def core_quota(groups: Sequence[Path]) -> float:
    """Return the cores whose time the groups allow; infinity without a limit."""
    return min(map(_quota, groups))


def read_limit(file: Path) -> str:
    """Return the text of a file of a control group; empty if there is none, or another version of control groups."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


def _quota(group: Path) -> float:
    quota, _, period = read_limit(group / "cpu.max").partition(" ")
    return float(quota) / float(period) if quota.isdigit() and period.isdigit() else math.inf
