"""What the file system says of a file, to see that it is another than before."""

from pathlib import Path

Stamp = tuple[int, ...] | None


def stamp(path: Path) -> Stamp:
    """Inode, size and times; None for what is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
