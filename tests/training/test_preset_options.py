"""Each setting that is given has an effect, or is refused."""

import json
from pathlib import Path

import pytest

from lensgate.cli import main
from training.cli.options import PresetOptions
from training.data.records import Manifest
from training.errors import DataError

MANIFEST = Manifest(command="", seed=0, seconds=0.0, data=(), shards={32: ()}, table="", problems=())


def options(file: Path, text: str) -> PresetOptions:
    file.write_text(text)
    return PresetOptions(preset=None, preset_file=file, epochs=None, batch_size=None, augment=None)


def test_a_size_in_a_preset_file_is_kept_or_refused(tmp_path: Path) -> None:
    given = options(tmp_path / "best.json", json.dumps({"size": 64, "filters": [4]}))
    with pytest.raises(DataError, match=r"best\.json sets the size 64, and the records hold 32 alone: prepare --size"):
        given.resolve_for(MANIFEST, None)
    assert given.resolve_for(MANIFEST, 32).size == 32


@pytest.mark.parametrize("text", ['{"epochs": 2}', '{"size": 32}'])
def test_a_preset_file_without_another_size_takes_that_of_the_records(text: str, tmp_path: Path) -> None:
    assert options(tmp_path / "own.json", text).resolve_for(MANIFEST, None).size == 32


def test_a_setting_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="epochs is set twice"):
        options(tmp_path / "own.json", '{"epochs": 10, "epochs": 20}').start()


def test_a_preset_and_a_preset_file_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "fit", "--preset", "gate", "--preset-file", "best.json"])
    assert "not allowed with argument --preset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "flag", "value"),
    [
        ("resolution", "--size", "32"),
        ("batch-size", "--batch-size", "16"),
        ("presets", "--preset", "gate"),
        ("presets", "--augment", "0"),
    ],
)
def test_a_study_refuses_options_that_its_values_replace(
    kind: str, flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "study", kind, flag, value, "--out", str(tmp_path)]) == 1
    assert f"`study {kind}` chooses this itself: omit {flag}" in capsys.readouterr().err
