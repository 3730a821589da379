"""The options of `lensgate serve`; the service is imported when it starts."""

import argparse

from service.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    parser.epilog = "Each option is also an environment variable: --max-batch-size is LENSGATE_MAX_BATCH_SIZE."
    Settings.add_flags(parser)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    from service.workers import become_parent, count_workers

    flags = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    settings = Settings.load(flags)
    if (count := count_workers(settings)) > 1:
        become_parent(settings, flags, count=count)
    # The parent of several workers loads neither the web framework nor the model's runtime.
    from service.server import make_server, serve

    serve(make_server(settings))
