"""Explain the error of a machine on which no further thread can be started."""

import contextlib
from collections.abc import Iterator

_PYTHONS_TEXT = "can't start new thread"


@contextlib.contextmanager
def explained_thread_limit() -> Iterator[None]:
    """Turn Python's error for a thread that cannot be started in the block into one that names the cure.

    Raises:
        OSError: no further thread can be started.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != _PYTHONS_TEXT:
            raise
        raise OSError(
            "no further thread can be started: raise the limit of processes (ulimit -u, TasksMax= of a systemd unit, "
            "the pids limit of a container), or end other processes"
        ) from error
