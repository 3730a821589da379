"""Records on disk: one decode, whole shards, and a table with the split of each image."""

import errno
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import FolderInUse
from common.storage import locked
from gate import read_pixels, read_pixels_at
from gate.files import write_atomically
from lensgate.cli import main
from tests.support.datasets import barred, half, write_dataset
from tests.support.decodes import decoded
from tests.support.images import encode, portrait
from training.data import shards
from training.data.dataset import Split, read_dataset
from training.data.image_folders import read_image_file
from training.data.near_duplicates import NEAR, group_near, perceptual_hash
from training.data.records import Manifest, join, load_records, read_rows, write_records
from training.errors import DataError, RecordsError

IMAGES = "faces-spring-2020/faces-spring-2020"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "bars", half(120))


def test_one_decode_serves_several_sizes_with_the_gates_own_pixels(folder: Path, tmp_path: Path) -> None:
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[64, 32], seed=0)
    for size in (32, 64):
        found = load_records(tmp_path / "r", Split.TRAIN, size=size)
        path = folder / IMAGES / f"{found.names[0]}.png"
        np.testing.assert_array_equal(found.images[0], read_pixels(path.read_bytes(), size))
    with pytest.raises(RecordsError, match="choose one"):
        load_records(tmp_path / "r", Split.TRAIN)
    with pytest.raises(RecordsError, match="prepare --size 32 --size 64 --size 128 first"):
        load_records(tmp_path / "r", Split.TRAIN, size=128)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pixels_at_several_sizes_are_those_of_each_size_alone(kind: str) -> None:
    data = encode(portrait(512), kind)
    for size, pixels in zip((32, 64, 128), read_pixels_at(data, (32, 64, 128)), strict=True):
        np.testing.assert_array_equal(pixels, read_pixels(data, size))


def test_an_interrupted_run_goes_on_with_the_block_it_was_at(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 50)
    whole, out = tmp_path / "whole", tmp_path / "r"
    expected = write_records([read_dataset(folder)], whole, sizes=[32], seed=0)
    real = write_atomically

    def fail_at_second(path: Path, data: bytes) -> None:
        if path.name.startswith("00001"):
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(shards, "write_atomically", fail_at_second)
    with pytest.raises(KeyboardInterrupt):
        write_records([read_dataset(folder)], out, sizes=[32], seed=0)
    with pytest.raises(RecordsError):
        Manifest.read(out)
    monkeypatch.setattr(shards, "write_atomically", real)
    seen = decoded(monkeypatch)
    again = write_records([read_dataset(folder)], out, sizes=[32], seed=0)
    assert len(seen) == 70
    assert again.fingerprint() == expected.fingerprint()
    np.testing.assert_array_equal(load_records(out, *Split).images, load_records(whole, *Split).images)


def test_another_seed_or_a_corrected_label_decodes_nothing_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    seen = decoded(monkeypatch)
    second = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=1)
    (folder / "corrections.csv").write_text("id,label,reason\n1,glasses,seen\n")
    third = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=1)
    assert not seen
    assert len({one.fingerprint() for one in (first, second, third)}) == 3
    found = load_records(tmp_path / "r", *Split)
    assert found.labels[found.names.index("face-1")] == 1


def test_records_of_other_pixels_are_decoded_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    monkeypatch.setattr(shards, "DECODING", "next")
    seen = decoded(monkeypatch)
    second = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert len(seen) == sum(second.count(split) for split in Split)
    assert first.fingerprint() == second.fingerprint()


def test_a_file_that_changed_is_decoded_again_and_the_old_shard_goes(folder: Path, tmp_path: Path) -> None:
    before = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    (folder / IMAGES / "face-7.png").write_bytes(encode(barred(500, False)))
    os.utime(folder / IMAGES / "face-7.png", (1, 1))
    after = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert before.shards[32][0].file != after.shards[32][0].file
    assert not (tmp_path / "r" / before.shards[32][0].file).exists()
    assert before.fingerprint() != after.fingerprint()


def test_a_file_that_could_not_be_read_for_a_moment_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(folder / IMAGES / "face-3.png", b"junk")

    def fail(path: Path) -> bytes:
        if path.stem == "face-7":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return read_image_file(path)

    monkeypatch.setattr(shards, "SHARD_IMAGES", 50)
    monkeypatch.setattr(shards, "read_image_file", fail)
    first = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert "Stale file handle" in " ".join(first.problems)
    with monkeypatch.context() as patch:  # While the fault stays, no image is decoded again.
        patch.setattr(shards, "_decode", lambda *_, **__: pytest.fail("decoded"))
        again = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert (again.problems, again.shards) == (first.problems, first.shards)
    seen = decoded(monkeypatch)
    second = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert len(set(seen)) == 50
    assert second.fingerprint() != first.fingerprint()
    assert second.shards[32][0].images == first.shards[32][0].images + 1
    # Until the new manifest is written, the shards of the old one stay.
    assert second.shards[32][0].file != first.shards[32][0].file
    seen.clear()
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert not seen
    assert len(list((tmp_path / "r/shards").glob("*.json"))) == len(second.shards[32])


