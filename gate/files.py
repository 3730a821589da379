"""Read files that an operator names: regular files of bounded size, so a read neither blocks nor fills the memory."""

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; a FIFO would block and a device never ends.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is larger.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a regular file")
        if found.st_size > limit:
            raise OSError(f"{path} has {found.st_size:,} bytes: at most {limit:,} are read")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{path} has more than the {limit:,} bytes that are read")
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)
