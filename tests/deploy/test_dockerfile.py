"""Static checks of the Dockerfile; `tests/containers` builds and runs the images."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from .tools import ROOT

TEXT = (ROOT / "deploy/Dockerfile").read_text()
# Lines joined, comments dropped: one instruction a line.
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
IMAGES = ("cpu", "gpu", "training")
SECRETS = {"pip.conf": "/etc/pip.conf", "ca": "/etc/ssl/certs/ca-certificates.crt"}


def runs(containing: str) -> list[str]:
    return [line for line in INSTRUCTIONS if line.startswith("RUN ") and re.search(containing, line)]


def locked(name: str) -> dict[str, str]:
    """Return the distributions that a lock pins, with the text of each entry."""
    text = (ROOT / f"locks/{name}.txt").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    return {re.split(r"[=\[ ;]", entry, maxsplit=1)[0].lower(): entry for entry in entries}


def test_the_last_stage_is_cpu_so_that_it_is_the_default() -> None:
    assert re.findall(r"^FROM \S+ AS (\S+)$", TEXT, flags=re.MULTILINE)[-1] == "cpu"


def test_all_stages_share_one_base_image() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, flags=re.MULTILINE)
    assert {base for base, _ in stages} - {stage for _, stage in stages} == {"${PYTHON_IMAGE}"}


def test_the_first_run_needs_buildkit() -> None:
    assert runs("")[0].startswith("RUN --mount=")


def test_dependencies_come_from_hashed_locks_alone() -> None:
    installs = runs(r"\bpip\b.* (install|wheel) ")
    assert len(installs) == 1 + len(IMAGES) + 1 + len(IMAGES)
    for run in installs:
        assert "--require-hashes --only-binary :all: -r" in run or "--no-deps --no-index" in run, run


def test_every_step_that_asks_an_index_takes_the_secrets() -> None:
    for run in runs("--require-hashes"):
        for name, target in SECRETS.items():
            assert f"--mount=type=secret,id={name},target={target}" in run, run


def test_no_image_inherits_the_stages_that_reach_a_network() -> None:
    parents = {stage: base for base, stage in re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, flags=re.MULTILINE)}
    for image in IMAGES:
        lineage = [image]
        while lineage[-1] in parents:
            lineage.append(parents[lineage[-1]])
        assert lineage == [image, f"program-{image}", "runtime", "python", "${PYTHON_IMAGE}"]


def test_the_service_needs_a_token_unless_its_operator_opts_out() -> None:
    assert "LENSGATE_ALLOW_UNAUTHENTICATED" not in TEXT


def test_every_package_of_the_wheel_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {line for line in INSTRUCTIONS if line.startswith("COPY ")} >= {f"COPY {name} {name}" for name in packages}


def test_a_wheel_without_compiled_code_stops_the_build(tmp_path: Path) -> None:
    (build,) = runs(r"\bwheel --no-deps")
    check = build.partition("&&")[2].replace("/wheel", str(tmp_path))
    (tmp_path / "lensgate-0.1.0-py3-none-linux_x86_64.whl").touch()
    assert subprocess.run(["sh", "-c", check], check=False).returncode == 0
    (tmp_path / "lensgate-0.1.0-py3-none-any.whl").touch()
    assert subprocess.run(["sh", "-c", check], check=False).returncode != 0


def test_the_build_backend_is_the_locked_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (backend,) = project["build-system"]["requires"]
    assert backend in project["dependency-groups"]["build"]
    assert locked("build")["hatchling"].startswith(f"{backend} ")


@pytest.mark.parametrize(
    ("image", "runtime", "on_cuda"), [("cpu", "onnxruntime", False), ("gpu", "onnxruntime-gpu", True)]
)
def test_a_lock_holds_one_onnxruntime_and_no_tensorflow(image: str, runtime: str, on_cuda: bool) -> None:
    pinned = locked(image)
    assert {name for name in pinned if name.startswith("onnxruntime")} == {runtime}
    assert any(name.startswith("nvidia-") for name in pinned) is on_cuda
    assert {"fastapi", "uvicorn", "prometheus-client"} <= pinned.keys()
    assert {"tensorflow", "keras", "pytest"} & pinned.keys() == set()


def test_the_lock_of_the_training_image_holds_its_extras_and_no_tests() -> None:
    assert {"tensorflow", "pyarrow", "ray", "onnxruntime"} <= locked("training").keys()
    assert not {"pytest", "onnxruntime-gpu"} & locked("training").keys()


@pytest.mark.parametrize("name", ["build", *IMAGES])
def test_a_lock_hashes_everything_and_names_no_index(name: str) -> None:
    assert [entry for entry, text in locked(name).items() if "--hash=sha256:" not in text] == []
    assert "://" not in (ROOT / f"locks/{name}.txt").read_text()


def test_the_health_check_is_a_list_of_arguments() -> None:
    """An image without a shell could run it, and no shell is a process between."""
    (check,) = (line for line in INSTRUCTIONS if line.startswith("HEALTHCHECK --"))
    assert json.loads(check.partition(" CMD ")[2]) == ["python", "-P", "-m", "service.health_check"]
