"""Build the wheel with the compiled `gate/formats/png/scanlines.c` and with the current model.

Without a C compiler the gate decodes PNGs with Pillow. A wheel that is built without `models/` serves only a model that
`--models` names.
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "gate/formats/png/scanlines.c"
LIBRARY = "gate/formats/png/scanlines.so"
MODELS = "models/glasses"
FLAGS = ("-std=c11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden")


def compilers() -> list[list[str]]:
    """Return the compiler commands to try: $CC first, then the usual names."""
    named = [shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]]
    return [command for command in named if command and shutil.which(command[0])]


def compile_library(source: Path, library: Path) -> bool:
    """Compile the library; return whether a compiler succeeded."""
    for command in compilers():
        done = subprocess.run([*command, *FLAGS, "-o", str(library), str(source)], check=False)  # noqa: S603
        if done.returncode == 0:
            return True
        library.unlink(missing_ok=True)
    return False


def replace_library(built: Path, library: Path) -> None:
    """Put the library, if it was built, in the place of an old one."""
    if not built.exists():
        library.unlink(missing_ok=True)
        return
    half = library.with_suffix(".part")
    shutil.copy(built, half)
    half.replace(library)  # Processes that have loaded the old library keep it.


def model_files(root: Path) -> dict[str, str]:
    """Return the files of the current model by their path, each with its path in the wheel; empty without a model."""
    current = root / MODELS / "CURRENT"
    if not current.is_file():
        return {}
    version = current.read_text(encoding="utf-8-sig").strip()
    names = ("CURRENT", f"{version}/card.json", f"{version}/model.onnx")
    return {str(root / MODELS / name): f"gate/{MODELS}/{name}" for name in names}


class CompileHook(BuildHookInterface[Any]):
    """Add the compiled library and the current model to a wheel; an editable install gets the library alone.

    Only an editable install writes to the checkout, which may belong to others or be mounted read-only.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add library and model to the wheel, and tag the wheel with its platform."""
        root, built = Path(self.root), Path(self._folder.name) / "scanlines.so"
        if not compile_library(root / SOURCE, built):
            self.app.display_warning("no working C compiler: Pillow will decode PNGs, four times as slowly")
        if version == "editable":  # It finds the models of the checkout.
            self._replace(built, root / LIBRARY)
            return
        self._add_model(root, build_data)
        if built.exists():
            build_data["force_include"][str(built)] = LIBRARY
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the files of the compiler."""
        self._folder.cleanup()

    @cached_property
    def _folder(self) -> "tempfile.TemporaryDirectory[str]":
        return tempfile.TemporaryDirectory(prefix="lensgate-")

    def _replace(self, built: Path, library: Path) -> None:
        try:
            replace_library(built, library)
        except OSError as error:
            self.app.display_warning(f"the checkout keeps the library that it had, or none: {error}")

    def _add_model(self, root: Path, build_data: dict[str, Any]) -> None:
        files = model_files(root)
        if not files:
            self.app.display_warning(f"no {MODELS}/CURRENT: the wheel holds no model, so `lensgate` needs --models")
        build_data.setdefault("force_include", {}).update(files)
