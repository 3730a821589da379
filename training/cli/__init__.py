"""`lensgate train STEP`: each step alone, and all of them from raw images to a model that can be served.

A step's module imports TensorFlow when the step runs: `--help` and a wrong option are answered at once.
"""

import argparse

from training.cli import audit, data, model, report, study


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Add the steps and their options to the parser of `lensgate train`."""
    steps = parser.add_subparsers(metavar="STEP", required=True)
    for module in (data, model, audit, report, study):
        module.add_to(steps)
