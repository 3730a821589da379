"""A target of the Dockerfile built into a folder, its steps in order."""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from deploy.rehearsal.dockerfile import Copy, Instruction, Stage, expand, ignored

__all__ = ["Bind", "Builder", "Image", "Step"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Bind:
    """A folder or file of this machine that a step sees at `target`, and cannot write."""

    source: Path
    target: str


@dataclass(frozen=True)
class Image:
    """A root folder, and what a container of it is started with."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    settings: Mapping[str, Instruction] = field(default_factory=dict)
    """ENTRYPOINT, CMD, HEALTHCHECK, USER and the like: the last of each."""

    def path(self, inside: str) -> Path:
        """Where a path of the image is on this machine; a relative one starts at the working folder."""
        return self.root / str(PurePosixPath(self.workdir) / inside).lstrip("/")


@dataclass(frozen=True)
class Step:
    """One RUN, ready to be carried out."""

    root: Path
    command: str
    environment: Mapping[str, str]
    workdir: str
    binds: Sequence[Bind]


class Builder:
    """Builds stages, each once.

    Args:
        stages: all of the Dockerfile.
        context: the folder that COPY reads.
        base: the image that stands for the one FROM names and no stage is.
        work: where the roots of the stages are made.
        run: carries out a RUN, and raises where it fails.
        ignore: patterns of the .dockerignore.
        arguments: values of ARG.
        note: is told of every step.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        context: Path,
        base: Image,
        work: Path,
        run: Callable[[Step], None],
        ignore: Sequence[str] = (),
        arguments: Mapping[str, str] | None = None,
        note: Note = lambda _: None,
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._context = context
        self._base = base
        self._work = work
        self._run = run
        self._ignore = ignore
        self._arguments = dict(arguments or {})
        self._note = note
        self._built: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        """The image of a stage, and before it those that it needs."""
        if name not in self._built:
            stage = self._stages[name]
            for other in sorted(stage.needs() & self._stages.keys()):
                self.build(other)
            self._built[name] = self._build(stage)
        return self._built[name]

    def _build(self, stage: Stage) -> Image:
        parent = self._built.get(stage.base, self._base)
        self._note(f"FROM {stage.base} AS {stage.name}")
        image = replace(parent, root=self._work / stage.name)
        _copy_root(parent.root, image.root)
        copies = stage.copies()
        arguments: dict[str, str] = {}
        for instruction in stage.instructions:
            self._note(f"{instruction.keyword} {instruction.value}")
            match instruction.keyword:
                case "RUN":
                    self._step(image, instruction, arguments)
                case "COPY":
                    self._copy(image, next(copies))
                case "ARG":
                    arguments |= self._argument(instruction)
                case _:
                    image = _configure(image, instruction, arguments)
        return image

    def _argument(self, instruction: Instruction) -> dict[str, str]:
        given = instruction.assignments(self._arguments)
        return given | {name: self._arguments[name] for name in given.keys() & self._arguments.keys()}

    def _step(self, image: Image, instruction: Instruction, arguments: Mapping[str, str]) -> None:
        binds = [
            Bind(self._built[mount.stage].root / mount.source.lstrip("/"), mount.target)
            for mount in instruction.mounts()
        ]
        environment = {**arguments, **image.environment}
        self._run(Step(image.root, instruction.command, environment, image.workdir, binds))

    def _copy(self, image: Image, copy: Copy) -> None:
        destination = image.path(copy.destination)
        into = copy.destination.endswith("/") or len(copy.sources) > 1
        for source in copy.sources:
            if copy.stage is not None:
                _copy_tree(self._built[copy.stage].root / source.lstrip("/"), destination)
            else:
                self._copy_from_context(source, destination, into=into, mode=copy.mode)

    def _copy_from_context(self, source: str, destination: Path, *, into: bool, mode: int | None) -> None:
        """A folder's content goes to the destination; a file too, or below it where that is a folder."""
        origin = self._context / source
        if origin.is_file():
            found = {origin: destination / origin.name if into or destination.is_dir() else destination}
        else:
            found = {path: destination / path.relative_to(origin) for path in origin.rglob("*") if path.is_file()}
        wanted = {
            path: target
            for path, target in found.items()
            if not ignored(path.relative_to(self._context).as_posix(), self._ignore)
        }
        if not wanted:
            raise FileNotFoundError(f"COPY {source}: nothing of it may enter the build")
        for path, target in wanted.items():
            _copy_file(path, target, mode=mode, top=destination)


def _configure(image: Image, instruction: Instruction, arguments: Mapping[str, str]) -> Image:
    variables = {**arguments, **image.environment}
    if instruction.keyword == "ENV":
        return replace(image, environment={**image.environment, **instruction.assignments(variables)})
    if instruction.keyword == "WORKDIR":
        folder = image.path(expand(instruction.value, variables))
        folder.mkdir(parents=True, exist_ok=True)
        return replace(image, workdir="/" + folder.relative_to(image.root).as_posix())
    return replace(image, settings={**image.settings, instruction.keyword: instruction})


def _copy_file(source: Path, target: Path, *, mode: int | None, top: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    if mode is not None:
        # Folders too, as Docker does it.
        for path in (target, *(folder for folder in target.parents if folder == top or top in folder.parents)):
            path.chmod(mode)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def _copy_root(source: Path, target: Path) -> None:
    """All of a root as it is: owners, links and device files, which `shutil` would read for ever."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", source, target], check=True)  # noqa: S603, S607
