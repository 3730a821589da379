"""Check a command of the documentation without running it: its program, flags, targets, files and URLs."""

import contextlib
import functools
import io
import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from lensgate.cli import main
from tests.docs.pages import ROOT

_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_PATHS: dict[str, dict[str, dict[str, list[dict[str, str]]]]] = json.loads((ROOT / "docs/openapi.json").read_text())[
    "paths"
]
_SEPARATORS = {"|", "||", "&&", ";"}
_PAGES = {"/", "/review", "/docs", "/openapi.json", "/login"}

# Programs of the system, whose own options are not checked.
_OTHERS = {
    "[", "cat", "cd", "chmod", "cp", "duckdb", "echo", "exit", "export", "git", "install", "kubectl", "ls", "openssl",
    "podman-compose", "pre-commit", "ray", "runuser", "stop_generator", "systemctl", "tar", "useradd", "wc",
}  # fmt: skip


class CommandError(AssertionError):
    """A command of the documentation would fail."""


def check(text: str) -> int:
    """Check each command of a block, or of a span of code; return their number.

    Raises:
        CommandError: the text names something that does not exist.
    """
    found = list(_commands(text))
    for words in found:
        _check(words)
    return len(found)


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command: comments, redirections, groups and assignments are left out.

    In a block with prompts, lines without one are output.
    """
    text = re.sub(r"\\\n\s*", " ", text)
    if prompts := re.findall(r"^\$ (.*)$", text, re.MULTILINE):
        text = "\n".join(prompts)
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                command.append(word)
                continue
            if cleaned := _without_rest(command):
                yield cleaned
            command = []


def _without_rest(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for word in words:
        if re.fullmatch(r"\d?>>?.*", word):
            break
        if word not in "{}" and (kept or not re.match(r"\w+=", word)):
            kept.append(word)
    return kept


def _check(words: list[str]) -> None:
    program = words[0].removeprefix(".venv/bin/")
    if program in _OTHERS:
        return
    if program not in _CHECKS:
        raise CommandError(f"these tests do not know the program {program}")
    _CHECKS[program](words[1:])


def _make(words: list[str]) -> None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = (
            rf"\$\((?:if \$\()?{name}\b|^{name} [?:]?=" if is_variable else rf"^[\w. -]*\b{re.escape(name)}\b[\w. -]*:"
        )
        if not re.search(pattern, _MAKEFILE, re.MULTILINE):
            raise CommandError(f"the Makefile has no {name}")


def _lensgate(words: list[str]) -> None:
    has_actions = words[0] in {"models", "tokens", "train"} and not "".join(words[1:2]).isupper()
    depth = 2 if has_actions else 1
    known = _help(tuple(words[:depth]))
    for flag in filter(re.compile("--[a-z]").match, words):
        if not re.search(rf"{flag.partition('=')[0]}\b(?!-)", known):
            raise CommandError(f"lensgate {' '.join(words[:depth])} has no {flag}")


@functools.cache
def _help(command: tuple[str, ...]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            status: object = main([*command, "--help"])
        except SystemExit as ended:
            status = ended.code
    if status:
        raise CommandError(f"lensgate {' '.join(command)}: {printed.getvalue()}")
    return printed.getvalue()


def _python(words: list[str]) -> None:
    if words[0] == "-m" and words[1] not in {"pip", "pytest", "venv"}:
        file = ROOT / words[1].replace(".", "/")
        module, is_package = file.with_suffix(".py"), (file / "__main__.py").is_file()
        if not module.is_file() and not is_package:
            raise CommandError(f"there is no module {words[1]}")
        # The modules of a folder below `bench` share their options.
        folder = file if is_package else file.parent
        sources = [module] if module.parent.parent == ROOT and not is_package else [*folder.glob("*.py")]
        _source_has_flags(words[2:], sources)
    elif not words[0].startswith("-"):
        _exists(words[0])


def _source_has_flags(words: list[str], sources: Sequence[Path]) -> None:
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    for flag in filter(re.compile("--[a-z]").match, words):
        name = flag.partition("=")[0]
        if f'"{name}"' not in text and not re.search(rf"\b{name[2:].replace('-', '_')}\b", text):
            raise CommandError(f"{sources[0].parent.relative_to(ROOT)} has no {flag}")


def _curl(words: list[str]) -> None:
    for word in words:
        if (sent := re.fullmatch(r"(?:\w+=)?@(.+)", word)) and sent[1].startswith("samples/"):
            _exists(sent[1])
        elif word.startswith("http://127.0.0.1:8000"):
            _check_url(word)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    matching = [
        methods for path, methods in _PATHS.items() if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), parts.path)
    ]
    if not matching and parts.path not in _PAGES:
        raise CommandError(f"the service has no {parts.path}")
    operations = [operation for methods in matching for operation in methods.values()]
    known = {one["name"] for operation in operations for one in operation["parameters"]}
    if unknown := {name for name, _ in parse_qsl(parts.query)} - known:
        raise CommandError(f"{parts.path} takes no {', '.join(sorted(unknown))}")


def _docker(words: list[str]) -> None:
    for flag, value in itertools.pairwise(words):
        if flag in {"-f", "--file"}:
            _exists(value)
        elif flag == "--target" and not re.search(rf"\bAS {value}\b", (ROOT / "deploy/Dockerfile").read_text()):
            raise CommandError(f"the Dockerfile has no target {value}")


def _pip(words: list[str]) -> None:
    for word in words[1:]:
        if word.startswith("./"):
            _exists(word)


def _activate(words: list[str]) -> None:
    if words != [".venv/bin/activate"]:
        raise CommandError(f"the Makefile makes no {words}")


def _exists(path: str) -> None:
    if not path.isupper() and not (ROOT / path).exists():
        raise CommandError(f"there is no {path}")


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    ".": _activate, "curl": _curl, "docker": _docker, "lensgate": _lensgate, "make": _make, "pip": _pip,
    "python": _python, "python3": _python,
}  # fmt: skip
