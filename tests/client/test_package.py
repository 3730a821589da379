"""The installed package: public names, dependencies and licence."""

import ast
import pickle
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import lensgate_client
import pytest
from lensgate_client import BadImage, GateError, GateUnreachable, ImageFailed

from tests.conftest import ROOT

CLIENT = ROOT / "client"
FILES = list((CLIENT / "lensgate_client").rglob("*.py"))
DEPENDENCIES: list[str] = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
ADAPTERS = {"_http/deadline.py", "_http/cancellation.py"}
"""The modules that may use private parts of httpx and httpcore."""

FOLDERS = ("_pixels", "_protocol", "_stream", "_http")
MAY_IMPORT = {
    "_pixels": set[str](),
    "_protocol": {"_pixels"},
    "_http": {"_protocol"},
    "_stream": {"_pixels", "_protocol"},
}
PUBLIC_LEAVES = {"errors", "models", "retries"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def uses_private_part(path: Path) -> bool:
    """Return whether a file reads a private attribute of an object other than `self`."""
    attributes = (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
    )
    return any(
        re.match("_[^_]", node.attr) and not (isinstance(node.value, ast.Name) and node.value.id == "self")
        for node in attributes
    )


def folder_imports(folder: str) -> set[str]:
    """Return the parts of the package that a folder imports, such as `errors` or `_pixels`."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (CLIENT / "lensgate_client" / folder).glob("*.py"))
    return set(re.findall(r"^from lensgate_client\.(\w+)", text, re.MULTILINE)) - {folder}


def test_every_public_name_exists() -> None:
    assert len(set(lensgate_client.__all__)) == len(lensgate_client.__all__)
    assert all(hasattr(lensgate_client, name) for name in lensgate_client.__all__)
    assert (CLIENT / "lensgate_client/py.typed").is_file()


def test_dependencies_are_httpx_its_transport_and_numpy() -> None:
    needs = {need.partition(">")[0] for need in DEPENDENCIES}
    assert needs == {"httpcore", "httpx", "numpy"}
    imported = {name for path in FILES for name in imports(path)}
    assert imported - sys.stdlib_module_names == needs | {"lensgate_client"}


def test_private_parts_of_dependencies_are_used_by_the_adapter_only() -> None:
    users = {str(path.relative_to(CLIENT / "lensgate_client")) for path in FILES if uses_private_part(path)}
    assert users == ADAPTERS


def test_dependencies_of_the_adapters_have_upper_bounds() -> None:
    found = {name for adapter in ADAPTERS for name in imports(CLIENT / "lensgate_client" / adapter)}
    names = found - sys.stdlib_module_names - {"lensgate_client"}
    bounded = {need.partition(">")[0] for need in DEPENDENCIES if "<" in need}
    assert names == bounded


def test_the_adapters_get_no_httpcore_with_other_private_parts() -> None:
    """1.0.3 named the connections of a pool as they are named now."""
    (need,) = (need for need in DEPENDENCIES if need.startswith("httpcore"))
    lowest = need.removeprefix("httpcore>=").partition(",")[0]
    assert tuple(map(int, lowest.split("."))) >= (1, 0, 3)


@pytest.mark.parametrize("folder", FOLDERS)
def test_private_folder_imports_lower_layers_only(folder: str) -> None:
    assert folder_imports(folder) <= MAY_IMPORT[folder] | PUBLIC_LEAVES


@pytest.mark.parametrize(
    "error", [GateUnreachable("no", is_lost=True, status=502), BadImage("no", code="not_square", request_id="r1")]
)
def test_errors_survive_pickling(error: GateError) -> None:
    copy = pickle.loads(pickle.dumps(ImageFailed("a", error))).error  # noqa: S301 - the test's own bytes
    assert type(copy) is type(error)
    assert type(error).__module__ == "lensgate_client.errors"
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_blocking_and_asynchronous_classes_have_the_same_names() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(lensgate_client.Gate) == public(lensgate_client.AsyncGate)
    assert public(lensgate_client.GateFilter) == public(lensgate_client.AsyncGateFilter)


def test_licence_equals_the_licence_of_the_project() -> None:
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
