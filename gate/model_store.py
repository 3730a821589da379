"""The folder of exported models: one sub-folder per version; `CURRENT` names the served version.

`HISTORY` lists the versions that were current before, one per line, oldest first; a rollback uses its last line. A last
line equal to the current version is ignored: a crash between the writes of the two files leaves one. Both are changed
under a lock on the folder.
"""

import errno
import hashlib
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from gate.card import VERSION_PATTERN, Card
from gate.default_models import MODEL_NAME, default_models
from gate.errors import ModelError
from gate.files import locked_folder, read_regular, set_mode, why_not_writable, write_atomically
from gate.model_files import CARD_FILE, GRAPH_FILE, read_card, read_graph

CURRENT_FILE = "CURRENT"
HISTORY_FILE = "HISTORY"

_FILES = (CURRENT_FILE, HISTORY_FILE)
_WITHOUT_FOLDER_RENAME = (errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""The errors of renaming a folder where folders are prefixes of names, as in mounted buckets."""

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

    def __init__(self, root: Path, name: str = MODEL_NAME) -> None:
        self.folder = root / name
        self.name = name

    def versions(self) -> list[str]:
        """Return the names of all version folders, in natural order: 2 before 10.

        Raises:
            ModelError: the folder of the versions cannot be read.
        """
        try:
            entries = list(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ModelError(f"{self.folder} cannot be read: {_reason(error)}") from error
        # A link to a version in the place of a file is none.
        names = (path.name for path in entries if not path.name.startswith(".") and path.name not in _FILES)
        return sorted((name for name in names if _holds_graph(self.folder / name)), key=_natural)

    def current(self) -> str:
        """Return the version that `CURRENT` names.

        Raises:
            ModelError: `CURRENT` is missing, empty or does not hold a version name.
        """
        path = self.folder / CURRENT_FILE
        try:
            version = _read_text(path, _MAX_NAME_BYTES).strip()
        except FileNotFoundError as error:
            raise ModelError(f"{path} does not exist: {self._remedy()}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read ({_reason(error)}): {self._remedy()}") from error
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
            if re.fullmatch(VERSION_PATTERN, version) and (self.folder / version).is_dir():
                raise ModelError(f"version {version!r} is incomplete: it has no {GRAPH_FILE}: copy it again")
            remedy = f"it holds {', '.join(self.versions())}" if self.versions() else self._remedy()
            raise ModelError(
                f"there is no model {self.name!r} version {version!r} under {self.folder.resolve()}: {remedy}"
            )
        folder = self.folder / version
        try:
            card = read_card(folder)
            graph = read_graph(folder)
        except OSError as error:
            fault = "is incomplete" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise ModelError(f"model {self.name!r} version {version!r} {fault}: {error}") from error
        if (card.name, card.version) != (self.name, version):
            raise ModelError(
                f"the card in {folder} is of model {card.name!r} version {card.version!r}: restore its own"
            )
        if hashlib.sha256(graph).hexdigest() != card.sha256:
            raise ModelError(f"{folder / GRAPH_FILE} is not the file of its card, the hashes differ: copy both again")
        return Model(card, graph)

    def promote(self, version: str, *, verify: Verify = lambda _: None) -> None:
        """Make `version` the current one. `CURRENT` is replaced atomically.

        Raises:
            ModelError: the version cannot be loaded, or `verify` rejects it.
        """
        verify(self.load(version))
        with locked_folder(self.folder):
            past = self.history()
            before = self._named()
            if before not in (None, version, *past[-1:]):
                # Before CURRENT: a crash in between leaves an extra line, which is ignored, and loses none.
                self._write(HISTORY_FILE, [*past, str(before)])
            self._write(CURRENT_FILE, [version])

    def promotion(self, version: str) -> str:
        """Return the command that promotes a version in this folder."""
        is_default = self.folder.parent.resolve() == default_models().resolve()
        where = [] if is_default else ["--models", str(self.folder.parent)]
        return shlex.join(["lensgate", "models", "promote", *where, version])

    def free_version(self, version: str | None = None) -> str:
        """Return a name for a new version: `version`, or else the next number.

        Raises:
            ModelError: the name is taken or not valid, or no version can be written here.
        """
        self._check_place()
        version = self._next_number() if version is None else version
        if not re.fullmatch(VERSION_PATTERN, version):
            raise ModelError(
                f"{version!r} is not a valid version name: use at most 64 letters, digits, '.', '_' and '-'"
            )
        if version in _FILES:
            raise ModelError(f"{version!r} is the name of a file beside the versions: choose another name")
        if (self.folder / version).exists():
            raise ModelError(f"{self.folder / version} exists, and versions are never overwritten: choose another name")
        return version

    def _next_number(self) -> str:
        """Return the number after those of all versions, also of deleted ones to which a rollback may go."""
        used = {*self.versions(), *self.history(), self._named() or ""}
        following = max((int(name) for name in used if name.isdecimal()), default=0) + 1
        return next(name for name in map(str, count(following)) if not (self.folder / name).exists())

    def _check_place(self) -> None:
        """Refuse a place that is not a folder or read-only: minutes of work may precede the writing."""
        if fault := why_not_writable(self.folder):
            raise ModelError(f"{fault}: name another folder of models")

    def add(self, model: Model) -> Path:
        """Write a new version and return its folder, which appears atomically. It is not promoted.

        Raises:
            ModelError: its name is taken or not valid.
        """
        folder = self.folder / self.free_version(model.card.version)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{folder.name}."))
        try:
            write_atomically(temporary / GRAPH_FILE, model.graph)
            write_atomically(temporary / CARD_FILE, (model.card.model_dump_json(indent=2) + "\n").encode())
            set_mode(temporary, 0o755)
            with locked_folder(self.folder):
                self.free_version(folder.name)  # Another command may have taken it meanwhile.
                _rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def rollback(self, *, verify: Verify = lambda _: None) -> Rollback:
        """Make the version that was current before this one current again; skip versions that were deleted.

        Raises:
            ModelError: there is no such version, `verify` rejects it, or another command changed the current version
                meanwhile; the files are unchanged.
        """
        before, history = state = self._named(), self.history()
        past, passed_over = self._past(before, history)
        version = past.pop()
        verify(self.load(version))
        with locked_folder(self.folder):
            # Two rollbacks at a time mean the same version, and a promotion meanwhile must stay.
            if (self._named(), self.history()) != state:
                raise ModelError(
                    f"{self.folder / CURRENT_FILE} was changed by another command meanwhile: see `lensgate models "
                    "list`, and roll back again if that is still right"
                )
            self._go_back(version, past, history)
        return Rollback(version, passed_over)

    def _past(self, before: str | None, history: list[str]) -> tuple[list[str], tuple[str, ...]]:
        """Return the history up to the version to restore, and the deleted versions after it, latest first."""
        past, there = list(history), self.versions()
        passed_over = []
        while past and (past[-1] == before or past[-1] not in there):
            version = past.pop()
            if version != before:
                passed_over.append(version)
        if not past:
            others = [version for version in there if version != before]
            gone = f" except deleted ones ({', '.join(passed_over)})" if passed_over else ""
            raise ModelError(
                f"{self.folder / HISTORY_FILE} names no version to go back to{gone}: {self._suggest(others)}"
            )
        return past, tuple(passed_over)

    def _go_back(self, version: str, past: list[str], history: list[str]) -> None:
        """Write the files. A crash before the last write leaves an extra line, which is ignored, and loses none."""
        if history != [*past, version]:
            self._write(HISTORY_FILE, [*past, version])
        self._write(CURRENT_FILE, [version])
        # A full disk does not undo what is done by now.
        with suppress(OSError):
            self._write(HISTORY_FILE, past)

    def history(self) -> list[str]:
        """Return the versions that were current before, oldest first.

        Raises:
            ModelError: `HISTORY` cannot be read.
        """
        path = self.folder / HISTORY_FILE
        try:
            lines = _read_text(path, _MAX_HISTORY_BYTES).splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"{path} cannot be read ({_reason(error)}): restore it, or move it away, after which no version "
                "can be rolled back to"
            ) from error
        return [line.strip() for line in lines if line.strip()]

    def _remedy(self) -> str:
        """Say how to come to a current version, as part of an error."""
        if versions := self.versions():
            return self._suggest(versions)
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(self.folder)):  # A URL, which loses a slash as a path.
            return "URLs are not read: copy the folder of models to this machine, and name the copy"
        for folder in (self.folder.resolve().parent, self.folder.resolve().parent.parent):
            if folder.name == self.name and ModelStore(folder.parent, self.name).versions():
                return f"the folder of models is {folder.parent}"
        return (
            f"no version is in {self.folder.resolve()}: give the folder of models as --models or LENSGATE_MODELS, in "
            "Python as models="
        )

    def _named(self) -> str | None:
        """Return the version in `CURRENT`; None if the file is broken, so that another one can still be promoted."""
        try:
            return self.current()
        except ModelError:
            return None

    def _suggest(self, versions: list[str]) -> str:
        if not versions:
            return "there is no other version to promote"
        names = ", ".join(versions)
        highest = next((version for version in reversed(versions) if self._can_load(version)), None)
        if highest is None:
            return f"none of {names} can be loaded: `lensgate models list` says why"
        return f"promote one of {names}: {self.promotion(highest)}"

    def _can_load(self, version: str) -> bool:
        try:
            self.load(version)
        except ModelError:
            return False
        return True

    def _write(self, name: str, versions: list[str]) -> None:
        path = self.folder / name
        # Through a symbolic link to a file, which others may read, instead of replacing it.
        target = path.resolve() if path.is_file() else path
        write_atomically(target, "".join(f"{version}\n" for version in versions).encode())


def _holds_graph(folder: Path) -> bool:
    try:
        return (folder / GRAPH_FILE).exists()
    except OSError:  # Without permission; loading the version says so.
        return True


def _read_text(path: Path, limit: int) -> str:
    """Read a file that people may have written, on Windows with a byte order mark."""
    return read_regular(path, limit).decode("utf-8-sig")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in _WITHOUT_FOLDER_RENAME:
            raise
        raise ModelError(
            f"{folder} cannot appear at once, because its file system renames no folders: name a folder of models on "
            "a disk, and copy the version from there"
        ) from error


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