def test_records_stay_complete_while_others_in_their_place_are_refused(folder: Path, tmp_path: Path) -> None:
    before = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    few = write_dataset(tmp_path / "few", half(4))
    with pytest.raises(DataError, match="cannot be split"):
        write_records([read_dataset(few)], tmp_path / "r", sizes=[64], seed=0)
    assert Manifest.read(tmp_path / "r") == before
    assert len(load_records(tmp_path / "r", *Split)) == 120
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=1)
    assert [path.name for path in (tmp_path / "r/shards/64").iterdir()] == []


def test_labels_that_left_too_few_images_are_named_in_the_error(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", half(60))
    table = folder / "train.csv"
    table.write_text(table.read_text().replace(",0\n", ",-1\n"))
    with pytest.raises(DataError, match=r"0 without .* left out \(30\): set: train.csv line 2: .* label '-1' instead"):
        write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)


def test_a_table_that_was_edited_is_refused(folder: Path, tmp_path: Path) -> None:
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    table = tmp_path / "r/images.csv"
    table.write_text(table.read_text().replace("train", "test", 1))
    with pytest.raises(RecordsError, match=r"corrections\.csv"):
        load_records(tmp_path / "r", Split.TRAIN)


def test_the_same_picture_saved_otherwise_is_in_one_split_with_it(folder: Path, tmp_path: Path) -> None:
    for face in (10, 20, 30, 40):
        pixels = np.asarray(Image.open(folder / IMAGES / f"face-{face}.png"))
        brighter = np.clip(pixels * 1.1, 0, 255).astype(np.uint8)
        (folder / IMAGES / f"face-{face + 1000}.png").write_bytes(encode(brighter))
    with (folder / "train.csv").open("a") as table:
        table.writelines(f"{face + 1000},0,0,0,0,1\n" for face in (10, 20, 30, 40))
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[64], seed=0)
    splits = {name: split for split in Split for name in load_records(tmp_path / "r", split).names}
    assert all(splits[f"face-{face}"] is splits[f"face-{face + 1000}"] for face in (10, 20, 30, 40))


def test_a_file_of_the_test_table_is_never_trained_on_under_another_name(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "bars", half(60), test=half(20, first=100))
    for test, train in ((100, 1), (101, 3)):
        copy = (folder / IMAGES / f"face-{test}.png").read_bytes()
        (folder / IMAGES / f"face-{train}.png").write_bytes(copy)
    manifest = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert set(load_records(tmp_path / "r", Split.TEST).names) == {f"face-{face}" for face in half(20, first=100)}
    assert manifest.problems[:2] == (
        "bars: face-1.png is left out: it is the same file as bars: face-100.png",
        "bars: face-3.png is left out: it is the same file as bars: face-101.png, which has the other label",
    )


def test_a_test_table_of_damaged_images_is_not_replaced_by_training_images(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "bars", half(60), test=half(2, first=100))
    for face in (100, 101):
        (folder / IMAGES / f"face-{face}.png").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"no image of test\.csv is usable: bars: face-100\.png: "):
        write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)


def test_a_copy_in_another_data_set_does_not_leak_into_the_training(folder: Path, tmp_path: Path) -> None:
    """A reviewed copy of a face must not be trained on while the face itself tests, calibrates or is held out."""
    reviewed = write_dataset(tmp_path / "reviewed", half(80, first=500))
    for face in range(1, 41):
        pixels = np.asarray(Image.open(folder / IMAGES / f"face-{face}.png"))
        (reviewed / IMAGES / f"face-{499 + face}.png").write_bytes(encode(np.clip(pixels * 1.1, 0, 255).astype("u1")))
    auxiliary = replace(read_dataset(reviewed), auxiliary=True)
    write_records([read_dataset(folder), auxiliary], tmp_path / "r", sizes=[64], seed=0)
    rows = read_rows(tmp_path / "r")
    kept = {row.name for row in rows if row.data_set == "reviewed"}
    assert kept
    assert kept.isdisjoint(f"face-{499 + face}" for face in range(1, 41))
    assert sum(row.data_set == "bars" for row in rows) == 120
    write_records([read_dataset(folder), read_dataset(reviewed)], tmp_path / "r", sizes=[64], seed=0)
    splits = {(row.data_set, row.name): row.split for row in read_rows(tmp_path / "r")}
    for face in range(1, 41):
        copied = splits.get(("reviewed", f"face-{499 + face}"))
        assert copied is (Split.TRAIN if splits["bars", f"face-{face}"] is Split.TRAIN else None)


