"""Omit TensorFlow's notes from standard error; its warnings and errors pass.

The log level variable of its C++ libraries has no effect on messages from before they are initialised, so the notes are
removed from the stream. Three false alarms are removed as well: an attribute that TensorFlow writes and does not know
itself, the driver that a machine without an NVIDIA device lacks, and retracing, because every network of an audit or a
study is traced once.
"""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

_FILTER = r"""
import os, re, sys
note = (rb"I\d{4} [\d:.]+ +|WARNING: All log messages before absl::InitializeLog|"
        rb"To enable the following instructions: |E\d{4} .* attribute use_unbounded_threadpool which is not")
if not os.path.exists("/dev/nvidiactl"):
    note += rb"|E\d{4} .* failed call to cuInit: "
note = re.compile(note)
out = open(2, "wb", buffering=0)
for line in sys.stdin.buffer:
    if not note.match(line):
        out.write(line)
"""


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Pass file descriptor 2 and TensorFlow's logger through filters; Python's own `sys.stderr` bypasses the first.

    The filter is a process, so that it also passes the last words of a process that aborts.
    """
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    terminal, python = os.dup(2), sys.stderr
    command = [sys.executable, "-P", "-S", "-c", _FILTER]
    # A session of its own: Ctrl-C must not end it before the last messages.
    reading, writing = os.pipe()
    filtering = subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    os.close(reading)
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_retracing)
    try:
        os.dup2(writing, 2)
        os.close(writing)
        with contextlib.ExitStack() as stack:
            if python is sys.__stderr__:
                # Progress bars and messages keep the terminal.
                direct = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
                stack.callback(_close, direct)
                sys.stderr = direct
            yield
    finally:
        sys.stderr = python
        logger.removeFilter(_is_no_retracing)
        os.dup2(terminal, 2)
        os.close(terminal)
        # Helper processes of multiprocessing may hold the pipe open until the interpreter ends.
        reaping = threading.Thread(target=filtering.wait, name="native-log", daemon=True)
        reaping.start()
        reaping.join(timeout=1)


def _close(stream: TextIO) -> None:
    # On a full disk, or without a reader, the last messages are lost.
    with contextlib.suppress(OSError):
        stream.close()


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()
