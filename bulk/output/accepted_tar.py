"""Accepted images as a WebDataset tar: their bytes and the other members of their samples, unchanged."""

import contextlib
import io
import re
import tarfile
import unicodedata
from types import TracebackType
from typing import Self
from urllib.parse import quote

from bulk.job import BulkJob
from bulk.sources.sample import Sample
from bulk.work_unit import WorkUnit, digest
from common.storage import FileStore
from gate.header import ImageFormat, read_header

ENDING = ".tar"

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_RESERVED = re.compile("_(?=_[^/]*__/)")
"""The start of a first folder such as `__faces__`: the package webdataset skips what lies in it as metadata."""

_CUT_ESCAPE = re.compile("%[0-9A-F]?$")

_NAME_BYTES = 255
"""Longest name of a file or folder on Linux."""

_KEY_BYTES, _FOLDERS_BYTES = 2_000, 255
"""Longest key: readers take names of 4,096 bytes, and unpacking adds a folder. The folders of a longer one are one."""

_ENDING_BYTES, _SUFFIX_BYTES = 100, 20
_COUNT_BYTES = 8
"""Room for the `~2` of a repeated key."""

_ENDINGS = {ImageFormat.PNG: "png", ImageFormat.JPEG: "jpg", ImageFormat.WEBP: "webp"}


def kept_name(unit: WorkUnit, job: BulkJob) -> str:
    """Return the name of the unit's tar. It changes with the unit's state, so an existing tar need not be read."""
    return f"{unit.slot}-{digest([unit.fingerprint, job.decision_key])[:8]}{ENDING}"


def safe_name(name: str) -> str:
    """Make a name safe to unpack and to read: percent-encode `..`, a leading slash, backslashes, control characters."""
    safe = "/".join("%2E%2E" if part == ".." else part for part in name.split("/"))
    if safe.startswith("/"):
        safe = f"%2F{safe[1:]}"
    elif _RESERVED.match(safe):
        safe = f"%5F{safe[1:]}"
    return _UNSAFE.sub(lambda match: quote(match[0], safe=""), safe)


def fit_key(key: str, room: int) -> str:
    """Shorten the parts of a key that no file system holds; a digest of the key keeps them apart.

    Percent-encoding makes nine characters of a Chinese one.

    Args:
        key: a safe name.
        room: bytes for its last part; folders have `_NAME_BYTES`.
    """
    *folders, last = key.split("/")
    if folders and len(_encoded(key)) > _KEY_BYTES:
        folders = [_shortened("/".join(folders).replace("/", "%2F"), key, _FOLDERS_BYTES)]
    return "/".join([*(_shortened(part, key, _NAME_BYTES) for part in folders), _shortened(last, key, room)])


def fit_ending(ending: str) -> str:
    """Shorten a part of a name behind the key, and keep its suffix."""
    stem, _, suffix = ending.rpartition(".")
    if len(_encoded(ending)) <= _ENDING_BYTES:
        return ending
    if len(_encoded(suffix)) > _SUFFIX_BYTES:
        return _shortened(ending, ending, _ENDING_BYTES)
    return f"{_shortened(stem, stem, _ENDING_BYTES - _SUFFIX_BYTES - 1)}.{suffix}"


def _shortened(part: str, whole: str, room: int) -> str:
    data = _encoded(part)
    if len(data) <= room:
        return part
    mark = f"~{digest([whole])[:12]}"
    # Neither a character nor an escape is cut within.
    return _CUT_ESCAPE.sub("", data[: room - len(mark)].decode("utf-8", "ignore")) + mark


def _folded(key: str) -> str:
    """Return a key as macOS and Windows compare names: unpacked there, `A` would overwrite `a`."""
    return unicodedata.normalize("NFC", key).casefold()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class AcceptedTar:
    """Writes a unit's accepted samples as a tar at `path`, or writes no tar without any. Deterministic.

    The tar appears when the block ends, and never after an error.
    """

    def __init__(self, store: FileStore, path: str) -> None:
        self._store, self._path = store, path
        self._stack = contextlib.ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._keys: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, sample: Sample, image: bytes) -> None:
        """Add a sample."""
        if self._tar is None:
            file = self._stack.enter_context(self._store.publish(self._path))
            self._tar = tarfile.open(file, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
            self._stack.enter_context(self._tar)
        ending = fit_ending(safe_name(sample.ending)) or _ENDINGS[read_header(image).format]
        beside = [(fit_ending(safe_name(other)), data) for other, data in sample.beside]
        longest = max(len(_encoded(each)) for each in (ending, *(other for other, _ in beside)))
        # Readers take a member with an empty name for a hidden file.
        key = self._free(fit_key(safe_name(sample.key).rstrip("/"), _NAME_BYTES - 1 - longest - _COUNT_BYTES))
        self._write(self._tar, f"{key}.{ending}", image)
        for other, data in beside:
            self._write(self._tar, f"{key}.{other}" if other else key, data)

    def _free(self, key: str) -> str:
        """Return a key that is not taken: readers would merge two images under one key into one sample."""
        free, same = key, _folded(key)
        while _folded(free) in self._keys:
            self._keys[same] += 1
            free = f"{key}~{self._keys[same]}"
        self._keys[_folded(free)] = 1
        return free

    @staticmethod
    def _write(tar: tarfile.TarFile, name: str, data: bytes) -> None:
        # The defaults of TarInfo for owner, mode and time keep the bytes deterministic.
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
