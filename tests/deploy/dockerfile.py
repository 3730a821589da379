"""A reader of Dockerfiles and .dockerignore files, as much of both as the project's own use."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Copy", "Instruction", "Stage", "closure", "ignored", "lineage", "read_stages"]


@dataclass(frozen=True)
class Instruction:
    keyword: str
    value: str

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
                words = instruction.value.split()
                *sources, destination = [word for word in words if not word.startswith("--")]
                origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
                yield Copy(tuple(sources), destination, origin)

    def needs(self) -> set[str]:
        """The names of the stages and images that this one is built from."""
        mounted = {
            name
            for instruction in self.instructions
            if instruction.keyword == "RUN"
            for name in re.findall(r"--mount=\S*?\bfrom=([\w.-]+)", instruction.value)
        }
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


def _expression(pattern: str) -> re.Pattern[str]:
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+])", pattern.strip("/"))
    return re.compile("".join(tokens.get(p, p if p.startswith("[") else re.escape(p)) for p in pieces))
