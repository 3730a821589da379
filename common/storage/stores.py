"""Open the store behind a URL."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UrlError
from common.storage.local import LocalFiles
from common.storage.objects import ObjectStore, WebFiles
from common.storage.types import FileStore
from common.storage.urls import check_url, refuse_password, without_secrets
from gate.extras import how_to_install

ONE_SLASH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
"""A URL that was written like a path, or lost a slash."""

_FILE = re.compile(r"(file|local):(//(localhost(?=/))?|(?=/))", re.IGNORECASE)
"""What comes before the path in `file:///faces`, and in `file:/faces` as Java, Hadoop and Spark write it."""

_WEB = ("http", "https")
_EXTRA = ("http:", "https:", "s3:", "s3a:", "gs:", "gcs:")
"""The protocols whose packages are in the extra `bulk`."""

_ARCHIVES = ("zip", "tar", "libarchive")
_UNKNOWN = ": correct it, or install the package that adds it to fsspec, such as adlfs for abfss"
_CACHE = "use_listings_cache"
_SHARED = "hf"
"""The protocol whose client serves any number of threads without being asynchronous."""


def locate(url: str, options: Mapping[str, Any]) -> tuple[FileStore, str]:
    """Return the store behind `url` and the path in it.

    Args:
        url: a path, or a URL that fsspec supports.
        options: arguments of fsspec's file system, such as an endpoint.

    Raises:
        UrlError: the protocol, an option or the user of a `~` is unknown, or the URL is malformed, empty or holds a
            password.
    """
    protocol, separator, path = url.partition("://")
    protocol = protocol.lower() if separator else protocol
    url = f"{protocol}{separator}{path}"
    if separator and not path:
        raise UrlError(f"{url} names no file or folder")
    if (text := path_in_file_url(url)) is not None:
        return LocalFiles(), _normal(_absolute(local_path(text)))
    if not separator and ONE_SLASH.match(url):
        full = ":///" if url.lower().startswith("hdfs:") else "://"  # Without a host Hadoop takes its default one.
        raise UrlError(f"{url!r} is neither a folder nor a URL: write {url.replace(':/', full, 1)}, or ./{url}")
    if not separator:
        return LocalFiles(), _normal(_absolute(local_path(url)))
    if protocol in _WEB:
        check_url(url)
        return WebFiles(_connect(url, options)[0]), url
    if protocol in _ARCHIVES:
        raise UrlError(f"{without_secrets(url)}: files inside archives are not read: unpack it, or name a tar itself")
    refuse_password(url)
    return open_objects(url, options)


def _absolute(path: Path) -> Path:
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise UrlError(f"{path}: the current folder was removed: change to another one") from error


def _normal(path: Path) -> str:
    """Remove `.` and `..` from a path. After a link, `..` is the folder above its target."""
    normal = os.path.normpath(path)
    if ".." not in path.parts:
        return normal
    end = len(path.parts) - path.parts[::-1].index("..")
    head, rest = Path(*path.parts[:end]), path.parts[end:]
    is_same = os.path.realpath(head) == os.path.realpath(os.path.normpath(head))
    # The text identifies a source, so a path without such a link stays as it is.
    return normal if is_same else str(Path(os.path.realpath(head), *rest))


def path_in_file_url(url: str) -> str | None:
    """Return the path in the URL of a file of this machine; None if `url` is none."""
    match = _FILE.match(url)
    return url[match.end() :] if match else None


def local_path(text: str) -> Path:
    """Return a path of this machine; a shell leaves the `~` of `--out=~/runs` as it is.

    Raises:
        UrlError: `~` names no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UrlError(f"{text!r} has no home folder: {error}") from error


def full_url(url: str, options: Mapping[str, Any]) -> str:
    """Return `url` as it reads in any other folder, and on any other machine.

    Raises:
        UrlError: as `locate`.
    """
    store, path = locate(url, options)
    return store.name(path)


def open_objects(url: str, options: Mapping[str, Any]) -> tuple[ObjectStore, str]:
    """Return the object store behind `url` and the path in it.

    Raises:
        UrlError: the protocol or an option is unknown, or its package is not installed.
    """
    system, path = _connect(url, options)
    # fsspec has a system for each thread: clients such as SFTP's hang if two threads list folders.
    is_shared = system.async_impl or system.protocol == _SHARED
    connect = None if is_shared else lambda: _connect(url, options)[0]
    taken = {name: value for name, value in system.storage_options.items() if name not in options}
    host = _host(url, taken)
    return ObjectStore(system, host=host, connect=connect), path


def _host(url: str, taken: Mapping[str, Any]) -> str:
    """Return the host in a URL, with user and port, if paths lack it.

    fsspec has `taken` these options from the URL, or from its own configuration, which every run reads again.
    """
    host = url.partition("://")[2].partition("/")[0]
    if "account_name" in taken:
        account = host.rpartition("@")[2]
        return account if account.startswith(f"{taken['account_name']}.") else ""
    return host if "host" in taken else ""


def _connect(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        import fsspec  # noqa: PLC0415 - Local folders do not need it.

        system, path = fsspec.url_to_fs(url, **options)
    except ImportError as error:
        # For other protocols fsspec names the package.
        is_ours = url.startswith(_EXTRA) or error.name == "fsspec"
        cure = f"; {how_to_install('bulk')}" if is_ours else ""
        raise UrlError(without_secrets(f"{url}: {error}") + cure) from error
    except Exception as error:  # Each store raises its own: for its options, its credentials.
        cure = _UNKNOWN if "Protocol not known" in str(error) else ""
        raise UrlError(without_secrets(f"{url}: {error}") + cure) from error
    if _CACHE not in options and hasattr(system.dircache, _CACHE):
        # Other processes write there as well. As an option it would reach clients that refuse it, such as SFTP's.
        system.dircache.use_listings_cache = False
    return system, path