def test_prepare_says_that_no_image_of_a_data_set_is_left(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = shutil.copytree(folder, tmp_path / "copies")
    arguments = ["--data", str(folder), "--auxiliary", str(copies), "--records", str(tmp_path / "r"), "--seed", "5"]
    assert main(["train", "prepare", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "copies           no image is left: all are unreadable, or copies" in printed
    assert printed.endswith(f"next: lensgate train fit --records {tmp_path / 'r'} --preset paper --seed 5\n")
    assert len(load_records(tmp_path / "r", *Split)) == 120


def test_a_data_set_in_a_folder_whose_name_is_not_utf_8_is_read(folder: Path, tmp_path: Path) -> None:
    folder = folder.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    manifest = write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    assert [one.name for one in manifest.data] == [r"caf\xe9"]
    assert len(load_records(tmp_path / "r", *Split)) == 120


def test_no_name_on_the_way_needs_to_be_utf_8(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in (b"png", b"jpg"):
        Path(os.fsdecode(os.fsencode(folder / IMAGES) + b"/face-\xff." + ending)).touch()
    folder, out = folder.rename(tmp_path / os.fsdecode(b"caf\xe9")), tmp_path / os.fsdecode(b"r\xe9")
    texts = ["--licence", os.fsdecode(b"caf\xe9=libert\xe9"), "--size", "32"]
    assert main(["train", "prepare", "--data", str(folder), "--records", str(out), *texts]) == 0
    assert r"face-\xff.jpg is ignored: face-\xff.png has the same name" in capsys.readouterr().err
    (described,) = Manifest.read(out).data
    assert (described.name, described.licence) == (r"caf\xe9", r"libert\xe9")
    assert len(load_records(out, *Split)) == 120


def test_one_run_at_a_time_writes_records(folder: Path, tmp_path: Path) -> None:
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    with locked(tmp_path / "r"), pytest.raises(FolderInUse, match="another run is writing"):
        write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=1)
    assert Manifest.read(tmp_path / "r").seed == 0


def test_likeness_joins_through_a_third_and_tells_strangers_apart() -> None:
    def hashed(bits: int) -> str:
        return f"{(1 << bits) - 1:064x}"

    assert group_near([hashed(0), hashed(NEAR), hashed(2 * NEAR), hashed(3 * NEAR + 1)]) == [0, 0, 0, 3]
    one, other = (perceptual_hash(portrait(64, seed=seed)) for seed in (1, 1))
    assert one == other
    assert len(one) == 64


def test_prepare_warns_of_a_chain_of_near_duplicates_that_skews_a_split(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "prepare", "--data", str(folder), "--size", "64", "--records", str(tmp_path / "r")]
    assert main(command) == 0
    assert "share of glasses" not in capsys.readouterr().err
    pixels = barred(2, glasses=True).astype(int)
    for step in range(80):
        changed = np.clip(pixels + 1 + step, 0, 255).astype("u1")
        (folder / IMAGES / f"face-{500 + step}.png").write_bytes(encode(changed))
    with (folder / "train.csv").open("a") as table:
        table.writelines(f"{500 + step},0,0,0,0,1\n" for step in range(80))
    assert main(command) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "share of glasses" in line)
    assert line.startswith("bars: the share of glasses differs by more than chance: ")
    assert "all splits 70.0 % (140 of 200)" in line
    chosen = next(row.split for row in read_rows(tmp_path / "r") if row.name == "face-500")
    assert f"81 like face-2 are in {chosen}: keep only a few of them in train.csv, or try another --seed" in line
    assert line in Manifest.read(tmp_path / "r").problems


def test_records_are_chosen_from_and_joined(folder: Path, tmp_path: Path) -> None:
    write_records([read_dataset(folder)], tmp_path / "r", sizes=[32], seed=0)
    everything = load_records(tmp_path / "r", *Split)
    bare, worn = (everything.select(everything.labels == label) for label in (0, 1))
    both = join(bare, worn)
    assert len(both) == len(everything)
    assert set(both.names) == set(everything.names)
    assert both.labels[: len(bare)].sum() == 0


def test_a_fifo_among_the_images_is_a_fault_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "face-1.png")
    (fault,) = shards.decode_images([tmp_path / "face-1.png"], 32)
    assert "not a regular file" in str(fault)


def test_an_image_file_is_read_up_to_a_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.image_folders.MAX_BYTES", 100)
    (fault,) = shards.decode_images([folder / IMAGES / "face-1.png"], 32)
    assert "at most 100 are read" in str(fault)


def test_frames_of_a_film_are_joined_without_a_list_of_their_pairs() -> None:
    """A list of the pairs of 20,000 frames would take 26 GB."""
    frames = [f"{1 << index % 250:064x}" for index in range(1_500)]
    tracemalloc.start()
    try:
        assert group_near([*frames, "f" * 64]) == [0] * 1_500 + [1_500]
        assert tracemalloc.get_traced_memory()[1] < 60 * 2**20
    finally:
        tracemalloc.stop()
