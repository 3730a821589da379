"""POSIX shared memory that callers on the same host put their tensors in."""

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from service.api.v2.request import SharedMemoryRange
from service.errors import MalformedRequest, NotFound

FOLDER = Path("/dev/shm")  # noqa: S108 - its owner names what lies here, as one does in a temporary folder.
"""Where Linux shows the objects of `shm_open`."""

MAX_REGIONS = 256
"""SharedMemoryRegions registered at a time; each holds a file descriptor."""

_KEY = re.compile(r"/?([A-Za-z0-9_-][A-Za-z0-9._-]{0,253})")
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SharedMemoryRegion:
    """A stretch of `size` bytes of the object `key`, which stays open for reading alone."""

    name: str
    key: str
    offset: int
    size: int
    file: int

    def describe(self) -> dict[str, str | int]:
        """The region as the protocol's status shows it."""
        return {"name": self.name, "key": self.key, "offset": self.offset, "byte_size": self.size}


class SharedMemoryRegions:
    """The registered regions of one service.

    They are read and written by system calls and never mapped: touching a mapping whose owner has shrunk the object
    would end the process.

    Args:
        enabled: whether the operator lets callers use shared memory.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._regions: dict[str, SharedMemoryRegion] = {}

    def register(self, name: str, key: str, *, offset: int, size: int) -> None:
        """Let requests name a stretch of a shared memory object.

        Raises:
            MalformedRequest: it is off, the name is taken, or there is no such stretch.
        """
        self._check_enabled()
        if name in self._regions:
            raise MalformedRequest(f"a region {name!r} is registered already: unregister it first")
        if len(self._regions) >= MAX_REGIONS:
            raise MalformedRequest(f"{MAX_REGIONS} regions are registered: unregister one first")
        file = _open(key)
        try:
            _check_extent(file, key, offset + size)
        except MalformedRequest:
            os.close(file)
            raise
        self._regions[name] = SharedMemoryRegion(name, key, offset, size, file)

    def unregister(self, name: str | None = None) -> None:
        """Forget one region, or all of them; one that is not there is forgotten already."""
        self._check_enabled()
        for each in [name] if name is not None else list(self._regions):
            if region := self._regions.pop(each, None):
                os.close(region.file)

    def status(self, name: str | None = None) -> list[dict[str, str | int]]:
        """One region, or all of them.

        Raises:
            MalformedRequest: shared memory is off.
            NotFound: the region is not registered.
        """
        self._check_enabled()
        if name is None:
            return [region.describe() for region in self._regions.values()]
        if name not in self._regions:
            raise NotFound(f"no region {name[:64]!r} is registered")
        return [self._regions[name].describe()]

    def read(self, part: SharedMemoryRange) -> bytes:
        """The bytes of one part, for which there is room.

        Raises:
            MalformedRequest: it is off, not registered, or outside its region.
        """
        region = self.check(part)
        data = os.pread(region.file, part.size, region.offset + part.offset)
        if len(data) != part.size:
            raise MalformedRequest(f"the object of region {part.region!r} was shrunk")
        return data

    def write(self, part: SharedMemoryRange, data: bytes) -> None:
        """Put an output, no longer than the part, where the caller wants it.

        Raises:
            MalformedRequest: it is off, not registered, outside its region, or not writable.
        """
        region = self.check(part)
        _check_extent(region.file, region.key, region.offset + part.offset + len(data))
        try:
            # The same object again, not whatever has its key by now.
            file = os.open(f"/proc/self/fd/{region.file}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MalformedRequest(f"region {part.region!r} cannot be written: {_reason(error)}") from error
        try:
            os.pwrite(file, data, region.offset + part.offset)
        finally:
            os.close(file)

    def check(self, part: SharedMemoryRange) -> SharedMemoryRegion:
        """The region that a part lies in.

        Raises:
            MalformedRequest: it is off, not registered, or the part is not inside.
        """
        self._check_enabled()
        region = self._regions.get(part.region)
        if region is None:
            raise MalformedRequest(f"no shared memory region {part.region[:64]!r} is registered")
        if part.offset + part.size > region.size:
            raise MalformedRequest(
                f"{part.size:,} bytes from {part.offset:,} on are outside region {part.region!r} of {region.size:,}"
            )
        return region

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise MalformedRequest("shared memory is off: LENSGATE_SHARED_MEMORY lets callers on this host use it")


def _open(key: str) -> int:
    match = _KEY.fullmatch(key)
    if match is None:
        raise MalformedRequest(
            "the key of a region is a name of letters, digits, '.', '_' and '-', after one '/' at most"
        )
    try:
        return os.open(FOLDER / match[1], _READ)
    except OSError as error:
        raise MalformedRequest(f"the shared memory object {key!r} cannot be opened: {_reason(error)}") from error


def _check_extent(file: int, key: str, end: int) -> None:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise MalformedRequest(f"{key!r} is no shared memory object")
    if end > found.st_size:
        raise MalformedRequest(
            f"the shared memory object {key!r} has {found.st_size:,} bytes, the region ends at {end:,}"
        )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO).lower()
