"""A folder or file that is given either as a path of this machine or as a URL of object storage."""

import errno
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import StorageError, UrlError
from common.storage import local
from common.storage.objects import ObjectStore
from common.storage.stores import ONE_SLASH, local_path, open_objects, path_in_file_url
from common.storage.urls import without_secrets
from gate import files

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_CREDENTIALS = re.compile(r"credential|anonymous|access key|token|signature|denied|forbidden", re.IGNORECASE)
_ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, or the service "
    "account of the pod"
)

# gcsfs logs, with a traceback, the errors that it also raises.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class StoragePath:
    """A file or folder of object storage, with the methods of `pathlib.Path` that this project uses.

    Every call asks the storage anew.

    Raises:
        StorageError: from every call, if the storage cannot be reached, refuses, or lacks the bucket.
    """

    url: str

    def __str__(self) -> str:
        """Return the URL as texts show it, without a password."""
        return without_secrets(self.url)

    def __truediv__(self, name: str) -> "StoragePath":
        return StoragePath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The text after the last slash."""
        return self.url.rpartition("/")[2]

    def read_bytes(self) -> bytes:
        """Return the content of the object; FileNotFoundError if it does not exist."""
        with _opened(self, "read") as (store, path):
            return store.read(path)

    def is_file(self) -> bool:
        """Return whether the object exists."""
        with _opened(self, "looked for") as (store, path):
            return store.look(path) is not None

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object; FileNotFoundError if the storage reports it missing, unless `missing_ok`."""
        try:
            with _opened(self, "deleted") as (store, path):
                store.unlink(path)
        except FileNotFoundError:
            if not missing_ok:
                raise


AnyPath = Path | StoragePath


def parse_path(text: str) -> AnyPath:
    """Parse a folder or file as given on a command line.

    Raises:
        UrlError: the URL is empty or chains several file systems, or `~` names no home folder.
    """
    if (path := path_in_file_url(text)) is not None:
        return Path(path)
    if "://" not in text and not ONE_SLASH.match(text):
        return local_path(text)
    url = _URL.fullmatch(text)
    if not url or not url[2].strip("/") or "::" in text:
        raise UrlError(f"{text!r} is neither a folder nor a URL: give a folder, or a URL such as s3://BUCKET/records")
    return StoragePath(f"{url[1].lower()}://{url[2].rstrip('/')}")


@contextmanager
def locked(folder: AnyPath, *, name: str = local.LOCK) -> Iterator[None]:
    """Lock `folder` against other runs, see `local.locked`. Object storage has no locks: there the caller avoids two.

    Raises:
        FolderInUse: another run holds the lock.
    """
    with local.locked(folder, name=name) if isinstance(folder, Path) else nullcontext():
        yield


def write_atomically(path: AnyPath, data: bytes) -> None:
    """Replace a file so that readers, also after a crash, find either the old content or the new."""
    if isinstance(path, Path):
        files.write_atomically(path, data)
        return
    with _opened(path, "written", needs_bucket=True) as (store, key):
        store.write(key, data)


def require_place(path: AnyPath) -> None:
    """Check that a file can be created or replaced at `path`, before the work whose result it takes.

    Object storage is asked when the result is written.

    Raises:
        StorageError: there is a folder, or its folder is a file or cannot be written to.
    """
    if not isinstance(path, Path):
        return
    fault = f"{path} is a folder" if path.is_dir() else files.why_not_writable(path.parent)
    if fault:
        raise StorageError(f"{fault}: name another place for {path.name}")


def write_together(folder: AnyPath, contents: Mapping[str, bytes]) -> None:
    """Replace several files of a folder in order; the last one says that the others are complete.

    On this machine none is replaced unless all of them could be written. Object storage has no such group: readers
    compare the files there.
    """
    if isinstance(folder, Path):
        with files.atomic_files(*(folder / name for name in contents)) as temporaries:
            for temporary, data in zip(temporaries, contents.values(), strict=True):
                temporary.write_bytes(data)
        return
    for name, data in contents.items():
        write_atomically(folder / name, data)


@contextmanager
def atomic_file(path: AnyPath) -> Iterator[Path]:
    """Yield a local file that appears at `path` when the block ends, and never after an error."""
    if isinstance(path, Path):
        with files.atomic_file(path) as temporary:
            yield temporary
        return
    with TemporaryDirectory() as folder:
        temporary = Path(folder) / path.name
        yield temporary
        write_atomically(path, temporary.read_bytes())


def sizes_of(folder: AnyPath) -> dict[str, int]:
    """Return the size in bytes of every file below `folder`, by its path relative to it, sorted."""
    if isinstance(folder, Path):
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    with _opened(folder, "listed", needs_bucket=True) as (store, path):
        return store.sizes(path)


def remove_tree(folder: AnyPath) -> None:
    """Delete `folder` with everything in it; a missing folder is not an error."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in sizes_of(folder):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _opened(path: StoragePath, action: str, *, needs_bucket: bool = False) -> Iterator[tuple[ObjectStore, str]]:
    """Yield the store and the key of `path`; raise the store's errors as StorageError with advice."""
    try:
        yield open_objects(path.url, {})
    except FileNotFoundError as error:
        if needs_bucket or "bucket does not exist" in str(error):
            raise StorageError(f"{path} cannot be {action}: the bucket does not exist, create it first") from error
        raise FileNotFoundError(errno.ENOENT, "the object does not exist", str(path)) from error
    except StorageError:
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, OSError) and error.__cause__ else error
        text = " ".join(f"{type(cause).__name__}: {cause}".split())
        advice = f"; {_ADVICE}" if _CREDENTIALS.search(text) else ""
        raise StorageError(f"{path} cannot be {action}: {text}{advice}") from error
