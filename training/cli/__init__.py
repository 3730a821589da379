"""`lensgate train STEP`: every step on its own, and `all`, which runs from raw images to a servable model.

Modules with TensorFlow are imported when a step runs, so that `--help` and usage errors are immediate.
"""

import argparse

from training.cli import all_steps, audit, data_steps, inference_steps, model_steps, paper, report, search
from training.cli.options import PRESET_CHOICE


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all steps and their options to the parser of `lensgate train`."""
    parser.epilog = f"{PRESET_CHOICE}\nEvery step explains its options: lensgate train STEP --help"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    steps = parser.add_subparsers(metavar="STEP", required=True)
    for module in (data_steps, model_steps, inference_steps, all_steps, audit, report, search, paper):
        module.add_to(steps)
