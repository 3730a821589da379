"""The build compiles `scanlines.c`, on machines with a compiler and without; a stub replaces hatchling."""

import importlib.util
import shutil
import sys
import tomllib
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
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
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
    (tmp_path / MODELS / "CURRENT").write_text("7\n")
    return module.CompileHook(tmp_path)


def built(hook: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook.initialize("standard", data)
    return data


@pytest.mark.parametrize("named", ["", "no-such-compiler", "cc -g0"])
def test_with_a_compiler_the_wheel_is_for_this_platform(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("CC", named)
    data = built(hook)
    assert data["artifacts"] == [LIBRARY]
    assert not data["pure_python"]
    assert data["tag"].startswith("py3-none-")
    assert set(data["tag"].split("-")[2]) & set("-.") == set()
    assert png.load_library(tmp_path / LIBRARY) is not None
    assert hook.warnings == []


@pytest.mark.parametrize("compiler", [None, "false"])
def test_without_one_the_wheel_is_pure_and_an_old_library_goes(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str | None
) -> None:
    (tmp_path / LIBRARY).write_bytes(b"of another machine")
    if compiler:
        (tmp_path / "cc").symlink_to(str(shutil.which(compiler)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    data = built(hook)
    assert (data["artifacts"], data["pure_python"], "tag" in data) == ([], True, False)
    assert set((tmp_path / SOURCE).parent.iterdir()) == {tmp_path / SOURCE, tmp_path / HEADER}
    assert len(hook.warnings) == 1


def test_a_wheel_takes_the_current_model_along_and_an_editable_install_does_not(hook: Any, tmp_path: Path) -> None:
    names = ("CURRENT", "7/card.json", "7/model.onnx")
    files = {str(tmp_path / MODELS / name): f"gate/{MODELS}/{name}" for name in names}
    assert built(hook)["force_include"] == files
    editable: dict[str, Any] = {"artifacts": []}
    hook.initialize("editable", editable)
    assert "force_include" not in editable


def test_a_wheel_without_a_model_is_built_with_a_warning(hook: Any, tmp_path: Path) -> None:
    (tmp_path / MODELS / "CURRENT").unlink()
    assert built(hook)["force_include"] == {}
    assert "the wheel holds no model" in hook.warnings[0]


def test_the_libraries_that_wheels_bundle_have_no_known_holes() -> None:
    """libdeflate 1.25 or newer is in deflate 0.9, libwebp 1.6 in Pillow 12; libpng is in none of them."""
    assert version_of(deflate.__version__) >= (0, 9)
    assert version_of(str(features.version("webp"))) >= (1, 6, 0)
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {"deflate>=0.9", "pillow>=12.0"} <= set(requirements)


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3])
