"""The README is short, and its commands give the output that it shows: `make run`, curl and the client's loop."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gate import ModelStore
from tests.docs.pages import DOCS, ROOT, blocks, prose, read

README = ROOT / "README.md"
SHOWN = [block.body for block in blocks(README)]


@dataclass(frozen=True)
class Demo:
    """The process that `make run` starts."""

    url: str
    printed: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    store = f"sqlite:///{tmp_path_factory.mktemp('demo')}/lensgate.db"
    command = [sys.executable, "-m", "service.demo", "samples"]
    environment = {**os.environ, "LENSGATE_PORT": "0", "LENSGATE_RECORDS_URL": store}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield read_demo(process)
        finally:
            process.terminate()


def read_demo(process: "subprocess.Popen[str]") -> Demo:
    """Read until its last line, which is a curl line."""
    assert process.stdout
    printed = ""
    for line in process.stdout:
        printed += line
        if "curl " in line:
            break
    url = re.search(r"http://[\d.:]+\d", printed)
    assert url, printed
    return Demo(url[0], printed)


def test_readme_has_at_most_150_lines() -> None:
    assert len(read(README).splitlines()) <= 150


@pytest.mark.parametrize(
    "page", [README, DOCS / "index.md", DOCS / "explanation/promise.md"], ids=lambda path: path.name
)
def test_stated_band_is_that_of_the_current_model(page: Path) -> None:
    band = ModelStore(ROOT / "models").load().card.band
    assert f"{band.low:g} to {band.high:g}" in " ".join(prose(page).split())


def test_make_run_prints_what_the_readme_shows(demo: Demo) -> None:
    (shown,) = (text for text in SHOWN if "sunglasses-1.png" in text)
    _, _, shown = shown.partition("installing locks/cpu.txt into .venv\n")
    assert demo.printed.replace(demo.url, "http://127.0.0.1:8000") == shown


def test_curl_answers_what_the_readme_shows(demo: Demo) -> None:
    (command,) = (text for text in SHOWN if text.startswith("curl "))
    (answer,) = (json.loads(text) for text in SHOWN if text.startswith("{"))
    words = shlex.split(command.replace("http://127.0.0.1:8000", demo.url))
    ran = subprocess.run([*words, "--silent", "--noproxy", "*"], cwd=ROOT, capture_output=True, check=True)
    found = json.loads(ran.stdout)
    assert found.pop("novelty") == pytest.approx(answer.pop("novelty"), abs=1e-3)
    assert found == answer


def test_loop_of_the_readme_saves_accepted_faces(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (loop,) = (text for text in SHOWN if "GateFilter" in text)
    loop = loop.replace("http://127.0.0.1:8000", demo.url).replace("1_000", "3")
    faces = [np.asarray(Image.open(ROOT / f"samples/{name}-1.png").convert("RGB")) for name in ("none", "frames")]
    saved: list[Any] = []
    exec(loop, {"generate": lambda: np.stack(faces), "save": saved.append})  # noqa: S102 - our own text
    assert len(saved) == 3
    assert all(np.array_equal(face, faces[1]) for face in saved), "the bare face contradicts the order"
