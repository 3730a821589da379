"""Omit the notes of TensorFlow's C++ libraries from standard error; their warnings and errors pass.

Their log level variable has no effect on messages from before the libraries are initialised, so the notes are removed
from the stream.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

_FILTER = r"""
import re, sys
note = re.compile(rb"I\d{4} [\d:.]+ +|WARNING: All log messages before absl::InitializeLog|"
                  rb"To enable the following instructions: ")
out = open(2, "wb", buffering=0)
for line in sys.stdin.buffer:
    if not note.match(line):
        out.write(line)
"""


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Pass file descriptor 2 through a filter during the block; Python's own `sys.stderr` bypasses it.

    The filter is a process, so that it also passes the last words of a process that aborts.
    """
    sys.stderr.flush()
    terminal, python = os.dup(2), sys.stderr
    command = [sys.executable, "-S", "-c", _FILTER]
    # A session of its own: Ctrl-C must not end it before the last messages.
    reading, writing = os.pipe()
    filtering = subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - constants only
    os.close(reading)
    try:
        os.dup2(writing, 2)
        os.close(writing)
        with contextlib.ExitStack() as stack:
            if python is sys.__stderr__:
                # Progress bars and messages keep the terminal.
                direct = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
                sys.stderr = stack.enter_context(direct)
            yield
    finally:
        sys.stderr = python
        os.dup2(terminal, 2)
        os.close(terminal)
        # Helper processes of multiprocessing may hold the pipe open until the interpreter ends.
        with contextlib.suppress(subprocess.TimeoutExpired):
            filtering.wait(timeout=1)
