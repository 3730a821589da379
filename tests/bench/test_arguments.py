"""Every benchmark explains itself with --help, and names a missing argument instead of failing on it."""

import re
from pathlib import Path

import pytest

from bench.arguments import read_places

ROOT = Path(__file__).parents[2]
# Started by the serving benchmark.
PARTS = {"bench/serving/generator.py", "bench/serving/bare_endpoint.py"}
COMMANDS = [
    name
    for path in sorted((ROOT / "bench").rglob("*.py"))
    if (name := str(path.relative_to(ROOT))) not in PARTS and "/peers/" not in name
    if re.search(r"^if __name__ ==", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_parses_its_command_line(name: str) -> None:
    assert re.search(r"argparse|read_places\(", (ROOT / name).read_text(encoding="utf-8"))


def test_places_are_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "one", "two"])
    assert read_places("bench.x", "Measure.", first="a", second="b") == [Path("one"), Path("two")]


def test_a_missing_place_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "one"])
    with pytest.raises(SystemExit, match="2"):
        read_places("bench.x", "Measure.", first="a", second="b")
    assert "python -m bench.x: error: the following arguments are required: SECOND" in capsys.readouterr().err
