"""The images that the preparation of records decodes."""

from pathlib import Path

import pytest

from training.data import shards
from training.data.image_folders import read_image_file


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of all images decoded from now on."""
    seen, read = list[str](), read_image_file

    def read_named(path: Path) -> bytes:
        seen.append(path.stem)
        return read(path)

    monkeypatch.setattr(shards, "read_image_file", read_named)
    return seen
