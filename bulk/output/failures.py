"""The images that could not be judged, counted by the code of their error, with an example of each."""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import pyarrow.compute as pc

from bulk.output.folder import Folder
from bulk.output.table import read_columns


@dataclass(frozen=True, slots=True)
class Failure:
    """The images with one error code.

    Args:
        code: of the error, as in the table's column `error`.
        images: number of images.
        example: the id of the first of them, or its file if it has no id, as the rest of a damaged tar.
        detail: its error text.
    """

    code: str
    images: int
    example: str
    detail: str


def read_failures(folder: Folder, names: Iterable[str], pool: Executor) -> tuple[Failure, ...]:
    """Return the failures in these shards of the table, the most frequent code first.

    Only the column of codes is read from every shard; ids and texts from the first with each code.
    """
    images: dict[str, int] = {}
    first: dict[str, str] = {}
    names = sorted(names)
    for name, counts in zip(names, pool.map(partial(_count, folder), names), strict=True):
        for code, number in counts.items():
            images[code] = images.get(code, 0) + number
            first.setdefault(code, name)
    failures = [Failure(code, number, *_example(folder, first[code], code)) for code, number in images.items()]
    return tuple(sorted(failures, key=lambda failure: (-failure.images, failure.code)))


def _count(folder: Folder, name: str) -> dict[str, int]:
    with folder.opened(name) as file:
        counts = pc.value_counts(read_columns(file, "error")["error"].drop_null())
    return {pair["values"]: pair["counts"] for pair in counts.to_pylist()}


def _example(folder: Folder, name: str, code: str) -> tuple[str, str]:
    with folder.opened(name) as file:
        table = read_columns(file, "id", "file", "error", "detail")
    row = table.slice(pc.index(table["error"], code).as_py(), 1).to_pylist()[0]
    return row["id"] or row["file"], row["detail"] or ""
