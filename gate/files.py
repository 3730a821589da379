"""Read files that an operator names: regular ones of bounded size, so that none is waited for or fills the memory."""

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; opening a FIFO would block, a device never ends.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more bytes.
    """
    # A FIFO that is opened so does not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not a regular file")
        if found.st_size > limit:
            raise OSError(f"{path} has {found.st_size:,} bytes: at most {limit:,} are read")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{path} has more than the {limit:,} bytes that are read")
    return content
