"""Programs, packages and libraries that a benchmark needs, checked before it measures instead of after."""

import ctypes.util
import importlib.util
import os
import shutil
from collections.abc import Sequence

SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Debian installs servers outside the PATH of ordinary users."""


def require(*, programs: Sequence[str] = (), packages: Sequence[str] = (), libraries: Sequence[str] = ()) -> None:
    """Check that everything is installed.

    Args:
        programs: executables.
        packages: top-level Python modules.
        libraries: shared libraries without `lib` and suffix.

    Raises:
        SystemExit: something is missing; the text names all of it.
    """
    missing = [name for name in programs if shutil.which(name, path=SYSTEM_PATH) is None]
    missing += [f"the Python package {name}" for name in packages if not _is_installed(name)]
    missing += [f"lib{name}" for name in libraries if ctypes.util.find_library(name) is None]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; `make setup-training bench-tools` installs what this needs")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # It is blocked: None stands in for the module.
        return False
