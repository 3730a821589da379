"""Places: where files lie, on this machine or in an object store, listed, read and written the same way."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import fsspec
from fsspec.core import split_protocol

from bulk.errors import UsageError
from bulk.work_unit import Item
from common.urls import has_query, plain_url, refuse_password, url_path, without_secrets

TEMPORARY = ".lensgate-part-"
"""What the name of a file begins with that is not whole yet."""

_BLOCK_BYTES = 8 * 2**20
# What changes when an object is written anew, in the words of the stores that fsspec knows; the first one counts.
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "Last-Modified", "updated", "mtime", "created")
_WEB = ("http", "https")
_KINDS = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder: its files and the paths of its folders, each sorted by name, hidden ones too.

    The files can be iterated over once; FIFOs, sockets and devices among them have a `fault`.
    """

    files: Iterable[Item]
    folders: Sequence[str]


class Place(Protocol):
    """A store of files. Paths are absolute in it, with `/`; all methods may raise OSError."""

    is_local: bool

    def name(self, path: str) -> str:
        """How a person would write it: an absolute path or a URL, without credentials."""
        ...

    def title(self, path: str) -> str:
        """The path without credentials."""
        ...

    def pattern_text(self, path: str) -> str:
        """The text of `path` in which `*`, `?` and `[` make a pattern."""
        ...

    def file_text(self, path: str) -> str:
        """The text of `path` whose ending says what kind of file it is."""
        ...

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder; of an object store, whether anything lies in it."""
        ...

    def list(self, folder: str) -> Listing:
        """What a folder holds; of one that is not there, nothing."""
        ...

    def look(self, path: str) -> Item | None:
        """One file; None where there is no such file."""
        ...

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        """Open it for reading; `ahead` has what comes next fetched while what was read is worked on."""
        ...

    def publish(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """A local file to write to, which appears at `path` when the block ends, and never appears if it fails."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""
        ...


def locate(url: str, options: Mapping[str, Any]) -> tuple[Place, str]:
    """The place that `url` names, and the path in it.

    Raises:
        UsageError: nothing is known of such URLs, or of such options.
    """
    protocol, path = split_protocol(url)
    if protocol in (None, "file", "local"):
        return Local(), os.path.normpath(Path(path).expanduser().absolute())
    if protocol not in _WEB:
        refuse_password(url)
    try:
        store = fsspec.filesystem(protocol, **{"use_listings_cache": False, **options})
    except Exception as error:  # Each store has its own: of its package, its options, its credentials.
        raise UsageError(without_secrets(f"{url}: {error}")) from error
    if protocol in _WEB:
        return Web(store), url
    return Remote(store), str(store._strip_protocol(url))


def full_url(url: str, options: Mapping[str, Any]) -> str:
    """`url` as it reads in any other folder, and on any other machine.

    Raises:
        UsageError: as `locate`.
    """
    place, path = locate(url, options)
    return place.name(path)


class Local:
    """This machine's files."""

    is_local = True

    def name(self, path: str) -> str:
        return path

    def title(self, path: str) -> str:
        return path

    def pattern_text(self, path: str) -> str:
        return path

    def file_text(self, path: str) -> str:
        return path

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def list(self, folder: str) -> Listing:
        files: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    (folders if _is_folder(entry) else files).append(entry.name)
        except FileNotFoundError:
            return Listing((), ())
        root = folder.rstrip("/")
        # Looked at one by one: of a folder of millions nothing but names is held.
        items = (_local_item(f"{root}/{name}") for name in sorted(files))
        return Listing(items, [f"{root}/{name}" for name in sorted(folders)])

    def look(self, path: str) -> Item | None:
        item = _local_item(path)
        return item if item.size is not None else None

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        del ahead  # The system does so by itself.
        return os.fdopen(_open_regular(path), "rb")

    @contextlib.contextmanager
    def publish(self, path: str) -> Iterator[Path]:
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=TEMPORARY)
        # A temporary file is private to its owner; what is written here is for others to read.
        os.fchmod(handle, 0o644)
        os.close(handle)
        try:
            yield Path(name)
            _settle(name)
            Path(name).replace(path)
            _settle(str(folder))
        finally:
            Path(name).unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)


