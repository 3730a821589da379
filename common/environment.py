"""Values as people give them, in the environment and on command lines."""

from collections.abc import Mapping

ONLY_SHELLS = "only a shell expands ~, at the beginning of a word: write the whole path, or ./~ for a folder named ~"
"""The error of a path for which `is_at_home` is true."""

_QUOTES = ("'", '"')


def read_variable(environment: Mapping[str, str], name: str) -> str:
    """Return a variable without the blanks and quotes around it; empty if it is unset.

    Secrets often end in a line break, lines of a file from Windows in CR, and `docker run --env-file` keeps the quotes
    that shells, systemd and compose remove.
    """
    value = environment.get(name, "").strip()
    is_quoted = len(value) > 1 and value[0] in _QUOTES and value[0] == value[-1]
    return value[1:-1].strip() if is_quoted else value


def is_at_home(path: str) -> bool:
    """Return whether a path begins with the `~` of a home folder, which would become a folder of that name."""
    return path == "~" or path.startswith("~/")
