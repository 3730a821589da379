"""A reader of Dockerfiles and .dockerignore files, as much of both as the project's own use."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Copy",
    "Instruction",
    "Mount",
    "Stage",
    "closure",
    "expand",
    "ignored",
    "lineage",
    "read_ignore",
    "read_stages",
]


@dataclass(frozen=True)
class Mount:
    """A folder of another stage that one RUN sees."""

    stage: str
    source: str
    target: str


@dataclass(frozen=True)
class Instruction:
    keyword: str
    value: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The `--name=value` words that come first."""
        words = self.value.split()
        return tuple(words[: next((at for at, word in enumerate(words) if not word.startswith("--")), len(words))])

    @property
    def command(self) -> str:
        """What comes after the flags."""
        return self.value.split(maxsplit=len(self.flags))[-1]

    def mounts(self) -> tuple[Mount, ...]:
        """The bind mounts of a RUN."""
        options = [
            dict(pair.split("=", 1) for pair in flag.removeprefix("--mount=").split(","))
            for flag in self.flags
            if flag.startswith("--mount=")
        ]
        return tuple(Mount(option["from"], option["source"], option["target"]) for option in options)

    def assignments(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables that an ENV, an ARG or a LABEL sets; `variables` are those set so far."""
        pairs = (word.partition("=") for word in shlex.split(self.value))
        return {name: expand(value, variables) for name, _, value in pairs}

    def exec_form(self) -> list[str] | None:
        """The arguments where they are a JSON list of strings, None for the shell form."""
        try:
            parsed = json.loads(self.value[self.value.index("[") :])
        except ValueError:
            return None
        return [str(argument) for argument in parsed]


@dataclass(frozen=True)
class Copy:
    sources: tuple[str, ...]
    destination: str
    stage: str | None
    mode: int | None = None


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def last(self, keyword: str) -> Instruction | None:
        return next((i for i in reversed(self.instructions) if i.keyword == keyword), None)

    def copies(self) -> Iterator[Copy]:
        for instruction in self.instructions:
            if instruction.keyword in {"COPY", "ADD"}:
                yield _copy(instruction)

    def needs(self) -> set[str]:
        """The names of the stages and images that this one is built from."""
        runs = (instruction for instruction in self.instructions if instruction.keyword == "RUN")
        mounted = {mount.stage for run in runs for mount in run.mounts()}
        return {self.base, *mounted, *(copy.stage for copy in self.copies() if copy.stage)}


def read_stages(path: Path) -> list[Stage]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stages: list[tuple[str, str, list[Instruction]]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        keyword, _, value = line.partition(" ")
        if keyword.upper() == "FROM":
            base, _, name = re.sub(r"--\S+\s+", "", value).partition(" AS ")
            stages.append((name.strip(), base.strip(), []))
        elif stages:
            stages[-1][2].append(Instruction(keyword.upper(), value.strip()))
    return [Stage(name, base, tuple(instructions)) for name, base, instructions in stages]


def lineage(stages: Sequence[Stage], name: str) -> list[Stage]:
    """A stage and those its FROM names, the nearest first: where an inherited instruction is looked up."""
    by_name = {stage.name: stage for stage in stages}
    found: list[Stage] = []
    while name in by_name:
        found.append(by_name[name])
        name = by_name[name].base
    return found


def closure(stages: Sequence[Stage], name: str) -> set[str]:
    """Every stage that is built when this one is the target."""
    by_name = {stage.name: stage for stage in stages}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (current := waiting.pop()) in by_name and current not in found:
            found.add(current)
            waiting.extend(by_name[current].needs())
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` filled in; what is not set is empty."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: variables.get(found[1] or found[2], ""), text)


def read_ignore(path: Path) -> list[str]:
    """The patterns of a .dockerignore."""
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether a .dockerignore of these lines keeps a path out of the build: the last line that matches decides."""
    parts = path.split("/")
    prefixes = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    out = False
    for pattern in patterns:
        expression = _expression(pattern.removeprefix("!"))
        if any(expression.fullmatch(prefix) for prefix in prefixes):
            out = not pattern.startswith("!")
    return out


def _copy(instruction: Instruction) -> Copy:
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in instruction.flags)
    *sources, destination = instruction.command.split()
    mode = int(flags["chmod"], 8) if "chmod" in flags else None
    return Copy(tuple(sources), destination, flags.get("from"), mode)


def _expression(pattern: str) -> re.Pattern[str]:
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+])", pattern.strip("/"))
    return re.compile("".join(tokens.get(p, p if p.startswith("[") else re.escape(p)) for p in pieces))
