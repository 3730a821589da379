"""How many cores this process may use."""

import os


def usable_cores() -> int:
    """Count the cores that the process is bound to; all of the machine's where the system has no affinity (macOS)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
