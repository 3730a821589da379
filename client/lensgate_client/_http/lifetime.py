"""Guards against use of a gate object after it was closed or in a forked process."""

import os

from lensgate_client.errors import GateError


class ForkGuard:
    """Remembers the process that created a gate object: connections must not be shared across a fork."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Raise RuntimeError in a forked process, such as a data loader's worker."""
        if os.getpid() != self._pid:
            raise RuntimeError("this gate object was created before the process forked: create one in each process")


def closed_error() -> GateError:
    """Return the error of a call on a closed gate object."""
    return GateError("this gate object is closed", code="closed")
