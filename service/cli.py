"""`lensgate serve`."""

import argparse

from service.process.signals import guard_start
from service.server import make_server, serve
from service.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    Settings.add_flags(parser)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    flags = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    guard_start()
    serve(make_server(Settings.load(flags)))
