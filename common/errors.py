"""Errors of the code that several packages share. Each package lets them pass, or translates them at its border."""

from gate.errors import GateError


class StorageError(GateError):
    """Object storage cannot be reached, refuses the request, or lacks the bucket."""


class FolderInUse(GateError):
    """Another run is writing to the folder."""


class UrlError(StorageError):
    """A URL or its storage options cannot be used as they were given."""
