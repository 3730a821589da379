"""The console script `lensgate`, and `python -m lensgate`."""

import sys

from lensgate.taken_names import describe_taken_name


def main() -> int:
    """Run the command; return its status."""
    try:
        from lensgate.cli import main as run
    except ImportError as error:
        if (text := describe_taken_name(error)) is None:
            raise
        sys.exit(f"lensgate: {text}")
    return run()


if __name__ == "__main__":
    sys.exit(main())
