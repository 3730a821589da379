import itertools
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from deploy.rehearsal.dockerfile import Instruction, Stage, closure, ignored, lineage, read_ignore, read_stages

from .tools import ROOT

STAGES = read_stages(ROOT / "deploy/Dockerfile")
IMAGES = ("cpu", "gpu")
ALL_IMAGES = (*IMAGES, "training")
IGNORE = read_ignore(ROOT / ".dockerignore")


def stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


def effective(image: str, keyword: str) -> Instruction:
    found = [found for stage in lineage(STAGES, image) if (found := stage.last(keyword))]
    assert found, f"{image} has no {keyword}"
    return found[0]


def environment(image: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for stage in reversed(lineage(STAGES, image)):
        for instruction in stage.instructions:
            if instruction.keyword == "ENV":
                found |= instruction.assignments(found)
    return found


def sources() -> list[str]:
    return [source for stage in STAGES for copy in stage.copies() if copy.stage is None for source in copy.sources]


def files_of(source: str) -> list[str]:
    path = ROOT / source
    found = [path] if path.is_file() else [child for child in path.rglob("*") if child.is_file()]
    made_here = [file for file in found if "__pycache__" in file.parts or file.suffix == ".so"]
    return [str(file.relative_to(ROOT)) for file in found if file not in made_here]


def locked(image: str) -> dict[str, str]:
    """What a lock pins: each distribution with the text of its entry."""
    text = (ROOT / f"locks/{image}.txt").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    return {re.split(r"[=\[ ;]", entry, maxsplit=1)[0].lower(): entry for entry in entries}


def test_the_last_stage_is_cpu_so_that_it_is_the_default() -> None:
    assert STAGES[-1].name == "cpu"


def test_all_stages_share_one_pinned_base() -> None:
    names = {stage.name for stage in STAGES}
    assert {stage.base for stage in STAGES} - names == {"python:${PYTHON_VERSION}-slim-bookworm"}
    assert "ARG PYTHON_VERSION=3.12\n" in (ROOT / "deploy/Dockerfile").read_text()


@pytest.mark.parametrize(("image", "other"), list(itertools.permutations(ALL_IMAGES, 2)))
def test_an_image_is_built_without_the_other_ones_stages(image: str, other: str) -> None:
    built = closure(STAGES, image)
    assert f"dependencies-{image}" in built
    assert [name for name in built if name.endswith(other)] == []


@pytest.mark.parametrize("image", ALL_IMAGES)
def test_the_user_is_a_number_and_not_root(image: str) -> None:
    user, group = effective(image, "USER").value.split(":")
    assert user.isdigit() and group.isdigit(), "Kubernetes' runAsNonRoot does not resolve a name"
    assert int(user) > 0 and int(group) > 0


@pytest.mark.parametrize("image", IMAGES)
def test_the_program_is_process_one_and_is_told_to_stop(image: str) -> None:
    assert effective(image, "ENTRYPOINT").exec_form() == ["lensgate"]
    assert effective(image, "CMD").exec_form() == ["serve"]
    assert effective(image, "STOPSIGNAL").value == "SIGTERM"


def test_the_image_that_trains_is_asked_for_no_health_and_serves_nothing() -> None:
    assert effective("training", "ENTRYPOINT").exec_form() == ["lensgate"]
    assert effective("training", "CMD").exec_form() == ["--help"]
    assert effective("training", "HEALTHCHECK").value == "NONE"
    assert {"tensorflow", "pyarrow", "ray", "onnxruntime"} <= locked("training").keys()
    assert not {"pytest", "onnxruntime-gpu"} & locked("training").keys()


@pytest.mark.parametrize("image", IMAGES)
def test_the_settings_of_the_service_are_set(image: str) -> None:
    settings = {f"{name}={value}" for name, value in environment(image).items()}
    assert {"LENSGATE_MODELS=/models", "LENSGATE_HOST=0.0.0.0", "LENSGATE_PORT=8000"} <= settings
    assert effective(image, "EXPOSE").value == "8000"
    assert ("/models", ("models",)) in {(copy.destination, copy.sources) for copy in stage(image).copies()}


def test_only_the_gpu_image_asks_for_a_gpu() -> None:
    wanted = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    assert wanted.items() <= environment("gpu").items()
    assert not wanted.keys() & environment("cpu").keys()


@pytest.mark.parametrize("image", IMAGES)
def test_records_have_a_folder_that_the_user_alone_can_use(image: str) -> None:
    (made,) = (i.value for s in lineage(STAGES, image) for i in s.instructions if i.value.endswith(" /data"))
    owner = effective(image, "USER").value.split(":")
    assert made == f"install --directory --owner={owner[0]} --group={owner[1]} --mode=700 /data"
    assert effective(image, "VOLUME").value == "/data"
    assert environment(image)["LENSGATE_RECORDS_URL"] == "sqlite:////data/lensgate.db"


@pytest.mark.parametrize("image", IMAGES)
def test_nobody_comes_in_without_a_token_unless_who_starts_it_says_so(image: str) -> None:
    assert "LENSGATE_ALLOW_UNAUTHENTICATED" not in environment(image)


def test_dependencies_come_from_hashed_locks_alone() -> None:
    runs = [
        i.value
        for s in STAGES
        for i in s.instructions
        if i.keyword == "RUN" and re.search(r"\bpip\b.* install ", i.value)
    ]
    assert runs
    for run in runs:
        assert "--require-hashes --only-binary :all: -r" in run or "--no-deps --no-index" in run, run


@pytest.mark.parametrize("source", sources())
def test_what_is_copied_exists_and_may_enter_the_build(source: str) -> None:
    assert (ROOT / source).exists()
    files = files_of(source)
    assert files, f"{source} is empty"
    assert [file for file in files if ignored(file, IGNORE)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "gate/__pycache__/card.cpython-312.pyc",
        "gate/scanlines.so",
        "locks/dev.txt",
        "samples/a.png",
        "service/static/deep/__pycache__/x.pyc",
        "tests/deploy/tools.py",
    ],
)
def test_nothing_else_enters_the_build(path: str) -> None:
    assert ignored(path, IGNORE)


