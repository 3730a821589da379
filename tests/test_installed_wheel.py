"""A wheel installed in another environment serves the current model from any folder."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.support.servers import TIMEOUT, wait_until

CURRENT = (ROOT / "models/glasses/CURRENT").read_text().strip()


@dataclass(frozen=True)
class Installed:
    """The environment with the wheel, and an empty home folder to run in."""

    programs: Path
    home: Path

    def run(self, program: str, *arguments: str) -> str:
        """Return the standard output of a program."""
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """No variable of the tests' own environment."""
        return {"HOME": str(self.home), "PATH": os.defpath}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("lensgate-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    site = folder / "venv/lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    # The packages of the tests' environment, but not its editable installs, whose .pth files are not read there.
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    home = folder / "home"
    home.mkdir()
    return Installed(folder / "venv/bin", home)


def test_an_installed_wheel_serves_the_current_model_from_an_empty_folder(installed: Installed) -> None:
    log = installed.home / "log"
    command = [str(installed.programs / "lensgate"), "serve", "--port", "0"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=installed.home, env=installed.environment, stderr=sink)
    try:
        wait_until(lambda: process.poll() is not None or "running on" in log.read_text())
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        (url,) = (line["message"].split()[2] for line in lines if line["message"].startswith("running on"))
        answer = httpx.post(
            f"{url}/v1/decisions?expected=glasses",
            content=(ROOT / "samples/frames-1.png").read_bytes(),
            timeout=TIMEOUT,
            trust_env=False,
        ).json()
        assert httpx.get(f"{url}/docs", timeout=TIMEOUT, trust_env=False).status_code == 200
    finally:
        process.terminate()
        process.wait(TIMEOUT)
    assert (answer["decision"], answer["model"]["version"]) == ("accept", CURRENT)


def test_its_commands_and_its_python_interface_use_the_same_model(installed: Installed) -> None:
    sample = str(ROOT / "samples/none-1.png")
    row = json.loads(installed.run("lensgate", "classify", "--json", sample))
    code = (
        "import lensgate, sys; gate = lensgate.Gate(); one = gate.decide(sys.argv[1]);"
        "print(lensgate.__file__, one.model_version, one.glasses_probability)"
    )
    file, version, probability = installed.run("python", "-c", code, sample).split()
    assert Path(file).is_relative_to(installed.programs.parent)
    assert (version, float(probability)) == (CURRENT, row["glasses_probability"])
    assert installed.run("lensgate", "models", "list").startswith(f"* {CURRENT} ")
    assert installed.run("lensgate", "--version").startswith("lensgate ")


def test_the_documented_example_runs_with_it(installed: Installed) -> None:
    text = (ROOT / "docs/reference/python.md").read_text()
    example = text.partition("```python\n")[2].partition("```")[0].replace('"samples/', f'"{ROOT}/samples/')
    printed = installed.run("python", "-c", example).splitlines()
    assert (printed[0], printed[2]) == ("accept confident", "unsupported_image")
    assert [line.split()[-1] for line in printed[3:]] == ["True", "True", "False"]
