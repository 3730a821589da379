"""The programs these tests run, and how they are run."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["ROOT", "output", "tool"]

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> str:
    """The path of an installed program. A missing one is a failure, never a skip."""
    if (found := shutil.which(name)) is None:
        pytest.fail(f"{name} is not installed: `make test` installs it", pytrace=False)
    return found


def output(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Return the output of a command run in the root of the repository; it must succeed."""
    ran = subprocess.run(
        [tool(command[0]), *command[1:]], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    if ran.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{ran.stdout}{ran.stderr}", pytrace=False)
    return ran.stdout
