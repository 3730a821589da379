import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from gate import ModelStore, read_pixels
from gate.scorer import Scorer
from lensgate.cli import main
from tests.conftest import ROOT
from tests.support.datasets import half, write_dataset
from training.errors import DataError
from training.predict import check_place, find_images


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_unlabelled_images_of_a_data_set_are_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_dataset(tmp_path / "set", half(4), test={5: None, 6: None, 7: None})
    image = folder / "faces-spring-2020/faces-spring-2020/face-6.png"
    for path in image.parent.iterdir():
        Image.open(path).resize((128, 128)).save(path)
    image.write_bytes(image.read_bytes()[:100])
    out = tmp_path / "p.csv"
    assert main(["train", "predict", "--data", str(folder), "--models", str(ROOT / "models"), "--out", str(out)]) == 0
    assert "1 could not be read" in capsys.readouterr().out
    found = rows(out)
    assert [row["id"] for row in found] == ["5", "6", "7"]
    assert "is damaged or incomplete" in found[1]["error"]
    scorer = Scorer(ModelStore(ROOT / "models").load(), device="cpu")
    pixels = read_pixels((image.parent / "face-5.png").read_bytes(), scorer.size)
    (score,) = scorer.score(pixels[None]).each()
    assert float(found[0]["glasses_probability"]) == score.probability
    assert found[0]["decision"] in ("accept", "discard")


@pytest.mark.parametrize(
    ("out", "text"), [("", "is a folder: name the table to write"), ("file/p.csv", "Not a directory|File exists")]
)
def test_unwritable_predictions_are_refused_before_images_are_read(
    out: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("training.predict.decode_images", lambda *_: pytest.fail("read"))
    command = ["train", "predict", "--data", str(ROOT / "samples"), "--models", str(ROOT / "models")]
    assert main([*command, "--out", str(tmp_path / out)]) == 1
    assert re.search(text, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "corrections.csv"])
def test_predictions_never_take_the_place_of_a_table_of_the_data_set(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("id,glasses\n1,0\n")
    (tmp_path / "link.csv").symlink_to(name)
    for out in (tmp_path / name, tmp_path / "link.csv"):
        with pytest.raises(DataError, match=f"{out.name} is a table of the data set"):
            check_place(out, tmp_path)
    check_place(tmp_path / "predictions.csv", tmp_path)


def test_metadata_beside_images_from_macos_is_no_image(tmp_path: Path) -> None:
    for name in ("face-1.png", "._face-1.png", ".face-2.png"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)[0]] == [".face-2.png", "face-1.png"]


def test_any_folder_of_images_will_do(tmp_path: Path) -> None:
    assert [path.name for path in find_images(ROOT / "samples")[0]][:2] == ["faint-1.png", "frames-1.png"]
    with pytest.raises(DataError, match="does not contain an image"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="mistyped does not exist"):
        find_images(tmp_path / "mistyped")


def test_the_model_is_that_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LENSGATE_MODELS", f"'{tmp_path}/served'")
    for step in (["predict", "--data", str(ROOT / "samples")], ["evaluate"]):
        assert main(["train", *step]) == 1
        assert f"no version is in {tmp_path}/served/glasses" in capsys.readouterr().err


def test_images_of_one_id_are_told_apart_by_their_file_names(tmp_path: Path) -> None:
    image = (ROOT / "samples/none-1.png").read_bytes()
    for name in ("face-1.png", "1.jpg", "2.png"):
        (tmp_path / name).write_bytes(image)
    out = tmp_path / "p.csv"
    assert main(["train", "predict", "--data", str(tmp_path), "--models", str(ROOT / "models"), "--out", str(out)]) == 0
    assert [row["id"] for row in rows(out)] == ["1.jpg", "2", "face-1.png"]


def test_rows_without_an_image_are_named_and_labelled_images_never_take_their_place(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(2), test={5: None, 6: None})
    images = folder / "faces-spring-2020/faces-spring-2020"
    (images / "face-6.png").unlink()
    found, problems = find_images(folder)
    assert ([path.name for path in found], problems) == (["face-5.png"], ["test.csv line 3: face-6 has no image"])
    (images / "face-5.png").unlink()
    with pytest.raises(DataError, match=r"no image of .*test\.csv was found"):
        find_images(folder)


def test_rows_without_a_label_are_predicted_beside_labelled_ones(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(4))
    (folder / "test.csv").write_text("id,glasses\n1,0\n2,\n3,NA\n")
    assert [path.name for path in find_images(folder)[0]] == ["face-2.png", "face-3.png"]


def test_images_that_are_left_out_of_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for name in ("a.png", "b.TIF", "._c.heic", "notes.txt", "faces/d.png"):
        (tmp_path / name).touch()
    found, problems = find_images(tmp_path)
    assert ([path.name for path in found], problems) == (
        ["a.png"],
        [
            "b.TIF is ignored: images are PNG, JPEG or WebP files",
            f"the images in {tmp_path}/faces are ignored, because {tmp_path} has some: move them there",
        ],
    )


def test_no_file_name_becomes_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    for name in ("face-=cmd|calc.png", "face-1.png"):
        (tmp_path / name).write_bytes(b"no image")
    out = tmp_path / "p.csv"
    assert main(["train", "predict", "--data", str(tmp_path), "--models", str(ROOT / "models"), "--out", str(out)]) == 0
    assert [row["id"] for row in rows(out)] == ["1", "'=cmd|calc"]
