import hashlib
import os
from pathlib import Path

import pytest

from bulk.sources.sample import MAX_BYTES
from lensgate.cli import main
from tests.bulk.helpers import DARK, GREY, LIGHT, Bulk, face, read_rows, shards, tar_members, write_faces
from tests.support.images import encode, flat, portrait


def test_a_folder_becomes_a_table_in_the_order_of_its_names(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT, GREY, DARK])
    ran = bulk(faces, tmp_path / "out", "--expected", "glasses")
    assert ran.status == 0
    dark, grey, light = read_rows(tmp_path / "out")
    assert light == {
        "id": "face-00250.png",
        "source": str(faces),
        "file": str(faces),
        "sha256": hashlib.sha256(face(LIGHT)).hexdigest(),
        "glasses_probability": pytest.approx(LIGHT / 255, abs=0.01),
        "label": "glasses",
        "decision": "accept",
        "reason": "confident",
        "novelty": None,
        "expected": "glasses",
        "error": None,
        "detail": None,
        "model_version": "2",
    }
    assert (grey["decision"], grey["reason"]) == ("discard", "uncertain")
    assert (dark["label"], dark["decision"], dark["reason"]) == ("no_glasses", "discard", "contradicted")
    assert ran.summary["sources"][str(faces)]["reject_ratio"] == 0.666667


def test_an_image_that_cannot_be_judged_is_a_row_with_the_reason(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    (faces / "broken.png").write_bytes(face(DARK)[:-20])
    (faces / "empty.jpg").write_bytes(b"")
    (faces / "gone.png").symlink_to(tmp_path / "nowhere")
    (faces / "small.png").write_bytes(encode(flat(1, 16)))
    (faces / "text.webp").write_bytes(b"text")
    (faces / "wide.png").write_bytes(encode(portrait(80)[:70]))
    with (faces / "vast.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    ran = bulk(faces, tmp_path / "out")
    assert ran.status == 0
    errors = {row["id"]: row["error"] for row in read_rows(tmp_path / "out")}
    assert errors == {
        "broken.png": "corrupt_image",
        "empty.jpg": "empty_image",
        "face-00250.png": None,
        "gone.png": "unreadable_file",
        "small.png": "image_too_small",
        "text.webp": "unsupported_image",
        "vast.png": "file_too_large",
        "wide.png": "not_square",
    }
    assert (ran.summary["accepted"], ran.summary["errors"]) == (1, 7)
    (vast,) = [row for row in read_rows(tmp_path / "out") if row["id"] == "vast.png"]
    assert vast["sha256"] is None
    assert "67,108,865 bytes" in vast["detail"]


def test_folders_are_walked_and_each_is_a_source(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    write_faces(faces / "b", [DARK])
    write_faces(faces / "a" / "deep", [GREY])
    write_faces(faces / ".hidden", [1])
    (faces / "a" / ".face.png").write_bytes(b"")
    (faces / "notes.txt").write_text("no picture")
    (faces / "b" / "loop").symlink_to(faces)
    (faces / "c").symlink_to(write_faces(tmp_path / "elsewhere", [7]))
    ran = bulk(faces, tmp_path / "out")
    assert [row["id"] for row in read_rows(tmp_path / "out")] == [
        "face-00250.png",
        "a/deep/face-00128.png",
        "b/face-00005.png",
        "c/face-00007.png",
    ]
    assert set(ran.summary["sources"]) == {str(faces), *(f"{faces}/{name}" for name in ("a/deep", "b", "c"))}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("faces/*.png", ["1.png"]),
        ("faces/*/*.png", ["a/2.png", "b/4.png"]),
        ("faces/**/*.jpg", ["a/3.jpg"]),
        ("faces/{a,b}/*.png", ["a/2.png", "b/4.png"]),
        ("faces/[ab]/{2,9}.png", ["a/2.png"]),
        ("faces/a/3.jpg", ["3.jpg"]),
        ("faces/a/{3,5}.jpg", ["3.jpg", "5.jpg"]),
    ],
)
def test_patterns_choose_files(pattern: str, found: list[str], bulk: Bulk, tmp_path: Path) -> None:
    for name in ("1.png", "a/2.png", "a/3.jpg", "b/4.png", "b/more/5.webp"):
        path = tmp_path / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(flat(LIGHT), {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[path.suffix]))
    assert bulk(tmp_path / pattern, tmp_path / "out").status == 0
    rows = read_rows(tmp_path / "out")
    assert [row["id"] for row in rows] == found
    assert {row["id"] for row in rows if row["error"]} == {name for name in found if name == "5.jpg"}


@pytest.mark.parametrize("name", ["face[1].png", "face{0..1}.png", "all*.png"])
def test_an_existing_file_takes_precedence_over_a_pattern(name: str, bulk: Bulk, tmp_path: Path) -> None:
    for other in (name, "face1.png", "face0.png"):
        (tmp_path / other).write_bytes(face(LIGHT))
    assert bulk(tmp_path / name, tmp_path / "out").status == 0
    assert [row["id"] for row in read_rows(tmp_path / "out")] == [name]
    assert bulk(tmp_path / name, tmp_path / "out").summary["skipped"] == 1


def test_names_that_look_like_patterns_are_found_by_braces(bulk: Bulk, tmp_path: Path) -> None:
    write_faces(tmp_path / "run[1]", range(3))
    ran = bulk(tmp_path / "run[1]" / "face-{00000..00002}.png", tmp_path / "out")
    assert (ran.status, ran.summary["images"], ran.summary["errors"]) == (0, 3, 0)


def test_a_hidden_file_is_judged_if_it_is_named(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / ".hidden", [LIGHT, DARK])
    (faces / "face-00005.png").rename(faces / ".face.png")
    bulk(f"{faces}/{{*,.face,face-*}}.png", tmp_path / "out")
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["face-00250.png", ".face.png"]


def test_two_dots_after_a_link_are_the_folder_above_its_target(bulk: Bulk, tmp_path: Path) -> None:
    write_faces(tmp_path / "real" / "faces", [LIGHT])
    write_faces(tmp_path / "faces", [DARK])
    (tmp_path / "real" / "run").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "real" / "run")
    bulk(f"{tmp_path}/current/../faces", tmp_path / "out")
    bulk(f"{tmp_path}/./real/../faces/.", tmp_path / "out")
    assert {row["id"]: row["file"] for row in read_rows(tmp_path / "out")} == {
        "face-00005.png": f"{tmp_path}/faces",
        "face-00250.png": f"{tmp_path}/real/faces",
    }


