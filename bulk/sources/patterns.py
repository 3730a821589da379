"""File patterns: shell braces such as `{000..099}` and `{a,b}`, and globs with `*`, `?`, `[...]` and `**`."""

import math
import re
from collections.abc import Iterator

from fsspec.utils import glob_translate

from bulk.errors import UsageError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
_MAGIC = re.compile(r"[*?[]")
_NEGATION = re.compile(r"(?<!\[)\[\^")
_ANY_FOLDERS = "**"

MAX_PATHS = 10**6
"""Most paths that the braces of one pattern may name."""


def expand_braces(text: str) -> Iterator[str]:
    """Yield the expansions of a pattern with braces in order; `{x}` stays unchanged.

    Raises:
        UsageError: there are more than `MAX_PATHS`.
    """
    count = math.prod(map(_count, _BRACES.findall(text)))
    if count > MAX_PATHS:
        raise UsageError(f"the braces of {text!r} name {count:,} paths, at most {MAX_PATHS:,} are allowed: use *")
    return _expand(text)


def _expand(text: str) -> Iterator[str]:
    for match in _BRACES.finditer(text):
        choices = _choices(match[1])
        if choices is not None:
            head, tail = text[: match.start()], text[match.end() :]
            for choice in choices:
                yield from _expand(f"{head}{choice}{tail}")
            return
    yield text


def has_magic(text: str) -> bool:
    """Return whether the text is a glob."""
    return _MAGIC.search(text) is not None


def has_braces(text: str) -> bool:
    """Return whether the text has braces with choices."""
    return any(_choices(inside) is not None for inside in _BRACES.findall(text))


def fixed_folder(pattern: str) -> str:
    """Return the deepest folder that contains all matches of a glob."""
    return pattern[: pattern.rfind("/", 0, _first_magic(pattern))] or "/"


States = frozenset[int]
"""The positions in a glob, in path components, that a folder may have; `**` allows several."""


class Glob:
    """A glob matched component by component, so that folders without possible matches are not listed.

    Args:
        pattern: the glob.
        folder: the fixed folder, if its own name may look like a pattern.

    Raises:
        UsageError: `**` is part of a longer component, or a `[...]` is malformed.
    """

    def __init__(self, pattern: str, folder: str | None = None) -> None:
        self.folder = fixed_folder(pattern) if folder is None else folder
        parts = pattern.removeprefix(self.folder).lstrip("/").split("/")
        try:
            self._parts = [None if part == _ANY_FOLDERS else matcher(part) for part in parts]
        except (ValueError, re.error) as error:
            raise UsageError(f"{pattern!r} is not a valid pattern: {error}") from error
        self.start: States = self._open({0})

    def step(self, states: States, name: str) -> States:
        """Return the states of the entry `name` in a folder with these states."""
        after = set[int]()
        for state in states:
            if state < len(self._parts):
                part = self._parts[state]
                if part is None:
                    after |= {state} if state + 1 < len(self._parts) else {state, state + 1}
                elif part.match(name):
                    after.add(state + 1)
        return self._open(after)

    def is_match(self, states: States) -> bool:
        """Return whether an entry with these states matches the whole glob."""
        return len(self._parts) in states

    def descend(self, states: States) -> States:
        """Return the states of a folder from which an entry inside it can match."""
        return frozenset(state for state in states if state < len(self._parts))

    def states_in(self, folder: str, start: str) -> States:
        """Return the states from which an entry of `folder` can match, if the fixed folder lies at `start`."""
        start = start.rstrip("/")
        if not f"{folder}/".startswith(f"{start}/"):
            return frozenset()
        states = self.start
        for name in filter(None, folder.removeprefix(start).split("/")):
            states = frozenset() if name.startswith(".") else self.descend(self.step(states, name))
        return states

    def _open(self, states: set[int]) -> States:
        """Add the states after each `**`, which may match zero folders."""
        opened = set(states)
        for state in states:
            following = state
            while following + 1 < len(self._parts) and self._parts[following] is None:
                following += 1
                opened.add(following)
        return frozenset(opened)


def matcher(pattern: str) -> re.Pattern[str]:
    """Compile a glob into an expression for whole paths."""
    # Shells take both for a negation, and fsspec would match `^` itself.
    return re.compile(glob_translate(_NEGATION.sub("[!", pattern)))


def _first_magic(pattern: str) -> int:
    match = _MAGIC.search(pattern)
    return match.start() if match else len(pattern)


def _count(inside: str) -> int:
    """Return the number of choices of one pair of braces, 1 if it stays unchanged."""
    limits = _RANGE.fullmatch(inside)
    return inside.count(",") + 1 if limits is None else abs(int(limits[2]) - int(limits[1])) + 1


def _choices(inside: str) -> Iterator[str] | None:
    limits = _RANGE.fullmatch(inside)
    if limits is None:
        return iter(inside.split(",")) if "," in inside else None
    first, last = int(limits[1]), int(limits[2])
    padded = any(limit.startswith("0") and len(limit) > 1 for limit in limits.groups())
    width = max(map(len, limits.groups())) if padded else 0
    step = 1 if first <= last else -1
    return (f"{number:0{width}d}" for number in range(first, last + step, step))
