"""The options of `lensgate bulk`; `bulk.command` runs it and is imported then."""

import argparse

from bulk.settings import Settings
from common.signals import ended_at_once


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add SRC, DST and one flag for each setting."""
    Settings.add_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    parser.set_defaults(run=_bulk)


def _bulk(options: argparse.Namespace) -> int:
    with ended_at_once():
        from bulk.command import bulk

    return bulk(options)
