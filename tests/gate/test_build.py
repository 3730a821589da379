"""The build compiles `scanlines.c`, on machines with a compiler and without; a stub replaces hatchling."""

import importlib.util
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import deflate
import pytest
from PIL import features

from gate.formats.png import fast_decoder as png
from tests.conftest import ROOT

SOURCE = "gate/formats/png/scanlines.c"
HEADER = "gate/formats/png/lanes.h"
MODELS = "models/glasses"
LIBRARY = "gate/formats/png/scanlines.so"


class Plugin:
    """As much of hatchling's interface as the hook uses."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.app = self
        self.warnings: list[str] = []

    def __class_getitem__(cls, _config: object) -> type["Plugin"]:
        return cls

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    name = "hatchling.builders.hooks.plugin.interface"
    interface = ModuleType(name)
    vars(interface)["BuildHookInterface"] = Plugin
    monkeypatch.setitem(sys.modules, name, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / SOURCE).parent.mkdir(parents=True)
    for file in (SOURCE, HEADER):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / MODELS).mkdir(parents=True)
    (tmp_path / MODELS / "CURRENT").write_bytes(b"\xef\xbb\xbf7\r\n")  # As written on Windows.
    made = module.CompileHook(tmp_path)
    yield made
    made.finalize("standard", {}, "lensgate.whl")


def built(hook: Any, version: str = "standard") -> dict[str, Any]:
    """Return the data of the build, each included file by its path in the wheel."""
    data: dict[str, Any] = {"pure_python": True}
    hook.initialize(version, data)
    data["included"] = {inside: Path(file) for file, inside in data.get("force_include", {}).items()}
    return data


@pytest.mark.parametrize("named", ["", "no-such-compiler", "cc -g0"])
def test_with_a_compiler_the_wheel_is_for_this_platform(hook: Any, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("CC", named)
    data = built(hook)
    assert not data["pure_python"]
    assert data["tag"].startswith("py3-none-")
    assert set(data["tag"].split("-")[2]) & set("-.") == set()
    assert png.load_library(data["included"][LIBRARY]) is not None
    assert hook.warnings == []
    hook.finalize("standard", data, "lensgate.whl")
    assert not data["included"][LIBRARY].parent.exists()


def test_a_wheel_is_built_without_writing_to_the_checkout(hook: Any, tmp_path: Path) -> None:
    """It may belong to another user, or be mounted read-only, as BuildKit mounts it."""
    (tmp_path / LIBRARY).write_bytes(b"of another machine")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert built(hook)["included"][LIBRARY].read_bytes() != b"of another machine"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_editable_install_gets_its_library_into_the_checkout(hook: Any, tmp_path: Path) -> None:
    (tmp_path / LIBRARY).write_bytes(b"of another machine")
    assert built(hook, "editable")["included"] == {}
    assert png.load_library(tmp_path / LIBRARY) is not None
    assert set((tmp_path / SOURCE).parent.iterdir()) == {tmp_path / name for name in (SOURCE, HEADER, LIBRARY)}


def test_an_editable_install_of_a_checkout_that_cannot_be_written_is_a_warning(hook: Any, tmp_path: Path) -> None:
    (tmp_path / LIBRARY).mkdir()
    built(hook, "editable")
    assert LIBRARY in hook.warnings[0]


@pytest.mark.parametrize("compiler", [None, "false"])
def test_without_one_the_wheel_is_pure_and_an_editable_install_loses_an_old_library(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str | None
) -> None:
    (tmp_path / LIBRARY).write_bytes(b"of another machine")
    if compiler:
        (tmp_path / "cc").symlink_to(str(shutil.which(compiler)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    data = built(hook)
    assert (LIBRARY in data["included"], data["pure_python"], "tag" in data) == (False, True, False)
    assert len(hook.warnings) == 1
    built(hook, "editable")
    assert set((tmp_path / SOURCE).parent.iterdir()) == {tmp_path / SOURCE, tmp_path / HEADER}


def test_a_wheel_takes_the_current_model_along_and_an_editable_install_does_not(hook: Any, tmp_path: Path) -> None:
    names = ("CURRENT", "7/card.json", "7/model.onnx")
    files = {f"gate/{MODELS}/{name}": tmp_path / MODELS / name for name in names}
    assert files.items() <= built(hook)["included"].items()
    assert built(hook, "editable")["included"] == {}


def test_a_wheel_without_a_model_is_built_with_a_warning(hook: Any, tmp_path: Path) -> None:
    (tmp_path / MODELS / "CURRENT").unlink()
    assert built(hook)["included"].keys() == {LIBRARY}
    assert "the wheel holds no model" in hook.warnings[0]


def test_the_libraries_that_wheels_bundle_have_no_known_holes() -> None:
    """libdeflate 1.25 or newer is in deflate 0.9, libwebp 1.6 in Pillow 12; libpng is in none of them."""
    assert version_of(deflate.__version__) >= (0, 9)
    assert version_of(str(features.version("webp"))) >= (1, 6, 0)
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {"deflate>=0.9", "pillow>=12.0"} <= set(requirements)


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3])
