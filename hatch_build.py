"""Compile `gate/formats/png/scanlines.c` into the wheel; without a C compiler the gate decodes PNGs with Pillow."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "gate/formats/png/scanlines.c"
LIBRARY = "gate/formats/png/scanlines.so"
FLAGS = ("-std=c11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden")


def compilers() -> list[list[str]]:
    """Return the compiler commands to try: $CC first, then the usual names."""
    named = [shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]]
    return [command for command in named if command and shutil.which(command[0])]


def compile_library(source: Path, library: Path) -> bool:
    """Compile the library; return whether a compiler succeeded. If none did, remove any old library."""
    half = library.with_suffix(".part")
    for command in compilers():
        done = subprocess.run([*command, *FLAGS, "-o", str(half), str(source)], check=False)  # noqa: S603
        if done.returncode == 0:
            half.replace(library)  # Processes that have loaded the old library keep it.
            return True
    for rest in (half, library):
        rest.unlink(missing_ok=True)
    return False


class CompileHook(BuildHookInterface[Any]):
    """Compile the library for wheels, including editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library to the wheel, and tag the wheel with its platform."""
        del version
        root = Path(self.root)
        if not compile_library(root / SOURCE, root / LIBRARY):
            self.app.display_warning("no working C compiler: Pillow will decode PNGs, four times as slowly")
            return
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
