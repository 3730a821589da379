"""The command-line parser: wrong usage is one line that names the nearest known option or command."""

import argparse
import itertools
import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from common.suggestion import did_you_mean
from common.terminal import escape_controls

_NO_VALUE = re.compile(r"argument (?P<flag>--[\w-]+): expected one argument")
_WRONG_CHOICE = re.compile(r"invalid choice: '(?P<given>.*)' \(choose from (?P<choices>.*)\)")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` without abbreviated flags; the parsers of sub-commands are of the same class."""

    _given: Sequence[str] = ()
    _action: str | None = None
    """What chooses a sub-command, such as ACTION."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        # The parser of the chosen sub-command replaces this default.
        self.set_defaults(chosen_parser=self)

    def add_subparsers(self, **options: Any) -> Any:
        """Add sub-commands, each of which has options of its own; they need a `metavar`."""
        self._action = options["metavar"]
        return super().add_subparsers(**options)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments, or exit with status 2 and one line on standard error."""
        options: argparse.Namespace
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            chosen: Parser = options.chosen_parser
            chosen.refuse(unknown)
        return options

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and keep the arguments for the text of an error."""
        self._given = args or ()
        self._refuse_early_option()
        return super().parse_known_args(args, namespace)

    def _refuse_early_option(self) -> None:
        """Exit because of an option before the sub-command that takes it: its value would be taken for the command."""
        first = self._given[0].partition("=")[0] if self._given and self._action else ""
        if not first.startswith("-"):
            return
        known = re.findall(r"--?[\w-]+", self.format_usage())
        if first not in (*known, "--help", "--"):
            hint = did_you_mean(first, known) or f"; options come after {self._action}"
            self.error(f"unknown option {first}{hint}")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Exit because of arguments that this parser does not have."""
        flags = [text.partition("=")[0] for text in unknown if text.startswith("-")]
        hint = did_you_mean(flags[0], re.findall(r"--[\w-]+", self.format_help())) if flags else ""
        hint = hint if flags else _pattern_hint(self._given)
        self.error(f"unknown {'option' if flags else 'argument'} {(flags or unknown)[0]}{hint}")

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        if wrong := _WRONG_CHOICE.search(message):
            choices = [choice.strip("'") for choice in wrong["choices"].split(", ")]
            message = f"{message}{did_you_mean(wrong['given'], choices)}"
        if (bare := _NO_VALUE.search(message)) and (shown := re.search(rf"{bare['flag']} [^]\s]+", self.format_help())):
            message = f"{message}: {shown[0]}"
        self.exit(2, f"{self.prog}: {message}{_name_hint(self._given)} ({self.prog} --help explains)\n")


def _pattern_hint(arguments: Sequence[str]) -> str:
    """Say that a pattern without quotes is many arguments, if these are the names of several files."""
    is_expanded = sum(os.path.lexists(text) for text in arguments) > 1
    return (
        "; quote a pattern, such as '*.png', which the shell replaces by the names of all files" if is_expanded else ""
    )


def _name_hint(arguments: Sequence[str]) -> str:
    """Say how to name a file that was taken for an option, as a shell writes the first one of `*.png`."""
    options = itertools.takewhile(lambda text: text != "--", arguments)
    name = next((text for text in options if text.startswith("-") and os.path.lexists(text)), None)
    if name is None:
        return ""
    name = escape_controls(name)
    return f"; to name the file {name} write ./{name}, or -- before all names"
