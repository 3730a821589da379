"""The environment that make builds in .venv, whatever the user's own environment is set up for."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.fast_lane import TESTS

MAKEFILE = TESTS.parent / "Makefile"

FOREIGN = {
    "PIP_CONSTRAINT": "/etc/pip/constraint.txt",  # As the containers of NVIDIA set it.
    "PIP_PREFIX": "/opt/cluster",
    "PIP_REQUIRE_HASHES": "1",
    "PIP_TARGET": "/opt/cluster",
    "PYTHONDONTWRITEBYTECODE": "1",  # As images of Python applications set it.
    "PYTHONHOME": "/opt/cluster",
    "PYTHONPATH": "/opt/ros/lib/python3.10/site-packages",
}


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(folder), "-f", str(MAKEFILE), *words]
    # Without those of the `make test` that runs this test.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a folder with an environment that is complete for make, and borrows the packages of the tests."""
    folder = tmp_path / "a checkout"
    venv.create(folder / ".venv", with_pip=False)
    site = folder / ".venv/lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (folder / ".venv/bin/pip").write_text(f"#!/bin/sh\n'''exec' \"{folder}/.venv/bin/python3\" \"$0\" \"$@\"\n' '''\n")
    (folder / "locks").mkdir()
    for name in (".venv/python", "locks/cpu.txt"):
        (folder / name).touch()
    return folder


def test_the_environment_of_a_checkout_is_usable(checkout: Path) -> None:
    ran = make(checkout, "usable")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_environment_of_a_copied_checkout_is_refused_before_it_changes_the_original(checkout: Path) -> None:
    copy = shutil.copytree(checkout, checkout.with_name("copy"), symlinks=True)
    ran = make(copy, ".venv/cpu-packages")
    assert ran.returncode != 0
    assert "rm -r .venv, then run make again" in ran.stderr


@pytest.mark.parametrize("target", ["/usr/bin/python-of-before", "/bin/false"], ids=["removed", "of another version"])
def test_an_environment_whose_python_is_gone_is_refused(checkout: Path, target: str) -> None:
    python = checkout / ".venv/bin/python"
    python.unlink()
    python.symlink_to(target)
    assert make(checkout, "usable").stderr.startswith(".venv was made in another folder, or its Python is gone")


def test_variables_for_other_projects_do_not_reach_pip_and_python(tmp_path: Path) -> None:
    (tmp_path / "show.mk").write_text("show:\n\t@env\n")
    kept = {"PIP_INDEX_URL": "https://mirror.example/simple", "PIP_USER": "1"}
    shown = make(tmp_path, "-f", "show.mk", "show", **FOREIGN, **kept).stdout
    found = dict(line.partition("=")[::2] for line in shown.splitlines())
    assert not FOREIGN.keys() & found.keys()
    assert (found["PIP_INDEX_URL"], found["PIP_USER"]) == (kept["PIP_INDEX_URL"], "0")


def test_cleaning_keeps_the_results_of_training(checkout: Path) -> None:
    model = checkout / "runs/models/glasses/5/model.onnx"
    model.parent.mkdir(parents=True)
    model.touch()
    make(checkout, "clean")
    assert (model.exists(), (checkout / ".venv").exists()) == (True, False)


@pytest.mark.parametrize("given", ["{}/my faces", "~/my faces"])
def test_the_folder_of_a_data_set_may_have_blanks(tmp_path: Path, given: str) -> None:
    faces = tmp_path / "my faces"
    words = ("--dry-run", "--assume-old", "setup-training", "train", f"FACES={given.format(tmp_path)}")
    assert f'--data "{faces}" ' in make(tmp_path, *words, HOME=str(tmp_path)).stdout


def test_a_missing_data_set_is_named_before_tensorflow_is_installed(tmp_path: Path) -> None:
    ran = make(tmp_path, "train", f"FACES={tmp_path}/none")
    assert (ran.stdout, ran.stderr.splitlines()[0]) == ("", f"there is no {tmp_path}/none/train.csv: add FACES=DIR")
