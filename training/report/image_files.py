"""Find the file of each image of the records, if it still exists on this machine."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from common.storage import AnyPath
from training.data.dataset import data_set_name
from training.data.image_folders import find_images, read_image_file
from training.data.records import Manifest, read_rows
from training.errors import RecordsError
from training.report.page import Html, element


class ImageFiles:
    """The files of images, by data set and name."""

    def __init__(self, folders: Mapping[str, Path], sha256: Mapping[tuple[str, str], str]) -> None:
        """Args: the folder of each data set, and the hash of each image's file."""
        self._data_sets = sorted({data_set for data_set, _ in sha256})
        self._files = {name: find_images(folder, []) for name, folder in folders.items()}
        self._sha256 = sha256

    @classmethod
    def of(cls, records: AnyPath, manifest: Manifest, moved: Sequence[Path]) -> Self:
        """Look into the folders that the records name, or into the `moved` ones of the same name.

        Raises:
            RecordsError: a moved folder belongs to no data set of the records.
        """
        folders = {name: Path(folder) for name, folder in manifest.folders.items()}
        known = [data.name for data in manifest.data]
        for folder in moved:
            name = data_set_name(folder)
            if name not in known:
                raise RecordsError(f"--data {folder}: the data sets of {records} are {', '.join(known)}, not {name}")
            folders[name] = folder
        return cls(folders, {(row.data_set, row.name): row.sha256 for row in read_rows(records)})

    @property
    def missing(self) -> list[str]:
        """Names of data sets without any file on this machine."""
        return [name for name in self._data_sets if not self._files.get(name)]

    def find(self, data_set: str, name: str) -> Path | None:
        """Return the absolute path of an image, or None if its file is absent or has changed since the records."""
        path = self._files.get(data_set, {}).get(name)
        try:
            digest = path and hashlib.sha256(read_image_file(path)).hexdigest()
        except OSError:
            return None
        return path.resolve() if path and digest == self._sha256.get((data_set, name)) else None

    def link(self, data_set: str, name: str) -> tuple[Html, Html]:
        """Return the file name, as a link if the file exists, and the path to copy.

        The link has the absolute path, so it works from any place of this page on the machine with the file. Browsers
        do not follow it from a page that a web server sent.
        """
        path = self.find(data_set, name)
        if path is None:
            return element("strong", name), element("span", "file not found", class_="path")
        return element("a", path.name, href=path.as_uri()), element(
            "span", element("code", *_breakable(path)), class_="path"
        )


def _breakable(path: Path) -> Iterator[str]:
    """Allow line breaks after slashes, which do not become part of a copied path."""
    *folders, name = str(path).split("/")
    for folder in folders:
        yield f"{folder}/"
        yield Html("<wbr>")
    yield name
