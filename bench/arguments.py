"""The command line of a benchmark whose only arguments are places."""

import argparse
from pathlib import Path


def read_places(module: str, doc: str, **places: str) -> list[Path]:
    """Read the command line, or print the help.

    Args:
        module: as in `python -m MODULE`.
        doc: docstring of the module, which is its help.
        places: description of each argument by its name, in order.

    Returns:
        the arguments in order.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, text in places.items():
        parser.add_argument(name, metavar=name.upper(), type=Path, help=text)
    options = parser.parse_args()
    return [getattr(options, name) for name in places]
