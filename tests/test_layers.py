"""The layers inside each package: its folders import downwards only, and its modules form no circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {name: ROOT / name for name in ("bulk", "common", "gate", "service", "training")}
PACKAGES["lensgate_client"] = ROOT / "client/lensgate_client"

# The folders of each package, from the bottom up. A folder may reach those before it, directly or through modules of
# the package; it never reaches one after it.
FLOORS = {
    "bulk": ("sources", "output", "work", "engines"),
    "lensgate_client": ("_pixels", "_protocol", "_http", "_stream"),
    "service": (
        *("process", "inference", "metrics", "http", "access", "records", "review"),
        *("api", "grpc_server", "pages"),
    ),
    "training": ("data", "drawing", "model", "evaluation", "figures", "search", "report", "paper", "cli"),
}


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(package: str) -> dict[str, set[str]]:
    """Return the imports among the folders and top-level modules of a package, the package itself left out."""
    root = PACKAGES[package]
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        unit = path.relative_to(root).parts[0].removesuffix(".py")
        inside = {name.split(".")[1] for name in imported(path) if name.startswith(f"{package}.")}
        units = {name for name in inside if (root / name).is_dir() or (root / f"{name}.py").exists()}
        found.setdefault(unit, set()).update(units - {unit})
    found.pop("__init__", None)
    return found


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return every unit that `start` imports, directly or through others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_and_modules_form_no_circle(package: str) -> None:
    graph = arrows(package)
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle in {package}: {' <- '.join(error.args[1])}", pytrace=False)


@pytest.mark.parametrize(("package", "folder"), [(name, folder) for name in FLOORS for folder in FLOORS[name]])
def test_folder_reaches_no_floor_above_it(package: str, folder: str) -> None:
    floors = FLOORS[package]
    above = set(floors[floors.index(folder) + 1 :])
    assert not reached(arrows(package), folder) & above


@pytest.mark.parametrize("package", FLOORS)
def test_every_folder_has_its_floor(package: str) -> None:
    folders = {path.parent.name for path in PACKAGES[package].glob("*/__init__.py")}
    assert folders == set(FLOORS[package])


def test_a_chain_of_imports_is_followed_to_its_end() -> None:
    assert reached({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, "a") == {"b", "c"}
