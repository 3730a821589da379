"""Read and replace files of this machine: bounded reads of regular files, atomic writes."""

import errno
import fcntl
import glob
import os
import re
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)
"""The errors of locking on a file system without locks; NFS has none for folders."""

_WITHOUT_FOLDER_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOTTY, errno.EBADF)
"""The errors of flushing a folder on SMB shares, shared folders of virtual machines and some FUSE file systems."""

_WITHOUT_MODES = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS)
"""The errors of changing permissions on mounts that fix owner and mode of all files, such as SMB and FAT."""

_PIECE_BYTES = 2**16
_DEVICES = Path("/dev")


@contextmanager
def atomic_file(path: Path, *, prefix: str | None = None, suffix: str = "", mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` when the block ends, and is removed after an error.

    Readers find the old content or the new; content and folder are flushed to disk before this returns, the folder
    where its file system can. Missing folders are created.

    Args:
        path: the file to create or replace.
        prefix: of the temporary file's name, which lies beside `path`; by default hidden.
        suffix: of the temporary file's name, for writers that choose the format by it.
        mode: permissions of the new file, where the file system keeps any; a temporary file alone would be private to
            its owner.

    Raises:
        OSError: the file cannot be written, or is a device or a FIFO; the error names a file.
    """
    _refuse_special(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory: name a folder", str(path.parent)) from error
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix or f".{path.name}.", suffix=suffix)
    temporary = Path(name)
    try:
        set_mode(handle, mode)
        os.close(handle)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno == errno.EBUSY:
            fault = f"{error.strerror}: if the file is a mount of its own, mount its folder instead"
            raise OSError(errno.EBUSY, fault, str(path)) from error
        if error.errno is None or error.filename is not None:
            raise
        # A failed write names no file, and so not the disk that is full.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_special(path: Path) -> None:
    """Refuse a device or a FIFO, which a file would take the place of, and the links in /dev, such as /dev/stdout."""
    is_special = path.exists() and not (path.is_file() or path.is_dir())
    if is_special or path.absolute().parent == _DEVICES:
        raise OSError(errno.EINVAL, "Not a regular file: name one to create or replace", str(path))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that readers, also after a crash, find either the old content or the new."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_files(*paths: Path, outdated: Collection[Path] = ()) -> Iterator[tuple[Path, ...]]:
    """Yield temporary files that replace `paths` together when the block ends; after an error all files stay.

    The last path says that the others are complete: it is removed before the first of them is replaced, and replaced
    after them. All are written by then, so a full disk leaves the old files as they were. The caller excludes other
    writers: temporary files that a killed one left are removed first.

    Args:
        paths: the files; a temporary file has the suffix of its path.
        outdated: files that do not belong to the new ones, and are removed with the last path.

    Raises:
        OSError: a file cannot be written.
    """
    remove_unfinished(*paths)
    with ExitStack() as stack:
        # The first to enter is the last to be replaced.
        opened = [stack.enter_context(atomic_file(path, suffix=path.suffix)) for path in reversed(paths)]
        yield tuple(reversed(opened))
        for temporary in opened:
            _flush(temporary)
        for path in (*outdated, paths[-1]):
            path.unlink(missing_ok=True)
        # Otherwise a power failure may keep the last path beside a new first one.
        _flush_folder(paths[-1].parent)


def set_mode(path: Path | int, mode: int) -> None:
    """Change the permissions of a path or a descriptor, on a file system that can."""
    _attempt(lambda: os.chmod(path, mode), _WITHOUT_MODES)  # noqa: PTH101 - Also a descriptor.


def remove_unfinished(*paths: Path) -> None:
    """Remove the temporary files of these paths that killed writers left; the caller excludes running ones."""
    for path in paths:
        ours = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}({re.escape(path.suffix)})?")
        for temporary in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if ours.fullmatch(temporary.name):
                temporary.unlink(missing_ok=True)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Exclude the other commands that change files of a folder under this lock, on a file system with locks.

    The lock is on the folder because its files are replaced; the kernel releases it if the process dies.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def lock(handle: int, operation: int) -> None:
    """Lock a file or folder as `fcntl.flock` does, on a file system with locks."""
    _attempt(lambda: fcntl.flock(handle, operation), _WITHOUT_LOCKS)


def why_not_writable(folder: Path) -> str | None:
    """Return why no file can be written below `folder`, which may not exist yet; None if one can.

    Commands ask before they work for minutes or hours.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        return f"{place} is not a folder"
    return None if os.access(place, os.W_OK) else f"{place} cannot be written to"


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; a FIFO would block and a device never ends.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is larger.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise OSError(f"{path} has {status.st_size:,} bytes: at most {limit:,} are read")
        content = read_at_most(file, limit + 1, expected=status.st_size)
    if len(content) > limit:
        raise OSError(f"{path} has more than the {limit:,} bytes that are read")
    return content


def read_at_most(file: IO[bytes], limit: int, *, expected: int) -> bytes:
    """Return at most `limit` bytes of a file that has about `expected`; one `read(limit)` would allocate the limit."""
    pieces = [file.read(min(expected + 1, limit))]
    left = limit - len(pieces[0])
    # A regular file ends here, unless it grows.
    while pieces[-1] and left:
        pieces.append(file.read(min(_PIECE_BYTES, left)))
        left -= len(pieces[-1])
    return b"".join(pieces)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, on a file system that can."""
    _attempt(lambda: _flush(folder), _WITHOUT_FOLDER_FLUSH)


def _attempt(action: Callable[[], object], unsupported: Collection[int]) -> None:
    try:
        action()
    except OSError as error:
        if error.errno not in unsupported:
            raise
