"""The options of `lensgate tokens`; `lensgate.token_file` does the work and is imported then."""

import argparse
from pathlib import Path

from common.arguments import StoreOnce
from service.access.principal import Scope


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action, title in (
        ("add", _add, "create a token, print it once, and store its hash in the file"),
        ("list", _list, "print names, scopes, rates and expiry of the tokens"),
        ("revoke", _revoke, "remove a token from the file, which ends its sessions"),
    ):
        command = actions.add_parser(name, help=title, description=title)
        command.add_argument(
            "--file", type=Path, metavar="PATH", help="token file (default: LENSGATE_TOKENS, or tokens.toml)"
        )
        if action is not _list:
            command.add_argument("name", metavar="NAME", help="name of the owner, recorded in logs and with verdicts")
        if action is _add:
            _add_limits(command)
        command.set_defaults(run=action)


def _add_limits(command: argparse.ArgumentParser) -> None:
    limits = command.add_argument_group("limits")
    add = limits.add_argument
    title = f"comma-separated list of {', '.join(Scope)} (default: none)"
    add("--scopes", default="", metavar="LIST", help=title, action=StoreOnce)
    add("--requests-per-second", type=float, metavar="NUMBER", help="request rate limit (default: no limit)")
    add("--burst", type=int, metavar="REQUESTS", help="largest burst of requests (default: one second's)")
    add("--days", type=float, metavar="DAYS", help="days until it expires (default: never)")


def _add(options: argparse.Namespace) -> int:
    from lensgate.token_file import add_token

    return add_token(options)


def _list(options: argparse.Namespace) -> int:
    from lensgate.token_file import list_tokens

    return list_tokens(options)


def _revoke(options: argparse.Namespace) -> int:
    from lensgate.token_file import revoke_token

    return revoke_token(options)