def test_the_braces_of_a_pattern_may_be_longer_than_a_name(bulk: Bulk, tmp_path: Path) -> None:
    write_faces(tmp_path, range(40))
    ran = bulk(tmp_path / f"{{{','.join(f'face-{number:05d}' for number in range(40))}}}.png", tmp_path / "out")
    assert (ran.status, ran.summary["images"], ran.summary["errors"]) == (0, 40, 0)


def test_names_need_not_be_unicode(bulk: Bulk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = tmp_path / "faces"
    (write_faces(faces / os.fsdecode(b"\xff"), []) / os.fsdecode(b"caf\xe9.png")).write_bytes(face(LIGHT))
    assert bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep").status == 0
    (row,) = read_rows(tmp_path / "out")
    assert (row["id"], row["source"]) == ("\\xff/caf\\xe9.png", f"{faces}/\\xff")
    assert main(["bulk", str(faces), str(tmp_path / "out"), "--models", str(bulk.models)]) == 0
    assert f"{faces}/\\xff " in capsys.readouterr().out


def test_a_byte_and_its_escape_are_two_names(bulk: Bulk, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    for folder in (os.fsdecode(b"\xff"), "\\xff"):
        (write_faces(faces / folder, []) / "1.png").write_bytes(face(LIGHT))
    for _ in range(2):
        found = bulk(faces, tmp_path / "out")
        assert found.status == 0
        rows = read_rows(tmp_path / "out")
        assert sorted(row["id"] for row in rows) == ["\\\\xff/1.png", "\\xff/1.png"]
        assert {row["source"] for row in rows} == {f"{faces}/\\\\xff", f"{faces}/\\xff"}
    assert found.summary["skipped"] == 2


def test_a_new_file_rewrites_one_shard_of_many(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", range(1_500))
    bulk(faces, tmp_path / "out")
    before = shards(tmp_path / "out")
    assert len(before) > 3
    (faces / "face-00700-b.png").write_bytes(face(2_000))
    ran = bulk(faces, tmp_path / "out")
    after = shards(tmp_path / "out")
    changed = [name for name in after if after[name] != before.get(name)]
    assert len(changed) == 1
    assert changed[0] in before
    rows = read_rows(tmp_path / "out")
    assert sorted(row["id"] for row in rows) == sorted(path.name for path in faces.iterdir())
    # The shard's other images are hashed again, and their scores reused.
    assert ran.summary["reused"] == ran.summary["judged"] - 1 > 100


def test_a_file_added_or_removed_at_the_front_leaves_no_stale_shard(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", range(10, 20))
    bulk(faces, tmp_path / "out")
    names = list(shards(tmp_path / "out"))
    assert names[0].startswith("faces-")
    write_faces(faces, [5])
    ran = bulk(faces, tmp_path / "out")
    (faces / "face-00005.png").unlink()
    (faces / "face-00010.png").unlink()
    bulk(faces, tmp_path / "out")
    assert list(shards(tmp_path / "out")) == names
    assert ran.summary["removed_shards"] == 0
    assert len(read_rows(tmp_path / "out")) == 9


def test_merged_units_remove_the_shard_of_the_later_one(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", range(600))
    bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep")
    second = next(name for name in shards(tmp_path / "out") if not name.startswith("faces-"))
    # A shard is called by its first file.
    start = int(second.split("-")[1])
    (faces / f"face-{start:05d}.png").unlink()
    ran = bulk(faces, tmp_path / "out", "--keep", tmp_path / "keep")
    assert ran.summary["removed_shards"] >= 1
    rows = read_rows(tmp_path / "out")
    assert len({row["id"] for row in rows}) == len(rows) == 599
    kept = [name for data in shards(tmp_path / "keep").values() for name in tar_members(data)]
    assert sorted(kept) == sorted(row["id"] for row in rows if row["decision"] == "accept")
