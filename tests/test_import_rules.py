"""The import rules: allowed dependencies between packages, and the cost of imports."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {path.parent.name for path in ROOT.glob("*/__init__.py")}
TENSORFLOW = {"tensorflow", "keras", "tf2onnx", "keras_tuner"}

# Allowed imports between packages; only the console script may import all, lazily when a command is chosen.
MAY_IMPORT = {
    "gate": set[str](),
    "common": {"gate"},
    "bulk": {"common", "gate"},
    "service": {"common", "gate"},
    "training": {"common", "gate"},
    "lensgate": {"common", "gate", "service"},
}


def imports(path: Path) -> Iterator[str]:
    """The top-level names of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]


def package_imports(package: str) -> set[str]:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    return {name for path in files for name in imports(path)}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_allowed_packages(package: str) -> None:
    assert package_imports(package) & (FOLDERS - {package}) <= MAY_IMPORT[package]


@pytest.mark.parametrize("package", sorted(set(MAY_IMPORT) - {"training"}))
def test_tensorflow_is_imported_by_training_alone(package: str) -> None:
    assert not package_imports(package) & TENSORFLOW


# A peer of the benchmark runs in an environment of its own, without `gate`.
RUNTIME_IMPORTERS = {"gate/onnx_runtime.py", "bench/serving/peers/model.py"}


def test_onnxruntime_is_imported_with_its_telemetry_off() -> None:
    folders = [ROOT / name for name in (*FOLDERS, "client", "deploy", "docs")]
    files = {path for folder in folders for path in folder.rglob("*.py")}
    found = {path for path in files if "onnxruntime" in imports(path)}
    assert {str(path.relative_to(ROOT)) for path in found} == RUNTIME_IMPORTERS
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert text.index('"ORT_DISABLE_TELEMETRY"] = "1"') < text.index("\nimport onnxruntime")


def test_every_package_has_import_rules() -> None:
    assert {*MAY_IMPORT, "bench", "tests"} == FOLDERS


def test_the_client_imports_no_package_of_the_project() -> None:
    names = package_imports("client")
    assert "httpx" in names
    assert not names & FOLDERS


def test_the_gate_imports_no_http_library() -> None:
    assert not package_imports("gate") & {"fastapi", "starlette", "uvicorn", "asyncio", "http", "prometheus_client"}


def test_the_wheel_holds_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(MAY_IMPORT)


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ran.stdout.split()}


def test_service_imports_no_tensorflow_indirectly() -> None:
    loaded = modules_after("import service.server, service.cli, service.demo")
    assert "fastapi" in loaded
    assert not loaded & (TENSORFLOW | {"sklearn", "training"})


def test_console_script_imports_no_slow_package_at_startup() -> None:
    assert not modules_after("import lensgate.cli") & {"fastapi", "numpy", "onnxruntime", "pydantic", *TENSORFLOW}


@pytest.mark.parametrize("lock", sorted(path.name for path in (ROOT / "locks").glob("*.txt")))
def test_no_lock_names_a_host(lock: str) -> None:
    text = (ROOT / "locks" / lock).read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text


@pytest.mark.parametrize("lock", ["dev", "training"])
def test_a_lock_with_the_client_holds_its_dependencies(lock: str) -> None:
    wanted = tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]["dependencies"]
    pinned = re.findall(
        r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==", (ROOT / f"locks/{lock}.txt").read_text(), re.MULTILINE
    )
    assert {re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in wanted} <= set(pinned)
