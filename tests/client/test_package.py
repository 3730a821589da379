"""What is installed: everything that is promised, and nothing that was not asked for."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import lensgate_client

from tests.conftest import ROOT

CLIENT = ROOT / "client"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_what_is_promised_is_there() -> None:
    assert len(set(lensgate_client.__all__)) == len(lensgate_client.__all__)
    assert all(hasattr(lensgate_client, name) for name in lensgate_client.__all__)
    assert (CLIENT / "lensgate_client/py.typed").is_file()


def test_it_needs_httpx_its_transport_and_numpy_and_nothing_else() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    needs = {need.partition(">")[0] for need in project["dependencies"]}
    assert needs == {"httpcore", "httpx", "numpy"}
    files = list((CLIENT / "lensgate_client").rglob("*.py"))
    found = {name for path in files for name in imports(path)}
    assert found - sys.stdlib_module_names == needs | {"lensgate_client"}


def test_both_classes_have_the_same_names() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(lensgate_client.Gate) == public(lensgate_client.AsyncGate)
    assert public(lensgate_client.GateFilter) == public(lensgate_client.AsyncGateFilter)


def test_the_licence_is_the_projects() -> None:
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
