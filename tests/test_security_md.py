"""SECURITY.md names tests: each of them must exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| threat ")]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    file, _, function = named.partition("::")
    found = functions(ROOT / file)
    assert function in found if function else any(name.startswith("test_") for name in found)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[0].removeprefix("| "))
def test_every_promise_names_a_test(row: str) -> None:
    threat, promise, tests = (cell.strip() for cell in row.strip("|").split("|"))
    assert threat and promise
    assert re.fullmatch(r"`tests/[^`]+`(, `tests/[^`]+`)*", tests), "a cell holds tests alone, each in backquotes"


@pytest.mark.parametrize(
    "heading", ["Network reach", "Tokens and sessions", "Crafted images", "Crafted models", "Supply chain"]
)
def test_the_threat_model_covers(heading: str) -> None:
    assert f"\n### {heading}\n" in TEXT