class Remote:
    """An object store behind fsspec. What is put there appears whole, when the last byte has arrived."""

    is_local = False

    def __init__(self, store: Any) -> None:
        self._store = store

    def name(self, path: str) -> str:
        return str(self._store.unstrip_protocol(path))

    def title(self, path: str) -> str:
        return path

    def pattern_text(self, path: str) -> str:
        return path

    def file_text(self, path: str) -> str:
        return path

    def is_folder(self, path: str) -> bool:
        with _as_os_errors():
            return bool(self._store.isdir(path))

    def list(self, folder: str) -> Listing:
        try:
            with _as_os_errors():
                entries = self._store.ls(folder, detail=True)
        except FileNotFoundError:
            return Listing((), ())
        inside = [entry for entry in entries if str(entry["name"]).rstrip("/") != folder.rstrip("/")]
        files = [_remote_item(entry) for entry in inside if entry["type"] != "directory"]
        folders = [str(entry["name"]).rstrip("/") for entry in inside if entry["type"] == "directory"]
        # A folder that has an empty object of its own name may be there twice.
        return Listing(sorted(files, key=lambda item: item.path), sorted(set(folders)))

    def look(self, path: str) -> Item | None:
        try:
            with _as_os_errors():
                entry = self._store.info(path)
        except FileNotFoundError:
            return None
        return None if entry["type"] == "directory" else _remote_item(entry)

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        cache = {"cache_type": "background", "cache_options": {"maxblocks": 4}} if ahead else {}
        with _as_os_errors():
            file: IO[bytes] = self._store.open(path, "rb", block_size=_BLOCK_BYTES, **cache)
        return file

    def read(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """The objects' bytes, all fetched at once, or what kept each from being fetched."""
        try:
            found: list[bytes | Exception] = self._store.cat_ranges(list(paths), None, None, on_error="return")
        except Exception as error:  # What kept one from being read mostly keeps all.
            return [error] * len(paths)
        return found

    @contextlib.contextmanager
    def publish(self, path: str) -> Iterator[Path]:
        # Without a name, so that it goes with the process, however that ends.
        with tempfile.TemporaryFile() as file:
            name = f"/proc/self/fd/{file.fileno()}"
            yield Path(name)
            with _as_os_errors():
                self._store.put_file(name, path)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError), _as_os_errors():
            self._store.rm_file(path)


class Web(Remote):
    """Files behind `http:` and `https:` URLs, which stay whole: a query may sign them, or choose the file."""

    def name(self, path: str) -> str:
        return plain_url(path)

    def title(self, path: str) -> str:
        return plain_url(path)

    def pattern_text(self, path: str) -> str:
        return url_path(path)

    def file_text(self, path: str) -> str:
        return url_path(path)

    def is_folder(self, path: str) -> bool:
        # The store would download a page, or a file that says no type, to look for links in it.
        if has_query(path):
            return False
        try:
            with _as_os_errors():
                kind = self._store.info(path).get("mimetype")
        except FileNotFoundError:
            return False
        return kind == "text/html" and super().is_folder(path)

    def list(self, folder: str) -> Listing:
        listing = super().list(folder)
        # Pages of folders have links that sort them, and links to themselves.
        files = [self._named(item) for item in listing.files if not item.path.partition("?")[0].endswith("/")]
        return Listing(files, [inner for inner in listing.folders if not inner.endswith(("/.", "/.."))])

    def look(self, path: str) -> Item | None:
        item = super().look(path)
        return self._named(item) if item else None

    def _named(self, item: Item) -> Item:
        return replace(item, name=self.title(item.path))


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Stores' clients raise what they like, such as for credentials that are missing."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _local_item(path: str) -> Item:
    try:
        state = Path(path).stat()
    except OSError:  # A link to nothing, or gone since it was listed.
        return Item(path, None, "")
    if fault := _not_regular(state.st_mode):
        return Item(path, None, "", fault="not_a_file", detail=fault)
    return Item(path, state.st_size, str(state.st_mtime_ns))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, or into a folder that may not be entered.
        return False


def _not_regular(mode: int) -> str:
    """Return why a file of this mode is not read; nothing for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
    return f"{kind}: only regular files are read"


def _open_regular(path: str) -> int:
    """Open a regular file. A FIFO that took its place since it was listed does not block."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if fault := _not_regular(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, fault, path)
    return handle


def _remote_item(entry: Mapping[str, Any]) -> Item:
    version = next((str(entry[key]) for key in _VERSIONS if entry.get(key)), "")
    return Item(str(entry["name"]), entry.get("size"), version)


def _settle(path: str) -> None:
    """Have the disk take it before anything else is done."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
