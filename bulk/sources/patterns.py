"""Patterns of files: `{000..099}` and `{a,b}` as shells expand them, `*`, `?`, `[...]` and `**` as globs."""

import re
from collections.abc import Iterator

from fsspec.utils import glob_translate

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAGIC = re.compile(r"[*?[]")


def expand_braces(text: str) -> Iterator[str]:
    """Each text that a pattern with braces stands for, in order; `{x}` alone stays as it is."""
    for match in _BRACES.finditer(text):
        choices = _choices(match[1])
        if choices is not None:
            head, tail = text[: match.start()], text[match.end() :]
            for choice in choices:
                yield from expand_braces(f"{head}{choice}{tail}")
            return
    yield text


def has_magic(text: str) -> bool:
    """Whether it is a glob."""
    return _MAGIC.search(text) is not None


def fixed_folder(pattern: str) -> str:
    """The deepest folder that everything a glob matches lies in."""
    return pattern[: pattern.rfind("/", 0, _first_magic(pattern))] or "/"


def depth(pattern: str) -> int | None:
    """How many folders below its fixed one a glob can reach; None is any."""
    return None if "**" in pattern else pattern.count("/", _first_magic(pattern))


def matcher(pattern: str) -> re.Pattern[str]:
    """Matches whole paths."""
    return re.compile(glob_translate(pattern))


def _first_magic(pattern: str) -> int:
    match = _MAGIC.search(pattern)
    return match.start() if match else len(pattern)


def _choices(inside: str) -> Iterator[str] | None:
    limits = _RANGE.fullmatch(inside)
    if limits is None:
        return iter(inside.split(",")) if "," in inside else None
    first, last = int(limits[1]), int(limits[2])
    padded = any(limit.startswith("0") and len(limit) > 1 for limit in limits.groups())
    width = max(map(len, limits.groups())) if padded else 0
    step = 1 if first <= last else -1
    return (f"{number:0{width}d}" for number in range(first, last + step, step))
