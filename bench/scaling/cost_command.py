"""Cost of a number of images a day, by path: cores, network, records, Prometheus, dollars, from measured figures.

python -m bench.scaling.cost_command --core-hour 0.04 --gpu-hour 2.5 --gigabyte 0.023 --egress 0.01
python -m bench.scaling.cost_command --write docs/operation/scaling.md
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.scaling import measured, nginx, plan
from bench.scaling.inputs import Inputs
from bench.scaling.measured import MeasuredError
from bench.scaling.tables import DocumentError, by_name, refresh


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, and write on request; 1 if a file cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        inputs = Inputs.of(options)
        if options.write and inputs != Inputs():
            parser.error("a document is written with the inputs as they are by default: leave out the others")
    except ValueError as error:
        parser.error(str(error))
    try:
        tables = plan.tables(measured.load(options.measured), inputs)
        for table in tables:
            print(f"{table.name}\n\n{table}\n")
        if options.write:
            refresh(options.write, {**by_name(tables), "nginx": nginx.example()})
    except (MeasuredError, DocumentError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling.cost_command", description=__doc__.partition("\n")[0]
    )
    Inputs.add_flags(parser)
    parser.add_argument(
        "--measured", type=Path, default=measured.FILE, help="file written by bench.scaling.measure_command"
    )
    parser.add_argument("--write", type=Path, help="document whose tables to update")
    return parser


if __name__ == "__main__":
    sys.exit(main())
