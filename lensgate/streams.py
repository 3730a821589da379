"""Standard input, output and error: streams that the parent closed, and readers that have gone."""

import contextlib
import os
import signal
import sys

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}
_closed: set[str] = set()


def open_closed() -> None:
    """Open the null device for streams that the parent closed.

    Python sets them to None, and the next files would get their numbers, so that messages would be written into them.
    """
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 - open to the end.
            os.set_inheritable(null.fileno(), True)  # For programs that this one starts.
            setattr(sys, name, null)
            _closed.add(name)


def is_output_closed() -> bool:
    """Return whether the parent closed standard output: all that is printed is lost."""
    return "stdout" in _closed


def close_output() -> int:
    """Discard further output after the reader has closed the pipe; return the exit status of SIGPIPE."""
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(null, sys.stdout.fileno())
    return 128 + signal.SIGPIPE
