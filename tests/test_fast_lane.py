"""The fast lane refuses everything that `make test` has to install beyond pip packages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fast_lane import FULL_LANE, PROGRAMS, TESTS, includes, refuse


@pytest.mark.parametrize("name", [name for names in FULL_LANE.values() for name in names])
def test_full_lane_entry_exists_and_is_left_out(name: str) -> None:
    assert (TESTS / name).exists()
    assert not includes(TESTS / name)


def test_fast_lane_includes_the_decision_and_leaves_out_folders_with_their_files() -> None:
    assert includes(TESTS / "gate/test_decision.py")
    assert not includes(TESTS / "browser/test_docs.py")


def test_every_program_of_make_tools_is_refused() -> None:
    makefile = (TESTS.parent / "Makefile").read_text()
    tools = re.findall(r"^TOOLS := (.+)$", makefile, re.MULTILINE)
    assert len(tools) == 1
    assert set(tools[0].split()) <= PROGRAMS


@pytest.mark.parametrize(
    ("event", "arguments"), [("import", ("tensorflow", None)), ("subprocess.Popen", (Path("/usr/bin/promtool"), []))]
)
def test_framework_or_program_beyond_pip_fails_the_test(event: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(pytest.fail.Exception, match="runs without"):
        refuse(event, arguments)


@pytest.mark.parametrize(("event", "arguments"), [("import", ("numpy",)), ("subprocess.Popen", ("python", []))])
def test_pip_package_or_python_process_passes(event: str, arguments: tuple[object, ...]) -> None:
    refuse(event, arguments)


def test_tests_that_start_a_database_server_are_left_out() -> None:
    command = [sys.executable, "-m", "pytest", "--fast", "--collect-only", "-p", "no:cacheprovider"]
    words = [*command, "tests/service/records/test_postgres.py"]
    collected = subprocess.run(words, cwd=TESTS.parent, capture_output=True, text=True, check=False).stdout
    assert re.search(r"no tests collected \(\d+ deselected\)", collected)
