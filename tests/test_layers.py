"""The layers inside each package: its folders import downwards only, and its modules form no cycle."""

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
LAYERS = {
    "bulk": ("sources", "output", "work", "engines"),
    "lensgate_client": ("_pixels", "_protocol", "_http", "_stream"),
    "service": (
        *("concurrency", "process", "inference", "metrics", "http", "access", "records", "review"),
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


def import_graph(package: str) -> dict[str, set[str]]:
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
def test_imports_have_no_cycle(package: str) -> None:
    graph = import_graph(package)
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle in {package}: {' <- '.join(error.args[1])}", pytrace=False)


@pytest.mark.parametrize(("package", "folder"), [(name, folder) for name in LAYERS for folder in LAYERS[name]])
def test_folder_imports_no_higher_layer(package: str, folder: str) -> None:
    layers = LAYERS[package]
    above = set(layers[layers.index(folder) + 1 :])
    assert not reached(import_graph(package), folder) & above


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_is_in_a_layer(package: str) -> None:
    folders = {path.parent.name for path in PACKAGES[package].glob("*/__init__.py")}
    assert folders == set(LAYERS[package])


def test_imports_are_followed_transitively() -> None:
    assert reached({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, "a") == {"b", "c"}