def test_every_package_of_the_wheel_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= {source for copy in stage("wheel").copies() for source in copy.sources}


def test_the_wheel_is_compiled_in_a_stage_that_no_image_inherits() -> None:
    """The images copy what was built: no compiler and no package list of Debian's is in them."""
    wheel = stage("wheel")
    installs = next(i for i in wheel.instructions if i.keyword == "RUN" and "apt-get" in i.value)
    copies = next(i for i in wheel.instructions if i.keyword == "COPY")
    assert {"gcc", "libc6-dev"} <= set(installs.value.split())
    assert wheel.instructions.index(installs) < wheel.instructions.index(copies), "a change of ours would repeat it"
    assert "hatch_build.py" in copies.value
    for image in IMAGES:
        assert [i for s in lineage(STAGES, image) for i in s.instructions if "apt-get" in i.value] == []


def test_a_wheel_that_nothing_was_compiled_for_stops_the_build(tmp_path: Path) -> None:
    built = next(i.value for i in stage("wheel").instructions if "pip wheel" in i.value)
    check = built.partition("&&")[2].replace("/wheel", str(tmp_path))
    (tmp_path / "lensgate-0.1.0-py3-none-linux_x86_64.whl").touch()
    assert subprocess.run(["sh", "-c", check], check=False).returncode == 0
    (tmp_path / "lensgate-0.1.0-py3-none-any.whl").touch()
    assert subprocess.run(["sh", "-c", check], check=False).returncode != 0


@pytest.mark.parametrize(
    ("image", "runtime", "on_cuda"), [("cpu", "onnxruntime", False), ("gpu", "onnxruntime-gpu", True)]
)
def test_a_lock_holds_one_onnxruntime_and_no_tensorflow(image: str, runtime: str, on_cuda: bool) -> None:
    pinned = locked(image)
    assert {name for name in pinned if name.startswith("onnxruntime")} == {runtime}
    assert any(name.startswith("nvidia-") for name in pinned) is on_cuda
    assert {"fastapi", "uvicorn", "prometheus-client"} <= pinned.keys()
    assert {"tensorflow", "keras", "pytest"} & pinned.keys() == set()


@pytest.mark.parametrize("image", ALL_IMAGES)
def test_a_lock_hashes_everything_and_names_no_index(image: str) -> None:
    assert [name for name, entry in locked(image).items() if "--hash=sha256:" not in entry] == []
    assert "://" not in (ROOT / f"locks/{image}.txt").read_text()
