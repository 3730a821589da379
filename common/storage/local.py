"""Files on this machine."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from common.errors import FolderInUse, StorageError
from common.storage.types import FileStore, Listing, StoredFile, any_path
from gate.files import atomic_file, lock

TEMPORARY = ".lensgate-part-"
"""Prefix of unfinished files, before the name of the file. The next run of the same command removes them."""

LOCK = ".lensgate.lock"
"""The file in a folder that its writer holds locked."""

_DANGLING = (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)
"""The errors of links that lead nowhere, besides ENOENT."""

_KINDS = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))


class LocalFiles(FileStore):
    """The file system of this machine."""

    is_local = True

    def name(self, path: str) -> str:
        return path

    def real(self, path: str) -> str:
        return os.path.realpath(path)

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def list(self, folder: str, is_wanted: Callable[[str], bool] = any_path) -> Listing:
        files: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    (folders if _is_folder(entry) else files).append(entry.name)
        except FileNotFoundError:
            return Listing((), ())
        root = folder.rstrip("/")
        # Stat one file at a time: a folder may hold millions, and only the names are kept in memory.
        listed = (_stat(path) for path in (f"{root}/{name}" for name in sorted(files)) if is_wanted(path))
        return Listing(listed, [f"{root}/{name}" for name in sorted(folders)])

    def look(self, path: str) -> StoredFile | None:
        file = _stat(path)
        return file if file.size is not None else None

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        del ahead  # The kernel reads ahead by itself.
        return os.fdopen(_open_regular(path), "rb")

    def publish(self, path: str) -> contextlib.AbstractContextManager[Path]:
        return atomic_file(Path(path), prefix=f"{TEMPORARY}{Path(path).name}-")

    def remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, *, name: str = LOCK) -> Iterator[None]:
    """Create `folder` and lock its file `name` against other runs, on a file system with locks.

    Raises:
        FolderInUse: another run holds the lock.
        StorageError: a file is in the place of the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"{folder} is a file or lies below one: name a folder") from error
    with (folder / name).open("w") as file:
        try:
            lock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # Windows shares refuse a lock that another run holds.
            raise FolderInUse(f"another run is writing to {folder}: wait until it has ended") from None
        yield


def _stat(path: str) -> StoredFile:
    try:
        state = Path(path).stat()
    except OSError:  # A dangling link, or removed since it was listed.
        return StoredFile(path, None, "")
    if fault := _not_regular(state.st_mode):
        return StoredFile(path, None, "", fault="not_a_file", detail=fault)
    return StoredFile(path, state.st_size, str(state.st_mtime_ns))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        # A target without permission, or on a disk that fails, may be a folder: listing it reports the error.
        return error.errno not in _DANGLING and not Path(entry.name).suffix


def _not_regular(mode: int) -> str:
    """Return why a file of this mode is not read; empty for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
    return f"{kind}: only regular files are read"


def _open_regular(path: str) -> int:
    """Open a regular file. O_NONBLOCK keeps a FIFO that replaced it from blocking."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if fault := _not_regular(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, fault, path)
    return handle
