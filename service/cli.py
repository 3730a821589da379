"""`lensgate serve`."""

import argparse
import gc

from service.process.signals import guard_start
from service.server import make_server
from service.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    Settings.add_flags(parser)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    flags = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    guard_start()
    server = make_server(Settings.load(flags))
    # What is there by now stays. A collection that looked through all of it would stop every request for 46 ms; the
    # second one lets the next come by what is new alone.
    gc.collect()
    gc.freeze()
    gc.collect()
    server.run()
