"""Run `lensgate` in a process of its own."""

import subprocess
import sys

TIMEOUT = 300.0


def lensgate_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where `module` is not installed.

    In this process, the modules that it imports anew would stay for later tests, beside those that were there before.
    """
    code = f"import sys; sys.modules[{module!r}] = None; from lensgate.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
