"""Read files that an operator names: regular ones of bounded size, so that none is waited for or fills the memory."""

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; opening a FIFO would block, a device never ends.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more bytes.
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
    """A FIFO that is opened so does not wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)
