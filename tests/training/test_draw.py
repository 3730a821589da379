"""Drawn faces: repeatable, of every kind, and the same person whatever they wear."""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.servers import TIMEOUT, wait_until
from training.data.dataset import read_dataset
from training.drawing import Eyewear, choose_eyewear, draw_face, draw_faces
from training.errors import DataError

SIZE = 256
WORN = [kind for kind in Eyewear if kind is not Eyewear.NONE]
IMAGES = Path("faces-spring-2020", "faces-spring-2020")
# Rows, as shares of the height, that eyewear may touch: from the brows to the cheeks, with room for a rolled head.
BAND = (0.3, 0.7)


def face(seed: int, eyewear: Eyewear, *, size: int = SIZE) -> Image.Image:
    return draw_face(np.random.default_rng(seed), eyewear, size=size)


def pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


def drawn(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / IMAGES).iterdir()}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "train.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("eyewear", Eyewear)
def test_the_same_seed_draws_the_same_pixels(eyewear: Eyewear) -> None:
    assert face(3, eyewear).tobytes() == face(3, eyewear).tobytes()


def test_another_seed_draws_another_face() -> None:
    assert np.abs(pixels(face(3, Eyewear.NONE)) - pixels(face(4, Eyewear.NONE))).mean() > 5


def test_a_face_is_an_rgb_portrait_of_1024_pixels_unless_told_otherwise() -> None:
    image = draw_face(np.random.default_rng(0), Eyewear.FRAMES)
    assert (image.mode, image.size) == ("RGB", (1024, 1024))
    assert face(0, Eyewear.FRAMES, size=96).size == (96, 96)


@pytest.mark.parametrize("eyewear", WORN)
@pytest.mark.parametrize("seed", range(4))
def test_eyewear_changes_the_face_at_the_eyes_and_nowhere_else(eyewear: Eyewear, seed: int) -> None:
    changed = np.abs(pixels(face(seed, eyewear)) - pixels(face(seed, Eyewear.NONE)))
    upper, lower = (round(share * SIZE) for share in BAND)
    assert not changed[:upper].any()
    assert not changed[lower:].any()
    assert changed[upper:lower].max() > 10


@pytest.mark.parametrize("seed", range(3))
def test_frames_and_sunglasses_are_visible_at_64_pixels_and_faint_glasses_hardly_are(seed: int) -> None:
    bare = pixels(face(seed, Eyewear.NONE).reduce(SIZE // 64))
    change = {kind: np.abs(pixels(face(seed, kind).reduce(SIZE // 64)) - bare)[22:40, 12:52].mean() for kind in WORN}
    assert 0.2 < change[Eyewear.FAINT] < 6
    assert change[Eyewear.FRAMES] > change[Eyewear.FAINT]
    assert change[Eyewear.SUNGLASSES] > 2 * change[Eyewear.FAINT]


def test_every_kind_occurs_and_half_the_faces_wear_none() -> None:
    kinds = Counter(choose_eyewear(np.random.default_rng([0, face_id])) for face_id in range(1, 201))
    assert 80 <= kinds[Eyewear.NONE] <= 120
    assert kinds[Eyewear.FRAMES] > kinds[Eyewear.SUNGLASSES] > 10
    assert 10 <= kinds[Eyewear.FAINT] <= 32


def test_a_data_set_is_in_the_kaggle_layout(tmp_path: Path) -> None:
    draw_faces(tmp_path, 6, seed=5, first_id=4501, workers=1, size=64)
    table = rows(tmp_path)
    assert [list(row) for row in table] == [["id", "glasses", "eyewear"]] * 6
    assert [row["id"] for row in table] == [str(face_id) for face_id in range(4501, 4507)]
    assert all((row["glasses"] == "0") == (row["eyewear"] == "none") for row in table)
    assert {row["eyewear"] for row in table} <= set(Eyewear)
    assert set(drawn(tmp_path)) == {f"face-{row['id']}.png" for row in table}


def test_a_smaller_data_set_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    draw_faces(tmp_path / "small", 2, seed=1, workers=1, size=64)
    draw_faces(tmp_path / "large", 4, seed=1, workers=1, size=64)
    small, large = drawn(tmp_path / "small"), drawn(tmp_path / "large")
    assert small == {name: large[name] for name in small}
    assert rows(tmp_path / "small") == rows(tmp_path / "large")[:2]


def test_processes_draw_what_one_process_draws(tmp_path: Path) -> None:
    draw_faces(tmp_path / "one", 3, seed=2, workers=1, size=64)
    draw_faces(tmp_path / "two", 3, seed=2, workers=2, size=64)
    assert drawn(tmp_path / "one") == drawn(tmp_path / "two")
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_leaves_no_table_and_no_half_image(tmp_path: Path, workers: int) -> None:
    draw_faces(tmp_path, 1, workers=1, size=64)
    # A folder where the third image belongs: drawing it fails.
    (tmp_path / IMAGES / "face-3.png").mkdir()
    with pytest.raises(OSError, match="face-3"):
        draw_faces(tmp_path, 4, workers=workers, size=64)
    assert not (tmp_path / "train.csv").exists()
    assert not list((tmp_path / IMAGES).glob(".*"))
    (tmp_path / IMAGES / "face-3.png").rmdir()
    draw_faces(tmp_path, 4, workers=1, size=64)
    assert len(rows(tmp_path)) == 4


DRAW = "import sys, pathlib, training.drawing as d; d.draw_faces(pathlib.Path(sys.argv[1]), 10**6, size=64, workers=2)"


def test_a_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    # Every process that holds the pipe's other end keeps it open.
    with subprocess.Popen([sys.executable, "-c", DRAW, tmp_path], stdout=subprocess.PIPE) as process:
        wait_until(lambda: any(tmp_path.rglob("face-*.png")))
        process.kill()
        assert process.communicate(timeout=TIMEOUT)[0] == b""
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_one_is_refused_before_anything_is_written(tmp_path: Path, count: int) -> None:
    with pytest.raises(DataError, match="at least 1 face"):
        draw_faces(tmp_path / "out", count)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"first_id": -1}, {"seed": -1}], ids=str)
def test_an_impossible_request_is_refused_before_anything_is_written(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        draw_faces(tmp_path / "out", 1, **wrong)
    assert not (tmp_path / "out").exists()


def test_labels_that_were_not_drawn_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,glasses\n1,0\n")
    with pytest.raises(DataError, match="was not drawn"):
        draw_faces(tmp_path, 1, size=64, workers=1)
    assert (tmp_path / "train.csv").read_text() == "id,glasses\n1,0\n"


@pytest.mark.parametrize("file", [IMAGES / "face-1.png", "about.json"])
def test_images_that_were_not_drawn_are_not_overwritten(tmp_path: Path, file: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"\xff mine")
    with pytest.raises(DataError, match="was not drawn"):
        draw_faces(tmp_path, 1, size=64, workers=1)
    assert (tmp_path / file).read_bytes() == b"\xff mine"


def test_a_drawn_set_says_so_and_may_be_drawn_again(tmp_path: Path) -> None:
    for _ in range(2):
        draw_faces(tmp_path, 1, size=64, workers=1)
    assert "draw" in read_dataset(tmp_path).about.source
