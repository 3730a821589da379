"""Unpack tars with every supported Python."""

import tarfile
from pathlib import Path
from typing import Any, Literal


def unpack(opened: tarfile.TarFile, folder: Path, *, rule: Literal["data", "tar"] = "data") -> None:
    """Extract all members by one of Python's rules; releases before 3.11.4 have none."""
    chosen: dict[str, Any] = {"filter": rule} if hasattr(tarfile, "data_filter") else {}
    opened.extractall(folder, **chosen)  # noqa: S202  # The tests' own files.
