"""The image files of a data set: where they lie, and which are read."""

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.webdataset import OTHER_ENDINGS
from gate.files import read_regular
from gate.header import IMAGE_ENDINGS

IMAGE_FOLDERS = ("faces-spring-2020/faces-spring-2020", "faces-spring-2020", "faces", ".")

MAX_BYTES = 64 * 2**20
"""Of an image file, as in `lensgate bulk`: several files are read at a time."""


def find_images(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Return the image files of a data set by name; append a line to `problems` for each file or folder ignored."""
    for number, candidate in enumerate(IMAGE_FOLDERS, start=1):
        found: dict[str, Path] = {}
        # Sorted, so that every machine chooses the same one of two files with equal stems.
        for path in sorted((folder / candidate).glob("face-*")):
            ending = path.suffix.lower()
            if ending in OTHER_ENDINGS:
                problems.append(describe_other(path))
            if ending not in IMAGE_ENDINGS:
                continue
            name = composed(path.stem)
            if name in found:
                problems.append(f"{found[name].name} is ignored: {path.name} has the same name")
            found[name] = path
        if found:
            problems += describe_ignored(folder, IMAGE_FOLDERS[number:], read=candidate, pattern="face-*")
            return found
    return {}


def describe_ignored(folder: Path, others: Iterable[str], *, read: str, pattern: str) -> Iterator[str]:
    """Yield a line about each of the `others` that holds images too; only those in `read` are read."""
    for other in others:
        holds_images = any(path.suffix.lower() in IMAGE_ENDINGS for path in (folder / other).glob(pattern))
        if holds_images and not (folder / other).samefile(folder / read):
            yield f"the images in {folder / other} are ignored, because {folder / read} has some: move them there"


def describe_other(path: Path) -> str:
    """Return the line about an image in a format that the gate does not read."""
    return f"{path.name} is ignored: images are PNG, JPEG or WebP files"


def read_image_file(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        OSError: the file cannot be read, is not a regular file, or has more than 64 MiB.
    """
    return read_regular(path, MAX_BYTES)


def composed(name: str) -> str:
    """Compose letters and accents: archives from macOS hold file names in two code points where tables have one."""
    return unicodedata.normalize("NFC", name)
