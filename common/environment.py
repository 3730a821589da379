"""Values as people give them, in the environment and on command lines."""

import os
import re
from collections.abc import Mapping

_QUOTES = ("'", '"')
_CONTENT = re.compile(r"-----BEGIN |LS0tLS1CRUdJTi|lensgate_[\w-]{43}\Z|.*[\r\n]")
"""The beginning of a PEM file, also in base64; a token; several lines."""


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


def is_content(value: str) -> bool:
    """Return whether a secret or the text of a file is in the place of a path; errors about paths would show it."""
    return _CONTENT.match(value) is not None
