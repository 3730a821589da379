"""The actions of `lensgate tokens` on the token file. Running services reload it."""

import argparse
import math
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.environment import expand_home, is_content, read_variable
from common.terminal import say
from gate.files import atomic_file, locked_folder
from lensgate.streams import close_output, is_output_closed
from service.access.tokens import Token, describe_expiry, hash_token, make_token, parse_tokens, read_text, read_tokens
from service.errors import SettingsError

_HEADER = re.compile(r"\s*\[\[\s*token\s*\]\]\s*(#.*)?")
_ANY_HEADER = re.compile(r"\s*\[.*")
_BLANK = re.compile(r"\s*(#.*)?")


def add_token(options: argparse.Namespace) -> int:
    """Create a token, print it, and store its hash.

    Raises:
        SettingsError: an option or the file is not valid, or the token cannot be printed.
    """
    path, token = _path(options), make_token()
    if is_output_closed():
        raise _not_added(options.name, "standard output is closed")
    with locked_folder(path.parent):
        before = read_text(path) if path.exists() else None
        after = f"{_ended(before or '')}{_entry(options, token)}"
        # Parse the whole file as the service does, so that errors are reported before it is written.
        parse_tokens(after, source=str(path))
        _write(path, after)
        try:
            say(token)
        except OSError as error:
            close_output()
            # The token is lost, and its name would stay taken.
            _write(path, before) if before is not None else path.unlink()
            raise _not_added(options.name, error.strerror or str(error)) from error
    say(f"{path}: {options.name} added; the file holds only its hash, so store the token", error=True)
    return 0


def list_tokens(options: argparse.Namespace) -> int:
    """Print a table of the tokens."""
    tokens = read_tokens(_path(options))
    rows = [("name", "scopes", "requests/s", "ends"), *map(_row, tokens)]
    for name, scopes, rate, expires in rows:
        say(f"{name:24} {scopes:20} {rate:>10}  {expires}")
    return 0


def revoke_token(options: argparse.Namespace) -> int:
    """Remove a token.

    Raises:
        SettingsError: there is no such token, or no other one.
    """
    path = _path(options)
    with locked_folder(path.parent):
        text = read_text(path)
        tokens = parse_tokens(text, source=str(path))
        less = _less(text, options.name, tokens, path)
        if len(tokens) == 1:
            raise SettingsError(
                f"{path}: {options.name!r} is the only token, and a running service would keep it: it refuses "
                "a file without tokens. Add another one first, or stop the service and delete the file"
            )
        _write(path, less)
    say(f"{path}: {options.name} revoked")
    return 0


def _not_added(name: str, reason: str) -> SettingsError:
    return SettingsError(f"{name} was not added, because its token cannot be printed: {reason}")


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else f"{text}\n"


def _less(text: str, name: str, tokens: Sequence[Token], path: Path) -> str:
    """Return the text without the token of this name."""
    place = next((place for place, token in enumerate(tokens) if token.name == name), None)
    if place is None:
        raise SettingsError(f"{path}: there is no token {name!r}: `lensgate tokens list` prints them")
    less = _without(text, place)
    if less is None or parse_tokens(less, source=str(path)) != (*tokens[:place], *tokens[place + 1 :]):
        raise SettingsError(f"{path}: unknown layout: remove the entry of {name!r} by hand")
    return less


def _path(options: argparse.Namespace) -> Path:
    path = str(options.file or read_variable(os.environ, "LENSGATE_TOKENS") or "tokens.toml")
    if is_content(path):
        raise SettingsError("the token file must be the path of a file, not its content: set --file or LENSGATE_TOKENS")
    return Path(expand_home(path)).resolve()  # Write through a symbolic link instead of replacing it.


def _entry(options: argparse.Namespace, token: str) -> str:
    lines = [
        "[[token]]",
        f"name = {_quote(options.name)}",
        f'sha256 = "{hash_token(token)}"',
        f"scopes = [{', '.join(_quote(name.strip()) for name in options.scopes.split(',') if name.strip())}]",
    ]
    if options.requests_per_second is not None:
        lines.append(f"requests_per_second = {options.requests_per_second}")
    if options.burst is not None:
        lines.append(f"burst = {options.burst}")
    if options.days is not None:
        lines.append(f"expires = {_end(options.days)}")
    return "\n".join(lines) + "\n"


def _end(days: float) -> str:
    if not (math.isfinite(days) and 0 < days <= 36_500):
        raise SettingsError(f"--days {days:g}: must be above 0 and at most 36500")
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def _quote(text: str) -> str:
    # Other characters that need escaping are invalid in names and scopes, and are refused by the parser.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _row(token: Token) -> tuple[str, str, str, str]:
    rate = "" if token.requests_per_second is None else f"{token.requests_per_second:g}"
    return token.name, ",".join(sorted(token.scopes)) or "-", rate, describe_expiry(token)


def _without(text: str, place: int) -> str | None:
    """Return the text without entry `place`, or None for an unknown layout; the next entry keeps its comments."""
    lines = text.splitlines(keepends=True)
    heads = [number for number, line in enumerate(lines) if _HEADER.fullmatch(line.rstrip("\r\n"))]
    if place >= len(heads):
        return None
    first, end = heads[place], _end_of_entry(lines, heads[place])
    return "".join([*lines[:first], *lines[end:]])


def _end_of_entry(lines: Sequence[str], first: int) -> int:
    end = next((number for number in range(first + 1, len(lines)) if _ANY_HEADER.match(lines[number])), len(lines))
    while end < len(lines) and end > first + 1 and _BLANK.fullmatch(lines[end - 1].rstrip("\r\n")):
        end -= 1
    return end


def _write(path: Path, text: str) -> None:
    """Replace the file atomically. A new file is private to its owner; an old one keeps its owner and mode."""
    status = path.stat() if path.exists() else None
    with atomic_file(path, mode=status.st_mode & 0o777 if status else 0o600) as temporary:
        made = temporary.stat()
        # A mount may fix the owner of all files, and allow no change.
        if status and (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.write_text(text, encoding="utf-8", newline="")
