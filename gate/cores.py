"""How many cores this process may use."""

import math
import os

from gate.control_groups import ControlGroups


def usable_cores(groups: ControlGroups | None = None) -> int:
    """Count the cores that the process is bound to, and at most those whose time its control groups allow.

    More threads than that would use up the time of a period together and then all stand still. Where the system has no
    affinity (macOS), all of the machine's cores count.

    Args:
        groups: the control groups; by default those of this process.
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:
        bound = os.cpu_count() or 1
    return max(1, math.ceil(min(bound, (groups or ControlGroups()).cores())))
