"""A place for files: a folder of this machine, or one in object storage by its URL (`s3://`, `gs://`).

A `Remote` answers to as much of `Path` as is used here, so that whoever reads does not ask which of the two it has.
"""

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gate import model_store as models
from training.errors import DataError, StorageError

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_CREDENTIALS = re.compile(r"credential|anonymous|access key|token|signature|denied|forbidden", re.IGNORECASE)
_ADVICE = (
    "say who asks by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, or the "
    "service account of the pod"
)

# What it logs, stack and all, it raises as well.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Remote:
    """A file or a folder of object storage; every call asks the storage anew.

    Raises:
        StorageError: from every call, where the storage cannot be reached, refuses, or has no such bucket.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    def read_bytes(self) -> bytes:
        """The whole object; FileNotFoundError where there is none."""
        with _asked(self, "read") as (storage, path):
            data: bytes = storage.cat_file(path)
        return data

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            with _asked(self, "looked for") as (storage, path):
                return bool(storage.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object; FileNotFoundError where the storage says that there is none and `missing_ok` is not."""
        try:
            with _asked(self, "deleted") as (storage, path):
                storage.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise


Place = Path | Remote


def place(text: str) -> Place:
    """A folder or file as it is given on a command line.

    Raises:
        DataError: it is an URL of more than one part, or of nothing.
    """
    if "://" not in text:
        return Path(text)
    url = _URL.fullmatch(text)
    if url and url[1].lower() in ("file", "local"):
        return Path(url[2])
    if not url or not url[2].strip("/") or "::" in text:
        raise DataError(f"{text!r} names no place for files: give a folder, or an URL such as s3://BUCKET/records")
    return Remote(f"{url[1].lower()}://{url[2].rstrip('/')}")


def write_whole(where: Place, data: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one and nothing between."""
    if isinstance(where, Path):
        models.write_whole(where, data)
        return
    with _asked(where, "written", needs_bucket=True) as (storage, path):
        # One request, or parts that appear together at the end.
        storage.pipe_file(path, data)


@contextmanager
def filled_whole(where: Place) -> Iterator[Path]:
    """A file of this machine to write to, which is there whole as `where` afterwards; after an error it is not."""
    if isinstance(where, Remote):
        with TemporaryDirectory() as folder:
            temporary = Path(folder) / where.name
            yield temporary
            write_whole(where, temporary.read_bytes())
        return
    where.parent.mkdir(parents=True, exist_ok=True)
    temporary = where.with_suffix(".partial")
    yield temporary
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(where)


def sizes_of(folder: Place) -> dict[str, int]:
    """All files below `folder`, in order, by their names from there on, and how many bytes each has."""
    if isinstance(folder, Path):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    with _asked(folder, "listed", needs_bucket=True) as (storage, path):
        found = storage.find(path, detail=True)
    return {name.removeprefix(f"{path}/"): int(found[name]["size"]) for name in sorted(found)}


def remove(folder: Place) -> None:
    """Delete `folder` and all that is in it, where there is one."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in sizes_of(folder):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _asked(where: Remote, what: str, *, needs_bucket: bool = False) -> Iterator[tuple[Any, str]]:
    """The file system that reaches `where` and the path there; what goes wrong is said in our words."""
    try:
        yield _connected(where.url)
    except FileNotFoundError as error:
        if needs_bucket or "bucket does not exist" in str(error):
            raise StorageError(f"{where} cannot be {what}: there is no such bucket, create it first") from error
        raise FileNotFoundError(errno.ENOENT, "there is no such object", where.url) from error
    except StorageError:
        raise
    except Exception as error:  # Each storage has errors of its own, without a base.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        advice = f"; {_ADVICE}" if _CREDENTIALS.search(text) else ""
        raise StorageError(f"{where} cannot be {what}: {text}{advice}") from error


def _connected(url: str) -> tuple[Any, str]:
    try:
        import fsspec  # noqa: PLC0415 - A folder takes none.

        # Others write there as well: no listing is kept.
        found: tuple[Any, str] = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise StorageError(f"{url}: {error}; lensgate[training] brings what s3:// and gs:// take") from error
    except ValueError as error:
        raise StorageError(f"{url} cannot be reached: {error}") from error
    return found
