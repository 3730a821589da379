"""The folder of exported models: one sub-folder per version; `CURRENT` names the served version.

`HISTORY` lists the versions that were current before, one per line, oldest first; a rollback uses its last line. A last
line equal to the current version is ignored: a crash between the writes of the two files leaves one.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gate.card import VERSION_PATTERN, Card
from gate.default_models import NAME
from gate.errors import ModelError
from gate.files import read_regular, write_atomically

GRAPH_FILE = "model.onnx"
CARD_FILE = "card.json"
CURRENT_FILE = "CURRENT"
HISTORY_FILE = "HISTORY"

MAX_GRAPH_BYTES = 2**31
"""The size limit of protobuf."""

_MAX_CARD_BYTES = 64 * 2**20
_MAX_NAME_BYTES = 4096
_MAX_HISTORY_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Model:
    """A graph whose hash matched its card. The hashed bytes are kept, so these bytes are run."""

    card: Card
    graph: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rollback:
    """The version that is current again, and the deleted versions that were skipped, latest first."""

    version: str
    passed_over: tuple[str, ...]


Verify = Callable[[Model], object]
"""Raises if a model must not be served."""


class ModelStore:
    """The versions of one model under `root / name`."""

    def __init__(self, root: Path, name: str = NAME) -> None:
        self.folder = root / name
        self.name = name

    def versions(self) -> list[str]:
        """Return the names of all version folders, in natural order: 2 before 10."""
        if not self.folder.is_dir():
            return []
        found = (path.parent.name for path in self.folder.glob(f"*/{GRAPH_FILE}"))
        return sorted((name for name in found if not name.startswith(".")), key=_natural)

    def current(self) -> str:
        """Return the version that `CURRENT` names.

        Raises:
            ModelError: `CURRENT` is missing, empty or does not hold a version name.
        """
        path = self.folder / CURRENT_FILE
        try:
            version = read_regular(path, _MAX_NAME_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read: {self._remedy()}") from error
        if not version:
            raise ModelError(f"{path} is empty: {self._remedy()}")
        if not re.fullmatch(VERSION_PATTERN, version):
            raise ModelError(f"{path} does not hold a version name: {self._remedy()}")
        return version

    def load(self, version: str | None = None) -> Model:
        """Read one version, by default the current one, and check the hash of its graph against its card.

        Raises:
            ModelError: a file is missing, the card is not valid, or names another model, version or hash.
        """
        version = self.current() if version is None else version
        if version not in self.versions():
            found = f"it holds {', '.join(self.versions())}" if self.versions() else self._remedy()
            raise ModelError(
                f"there is no model {self.name!r} version {version!r} under {self.folder.resolve()}: {found}"
            )
        folder = self.folder / version
        try:
            card = Card.parse(read_regular(folder / CARD_FILE, _MAX_CARD_BYTES))
            graph = read_regular(folder / GRAPH_FILE, MAX_GRAPH_BYTES)
        except OSError as error:
            raise ModelError(f"model {self.name!r} version {version!r} is incomplete: {error}") from error
        if (card.name, card.version) != (self.name, version):
            raise ModelError(f"the card in {folder} is of model {card.name!r} version {card.version!r}")
        if hashlib.sha256(graph).hexdigest() != card.sha256:
            raise ModelError(f"{folder / GRAPH_FILE} is not the file that its card describes: the hashes differ")
        return Model(card, graph)

    def promote(self, version: str, *, verify: Verify = lambda _: None) -> None:
        """Make `version` the current one. `CURRENT` is replaced atomically.

        Raises:
            ModelError: the version cannot be loaded, or `verify` rejects it.
        """
        verify(self.load(version))
        past = self.history()
        before = self._named()
        if before not in (None, version, *past[-1:]):
            # Before CURRENT: a crash in between leaves an extra line, which is ignored, and loses none.
            self._write_history([*past, str(before)])
        write_atomically(self.folder / CURRENT_FILE, f"{version}\n".encode())

    def rollback(self, *, verify: Verify = lambda _: None) -> Rollback:
        """Make the version that was current before this one current again; skip versions that were deleted.

        Raises:
            ModelError: there is no such version, or `verify` rejects it; the files are unchanged.
        """
        past, there, before = self.history(), self.versions(), self._named()
        passed_over = []
        while past and (past[-1] == before or past[-1] not in there):
            version = past.pop()
            if version != before:
                passed_over.append(version)
        if not past:
            others = [version for version in there if version != before]
            gone = f" except deleted ones ({', '.join(passed_over)})" if passed_over else ""
            raise ModelError(f"{self.folder / HISTORY_FILE} names no version to go back to{gone}: {_promote(others)}")
        version = past.pop()
        verify(self.load(version))
        # After CURRENT: otherwise a crash in between would lose the version to restore.
        write_atomically(self.folder / CURRENT_FILE, f"{version}\n".encode())
        self._write_history(past)
        return Rollback(version, tuple(passed_over))

    def history(self) -> list[str]:
        """Return the versions that were current before, oldest first.

        Raises:
            ModelError: `HISTORY` cannot be read.
        """
        path = self.folder / HISTORY_FILE
        try:
            lines = read_regular(path, _MAX_HISTORY_BYTES).decode().splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
        return [line.strip() for line in lines if line.strip()]

    def _remedy(self) -> str:
        """Say how to come to a current version, as part of an error."""
        if versions := self.versions():
            return _promote(versions)
        return f"no version is in {self.folder.resolve()}: give the folder of models as --models or LENSGATE_MODELS"

    def _named(self) -> str | None:
        """Return the version in `CURRENT`; None if the file is broken, so that another one can still be promoted."""
        try:
            return self.current()
        except ModelError:
            return None

    def _write_history(self, versions: list[str]) -> None:
        write_atomically(self.folder / HISTORY_FILE, "".join(f"{version}\n" for version in versions).encode())


def _promote(versions: list[str]) -> str:
    if not versions:
        return "there is no other version to promote"
    return f"promote one of {', '.join(versions)}: lensgate models promote {versions[-1]}"


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
