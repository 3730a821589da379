"""Read the two files of a model version."""

from pathlib import Path

from gate.card import Card
from gate.errors import ModelError
from gate.files import read_regular

GRAPH_FILE = "model.onnx"
CARD_FILE = "card.json"

MAX_GRAPH_BYTES = 2**31
"""The size limit of protobuf."""

_MAX_CARD_BYTES = 64 * 2**20
_POINTER = b"version https://git-lfs.github.com/spec/"


def read_graph(folder: Path) -> bytes:
    """Return the graph in the folder of a version.

    Raises:
        ModelError: it is a pointer of Git LFS.
        OSError: it cannot be read.
    """
    return _read(folder / GRAPH_FILE, MAX_GRAPH_BYTES)


def read_card(folder: Path) -> Card:
    """Return the card in the folder of a version.

    Raises:
        ModelError: it is not valid, or a pointer of Git LFS.
        OSError: it cannot be read.
    """
    path = folder / CARD_FILE
    text = _read(path, _MAX_CARD_BYTES)
    try:
        return Card.parse(text)
    except ModelError as error:
        raise ModelError(f"{error} ({path}: restore the file, or export the version again)") from error


def _read(path: Path, limit: int) -> bytes:
    data = read_regular(path, limit)
    if data.startswith(_POINTER):
        raise ModelError(f"{path} is a pointer of Git LFS in place of the file: run `git lfs pull`")
    return data
