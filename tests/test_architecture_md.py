"""docs/explanation/architecture.md names files, functions, classes and layers as they are in the code."""

import re
from pathlib import Path

import pytest

from tests.test_layers import LAYERS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
FILES = sorted(set(re.findall(r"`([\w/]+\.py)`", TEXT)))
STEPS = re.findall(r"^\| \d \| `([^`]+)` \| `(\w+)` \|", TEXT, re.MULTILINE)
CLASSES = sorted(set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", TEXT)))


@pytest.mark.parametrize("name", FILES)
def test_named_file_exists(name: str) -> None:
    assert (ROOT / name).is_file()


def test_a_request_passes_nine_files() -> None:
    assert len(STEPS) == len({file for file, _ in STEPS}) == 9


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_step_starts_at_a_name_of_its_file(file: str, name: str) -> None:
    assert re.search(rf"^(?:class|async def|def) {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", CLASSES)
def test_named_class_exists(name: str) -> None:
    texts = [
        path.read_text(encoding="utf-8") for folder in ("gate", "service") for path in (ROOT / folder).rglob("*.py")
    ]
    assert any(re.search(rf"^class {name}\b", text, re.MULTILINE) for text in texts)


@pytest.mark.parametrize("package", LAYERS)
def test_named_layers_are_those_of_the_layer_test(package: str) -> None:
    (row,) = re.findall(rf"^\| `{package}` \| (.+) \|$", TEXT, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", row)) == LAYERS[package]
