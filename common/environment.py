"""Values as people give them, in the environment and on command lines."""

import os
from collections.abc import Mapping

_QUOTES = ("'", '"')


def read_variable(environment: Mapping[str, str], name: str) -> str:
    """Return a variable without the blanks and quotes around it; empty if it is unset.

    Secrets often end in a line break, lines of a file from Windows in CR, and `docker run --env-file` keeps the quotes
    that shells, systemd and compose remove.
    """
    value = environment.get(name, "").strip()
    is_quoted = len(value) > 1 and value[0] in _QUOTES and value[0] == value[-1]
    return value[1:-1].strip() if is_quoted else value


def expand_home(path: str) -> str:
    """Return a path with the home folder in place of a `~` that no shell has expanded; as it is if there is none."""
    return os.path.expanduser(path) if path == "~" or path.startswith("~/") else path  # noqa: PTH111
