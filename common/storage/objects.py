"""Object stores and web servers, through fsspec."""

import contextlib
import errno
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from common.storage.types import FileStore, Listing, StoredFile, any_path
from common.storage.urls import links_below, plain_url, url_path

_SCHEME = re.compile(r"\A\w+://")
_BLOCK_BYTES = 8 * 2**20
_WAIT_SECONDS = 300.0
_LOOK_SECONDS = 60.0
_CONNECTIONS = 4
"""Connections for reading concurrently, where each thread needs its own: SSH servers refuse more than 10 logins."""

_LOOKS = 16
"""Files of an index page that a web server is asked about at a time."""

_MISSING = (404, 410)
# The members that change when a file is overwritten, by the names of fsspec's stores; the first one present counts.
_VERSIONS = (
    "ETag", "etag", "md5Hash", "generation", "LastModified", "Last-Modified", "updated", "mtime", "blob_id", "sha",
    "hex", "modificationTime", "modified", "modifiedTime", "last_modified", "modify", "created",
)  # fmt: skip


class ObjectStore(FileStore):
    """An object store behind fsspec. An upload appears as a whole once its last byte has arrived.

    Args:
        system: the fsspec file system.
        host: the host in its URLs, with user and port, if paths do not have it: a server, or an account of Azure.
        connect: returns the file system of the calling thread, for a client that serves one thread only.
    """

    is_local = False

    def __init__(self, system: Any, *, host: str = "", connect: Callable[[], Any] | None = None) -> None:
        self._first, self._host, self._connect = system, host, connect
        if connect is not None:
            self.readers = _CONNECTIONS

    @property
    def _system(self) -> Any:
        return self._first if self._connect is None else self._connect()

    def name(self, path: str) -> str:
        name = str(self._first.unstrip_protocol(path))
        if not self._host:
            return name
        scheme, _, rest = name.partition("://")
        container, slash, inside = rest.partition("/")
        # The container of Azure stands where the user of other URLs does.
        return f"{scheme}://{f'{container}@' if container else ''}{self._host}{slash}{inside}"

    def is_folder(self, path: str) -> bool:
        with self._as_os_errors(path):
            return bool(self._system.isdir(path))

    def list(self, folder: str, is_wanted: Callable[[str], bool] = any_path) -> Listing:
        if folder.endswith("/") and folder.strip("/"):
            raise OSError("no client can list objects with an empty name between two slashes: rename them")
        try:
            with self._as_os_errors(folder):
                entries = self._system.ls(folder, detail=True)
        except FileNotFoundError:
            return Listing((), ())
        # A folder may be marked by an empty object with its name.
        inside = [entry for entry in entries if entry.get("size") or not _is_itself(entry, folder)]
        # The clients give the folder `x//` below `x/` the name of `x`.
        nameless = [f"{folder.rstrip('/')}/"] if self._has_nameless(entries, folder) else []
        files = [_stored(entry) for entry in inside if entry["type"] != "directory"]
        folders = [str(entry["name"]).rstrip("/") for entry in inside if entry["type"] == "directory"]
        # A folder with an empty object of the same name may be listed twice.
        wanted = sorted((file for file in files if is_wanted(file.path)), key=lambda file: file.path)
        return Listing(wanted, sorted({*folders, *nameless}))

    def _has_nameless(self, entries: Sequence[Mapping[str, Any]], folder: str) -> bool:
        """Return whether `folder` holds objects whose names go on with a slash."""
        itself = [entry for entry in entries if _is_itself(entry, folder)]
        if any(entry.get("StorageClass") == "DIRECTORY" for entry in itself):
            return True
        if not any(entry.get("storageClass") == "DIRECTORY" for entry in itself):
            return False
        # gcsfs has the same entry for the empty object that marks a folder.
        try:
            with self._as_os_errors(folder):
                below = self._system.ls(folder, detail=True, prefix="/")
        except FileNotFoundError:
            return False
        return any(not _is_itself(entry, folder) for entry in below)

    def look(self, path: str) -> StoredFile | None:
        try:
            entry = self._info(path)
        except FileNotFoundError:
            return None
        return None if entry["type"] == "directory" else _stored(entry)

    def _info(self, path: str) -> Mapping[str, Any]:
        with self._as_os_errors(path):
            entry: Mapping[str, Any] = self._system.info(path)
        return entry

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        # A client that serves one thread cannot read in the background.
        is_shared = self._connect is None
        cache = {"cache_type": "background", "cache_options": {"maxblocks": 4}} if ahead and is_shared else {}
        with self._as_os_errors(path):
            file: IO[bytes] = self._system.open(path, "rb", block_size=_BLOCK_BYTES, **cache)
        return file

    def read(self, path: str) -> bytes:
        """Return the content of one object.

        Raises:
            FileNotFoundError: the object, or its bucket, does not exist.
        """
        with self._as_os_errors(path):
            data: bytes = self._system.cat_file(path)
        return data

    def read_many(self, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        """Fetch several objects concurrently; an object that fails yields its exception."""
        try:
            contents: list[bytes | Exception] = self._system.cat_ranges(list(paths), None, None, on_error="return")
        except Exception as error:  # A fault that stops one request mostly stops all of them.
            return [error] * len(paths)
        return contents

    def write(self, path: str, data: bytes) -> None:
        """Write one object, in one request or as parts that appear together."""
        with self._as_os_errors(path):
            self._system.pipe_file(path, data)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every object below `folder`, by its path relative to it, sorted."""
        with self._as_os_errors(folder):
            entries = self._system.find(folder, detail=True)
        return {name.removeprefix(f"{folder}/"): int(entries[name]["size"]) for name in sorted(entries)}

    @contextlib.contextmanager
    def publish(self, path: str) -> Iterator[Path]:
        # The file has no name, so the kernel removes it with the process.
        with tempfile.TemporaryFile() as file:
            name = f"/proc/self/fd/{file.fileno()}"
            try:
                yield Path(name)
            except OSError as error:
                if error.errno != errno.ENOSPC or error.filename is not None:
                    raise
                raise OSError(error.errno, f"{os.strerror(errno.ENOSPC)} for TMPDIR", tempfile.gettempdir()) from error
            try:
                with self._as_os_errors(path):
                    self._system.put_file(name, path)
            except FileNotFoundError as error:  # The bucket is missing.
                raise FileNotFoundError(errno.ENOENT, str(error), self.name(path)) from error

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.unlink(path)

    def unlink(self, path: str) -> None:
        """Remove an object.

        Raises:
            FileNotFoundError: the store says that it does not exist.
        """
        with self._as_os_errors(path):
            self._system.rm_file(path)

    def _as_os_errors(self, path: str) -> contextlib.AbstractContextManager[None]:
        return _as_os_errors(self.name(path))


class WebFiles(ObjectStore):
    """Files behind `http:` and `https:` URLs. A URL is kept whole: its query may sign it or select the file."""

    lists_cheaply = False

    def __init__(self, system: Any) -> None:
        super().__init__(system)
        self._known: dict[str, StoredFile] = {}

    def name(self, path: str) -> str:
        return plain_url(path)

    def title(self, path: str) -> str:
        return plain_url(path)

    def pattern_text(self, path: str) -> str:
        return url_path(path)

    def file_text(self, path: str) -> str:
        return url_path(path)

    def is_folder(self, path: str) -> bool:
        # fsspec would download the file to look for links in it.
        if urlsplit(path).query:
            return False
        try:
            with _as_web_errors(self._way(path)):
                kind = self._system.info(path).get("mimetype")
        except FileNotFoundError:
            return False
        return kind == "text/html" and super().is_folder(path)

    def open(self, path: str, *, ahead: bool = False) -> IO[bytes]:
        with _as_web_errors(self._way(path)), self._as_os_errors(path):
            if not ahead:
                return super().open(path)
            from aiohttp import ClientTimeout  # noqa: PLC0415 - Local folders do not need it.

            # One request for the whole file: not every server sends ranges. With a size fsspec does not ask for it.
            patience = ClientTimeout(total=None, sock_connect=_WAIT_SECONDS, sock_read=_WAIT_SECONDS)
            file: IO[bytes] = self._system.open(path, "rb", block_size=0, size=1, timeout=patience)
            return file

    def list(self, folder: str, is_wanted: Callable[[str], bool] = any_path) -> Listing:
        listing = super().list(folder)
        # Index pages link to their own sorted views and to themselves.
        paths = (file.path for file in listing.files if not file.path.partition("?")[0].endswith("/"))
        # Names are compared first: each file that is looked at costs a request.
        listed = self._looked_at(filter(is_wanted, links_below(folder, paths)))
        return Listing(listed, links_below(folder, listing.folders))

    def look(self, path: str) -> StoredFile | None:
        file = super().look(path)
        return self._titled(file) if file else None

    def _info(self, path: str) -> Mapping[str, Any]:
        with _as_web_errors(self._way(path)), self._as_os_errors(path):
            entry: Mapping[str, Any] = self._system.info(path, timeout=_LOOK_SECONDS)
        return entry

    def _looked_at(self, paths: Iterable[str]) -> Iterator[StoredFile]:
        """Yield the files of an index page, which says neither their sizes nor their versions."""
        pool = ThreadPoolExecutor(_LOOKS, thread_name_prefix="look")
        left = iter(paths)
        try:
            while some := list(itertools.islice(left, _LOOKS)):
                yield from pool.map(self._look_once, some)
        finally:
            # A server that hangs must not block the end of the run.
            pool.shutdown(wait=False, cancel_futures=True)

    def _look_once(self, path: str) -> StoredFile:
        """Look at a file that a run lists several times."""
        if path not in self._known:
            try:
                file = self.look(path)
            except OSError:  # Reading it later reports the error in its row.
                file = None
            self._known[path] = file or self._titled(StoredFile(path, None, ""))
        return self._known[path]

    def _way(self, path: str) -> str:
        """Name the proxy that requests go through, if there is one: it may be what refuses them."""
        proxy = self._system.kwargs.get("proxy")
        if proxy is None and self._system.client_kwargs.get("trust_env"):
            url = urlsplit(path)
            proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
        return f", through the proxy {_without_user(str(proxy))}" if proxy else ""

    def _titled(self, file: StoredFile) -> StoredFile:
        return replace(file, name=self.title(file.path))


@contextlib.contextmanager
def _as_os_errors(url: str) -> Iterator[None]:
    """Raise the errors of the stores' clients, which share no base class and name no file, as OSErrors of `url`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        number = error.errno or (errno.EACCES if isinstance(error, PermissionError) else errno.EIO)
        # The clients' own classes have better texts than the system.
        is_of_system = type(error).__module__ == "builtins" and error.strerror
        text = str(error.strerror if is_of_system else error)
        raise OSError(number, text.rstrip("."), url) from error
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", url) from error


def _is_itself(entry: Mapping[str, Any], folder: str) -> bool:
    return str(entry["name"]).rstrip("/") == folder.rstrip("/")


def _without_user(proxy: str) -> str:
    """Remove user and password, whatever characters they have: tools accept a proxy that is not quite a URL."""
    scheme = "".join(_SCHEME.findall(proxy))
    return scheme + proxy.removeprefix(scheme).rpartition("@")[2]


@contextlib.contextmanager
def _as_web_errors(way: str) -> Iterator[None]:
    """Tell a refusal and a server that does not answer from a missing file: fsspec reports all three as the last."""
    try:
        yield
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or getattr(cause, "status", None) in _MISSING:
            raise
        raise OSError(f"{type(cause).__name__}: {cause}{way}") from cause


def _stored(entry: Mapping[str, Any]) -> StoredFile:
    version = next((str(entry[key]) for key in _VERSIONS if entry.get(key)), "")
    return StoredFile(str(entry["name"]), entry.get("size"), version)
