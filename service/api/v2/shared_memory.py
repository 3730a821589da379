"""POSIX shared memory, in which callers on the same host place tensors."""

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from service.api.v2.request import SharedMemoryRange
from service.errors import MalformedRequest, NotFound

FOLDER = Path("/dev/shm")  # noqa: S108 - callers choose the names of their own objects, as in a temporary folder.
"""The folder of `shm_open` on Linux."""

MAX_REGIONS = 256
"""Maximum number of regions; each uses a file descriptor."""

_KEY = re.compile(r"/?([A-Za-z0-9_-][A-Za-z0-9._-]{0,253})")
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SharedMemoryRegion:
    """A range of the shared memory object `key`, held open read-only."""

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

    They are read and written by system calls and never mapped: access to a mapping raises SIGBUS if its owner has
    shrunk the object.

    Args:
        enabled: whether the operator allows shared memory.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._regions: dict[str, SharedMemoryRegion] = {}

    def register(self, name: str, key: str, *, offset: int, size: int) -> None:
        """Register a range of a shared memory object.

        Raises:
            MalformedRequest: shared memory is off, the name is registered, or the range is invalid.
        """
        self._check_enabled()
        if name in self._regions:
            raise MalformedRequest(f"region {name!r} is already registered: unregister it first")
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
        """Unregister one region, or all; an unknown name is not an error."""
        self._check_enabled()
        for each in [name] if name is not None else list(self._regions):
            if region := self._regions.pop(each, None):
                os.close(region.file)

    def status(self, name: str | None = None) -> list[dict[str, str | int]]:
        """Describe one region, or all.

        Raises:
            MalformedRequest: shared memory is off.
            NotFound: the region is not registered.
        """
        self._check_enabled()
        if name is None:
            return [region.describe() for region in self._regions.values()]
        if name not in self._regions:
            raise NotFound(f"region {name[:64]!r} is not registered: register it first")
        return [self._regions[name].describe()]

    def read(self, part: SharedMemoryRange) -> bytes:
        """Read a range; its bytes must be reserved.

        Raises:
            MalformedRequest: shared memory is off, the region is unknown or its object replaced, or the range is
                outside of it.
        """
        region = self.check(part)
        data = os.pread(region.file, part.size, region.offset + part.offset)
        if len(data) != part.size:
            raise MalformedRequest(f"the shared memory object of region {part.region!r} has shrunk: register it again")
        return data

    def write(self, part: SharedMemoryRange, data: bytes) -> None:
        """Write an output, no longer than the range.

        Raises:
            MalformedRequest: shared memory is off, the region is unknown or read-only, or the range is outside of it.
        """
        region = self.check(part)
        _check_extent(region.file, region.key, region.offset + part.offset + len(data))
        try:
            # The same object, even if its name now belongs to another.
            with Path(f"/proc/self/fd/{region.file}").open("r+b") as file:
                file.seek(region.offset + part.offset)
                file.write(data)  # Buffered: one system call may write a part, as where memory runs out.
        except OSError as error:
            raise MalformedRequest(f"region {part.region!r} cannot be written: {_reason(error)}") from error

    def check(self, part: SharedMemoryRange) -> SharedMemoryRegion:
        """Return the region of a range.

        Raises:
            MalformedRequest: shared memory is off, the region is unknown or its object replaced, or the range is
                outside of it.
        """
        self._check_enabled()
        region = self._regions.get(part.region)
        if region is None:
            raise MalformedRequest(f"shared memory region {part.region[:64]!r} is not registered: register it first")
        _check_not_replaced(region)
        if part.offset + part.size > region.size:
            raise MalformedRequest(
                f"{part.size:,} bytes at offset {part.offset:,} are outside region {part.region!r} of {region.size:,}"
            )
        return region

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise MalformedRequest("shared memory is off: LENSGATE_SHARED_MEMORY enables it")


def check_apart(parts: Iterable[tuple[SharedMemoryRange, bytes]]) -> None:
    """Raise MalformedRequest for two outputs at one place, of which the later would overwrite the other."""
    for (part, data), (other, _) in permutations(parts, 2):
        if part.region == other.region and part.offset <= other.offset < part.offset + len(data):
            raise MalformedRequest(
                f"two outputs overlap in region {part.region!r} at offset {other.offset:,}: give each its own offset"
            )


def _open(key: str) -> int:
    match = _KEY.fullmatch(key)
    if match is None:
        raise MalformedRequest("key: must consist of letters, digits, '.', '_' and '-', with at most one leading '/'")
    try:
        return os.open(FOLDER / match[1], _READ)
    except OSError as error:
        raise MalformedRequest(f"the shared memory object {key!r} cannot be opened: {_reason(error)}") from error


def _check_extent(file: int, key: str, end: int) -> None:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise MalformedRequest(f"{key!r} is not a shared memory object")
    if end > status.st_size:
        raise MalformedRequest(
            f"the shared memory object {key!r} has {status.st_size:,} bytes, the region ends at {end:,}"
        )


def _check_not_replaced(region: SharedMemoryRegion) -> None:
    """Raise MalformedRequest if another object has the key, such as that of a caller that was started again.

    The region would hold the old images. An object without a name is the region's: its caller may have unlinked it.
    """
    try:
        status = (FOLDER / region.key.removeprefix("/")).lstat()
    except FileNotFoundError:
        return
    if not os.path.samestat(status, os.fstat(region.file)):
        raise MalformedRequest(
            f"another shared memory object has the key {region.key!r} of region {region.name!r} now: unregister the "
            "region, and register it again"
        )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO).lower()
