"""Records in object storage: same bytes as in a folder, fetched once, and verified before use."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from common.errors import StorageError
from common.storage import LOCK, AnyPath, StoragePath, sizes_of, write_atomically
from lensgate.cli import main
from tests.support.datasets import barred, half, write_dataset
from tests.support.decodes import decoded
from tests.support.images import encode
from training.data import records as records_module
from training.data import shards
from training.data.dataset import Split, read_dataset
from training.data.records import MANIFEST_FILE, TABLE_FILE, Manifest, Records, load_parts, load_records, write_records
from training.data.shard_cache import folder_of
from training.errors import RecordsError

pytestmark = pytest.mark.usefixtures("copies")

IMAGES = "faces-spring-2020/faces-spring-2020"
COUNT = 120


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks instead of one."""
    monkeypatch.setattr(shards, "SHARD_IMAGES", 50)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "bars", half(COUNT))


@pytest.fixture
def folder(faces: Path, tmp_path: Path) -> Path:
    return shutil.copytree(faces, tmp_path / "bars")


def prepare(folder: Path, out: AnyPath, *, seed: int = 0) -> Manifest:
    return write_records([read_dataset(folder)], out, sizes=[32], seed=seed)


def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with the names of the shards that are read from storage from now on."""
    seen, real = list[str](), StoragePath.read_bytes

    def read(remote: StoragePath) -> bytes:
        if remote.name.endswith(".tfrecord"):
            seen.append(remote.name)
        return real(remote)

    monkeypatch.setattr(StoragePath, "read_bytes", read)
    return seen


def assert_same(one: Records, other: Records) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert (one.names, one.data_sets, one.sources) == (other.names, other.data_sets, other.sources)


def flip(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


def a_shard(records: StoragePath) -> StoragePath:
    return records / Manifest.read(records).shards[32][1].file


def test_a_bucket_holds_what_a_folder_holds(folder: Path, tmp_path: Path, bucket: StoragePath) -> None:
    here, there = tmp_path / "r", bucket / "faces/records"
    given = ["train", "prepare", "--data", str(folder), "--size", "32", "--size", "64", "--records"]
    assert main([*given, str(here)]) == 0
    assert main([*given, f"{there}/"]) == 0
    # A lock is for the processes of one machine, so a bucket has none.
    names = sizes_of(here).keys() - {LOCK}
    assert sizes_of(there).keys() == names
    assert len(names) == 3 * 3 + 2
    assert [name for name in names - {MANIFEST_FILE} if (here / name).read_bytes() != (there / name).read_bytes()] == []
    unlike = {"command", "seconds"}
    assert Manifest.read(there).model_dump(exclude=unlike) == Manifest.read(here).model_dump(exclude=unlike)
    assert_same(load_records(there, *Split, size=64), load_records(here, *Split, size=64))
    parts = load_parts(there, Split.TRAIN, Split.TEST, size=32)
    for split, part in zip((Split.TRAIN, Split.TEST), parts, strict=True):
        assert_same(part, load_records(here, split, size=32))


def test_second_prepare_decodes_new_images_only_and_keeps_foreign_objects(
    folder: Path, memory: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(memory / "shards/32/mine.tfrecord", b"of another program")
    first = prepare(folder, memory)
    seen = decoded(monkeypatch)
    assert prepare(folder, memory, seed=1).fingerprint() != first.fingerprint()
    assert not seen
    (folder / IMAGES / "face-70.png").write_bytes(encode(barred(500, False)))
    last = prepare(folder, memory)
    assert len(seen) == 50
    names = {shard.file for shard in last.shards[32]}
    assert {f"shards/{name}" for name in sizes_of(memory / "shards") if not name.endswith(".json")} == {
        *names,
        "shards/32/mine.tfrecord",
    }
    assert len(names & {shard.file for shard in first.shards[32]}) == 2


@pytest.mark.parametrize("end", ["00001", ".json", TABLE_FILE, MANIFEST_FILE])
def test_an_interrupted_run_leaves_nothing_half_done_and_goes_on(
    folder: Path, memory: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Stopped before it writes the first file whose name has `end` in it."""
    real = MemoryFileSystem.pipe_file

    def pipe(self: MemoryFileSystem, path: str, data: bytes) -> None:
        if end in path:
            raise KeyboardInterrupt
        real(self, path, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MemoryFileSystem, "pipe_file", pipe)
        prepare(folder, memory)
    with pytest.raises(RecordsError, match="no finished records"):
        load_records(memory, Split.TRAIN)
    seen = decoded(monkeypatch)
    again = prepare(folder, memory)
    whole = {"00001": 1, ".json": 0}.get(end, 3)
    assert len(seen) == COUNT - min(COUNT, 50 * whole)
    assert again.fingerprint() == prepare(folder, tmp_path / "r").fingerprint()
    assert_same(load_records(memory, *Split), load_records(tmp_path / "r", *Split))


def test_records_that_cannot_be_prepared_anew_stay_as_they_are(
    folder: Path, memory: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read only")

    first = prepare(folder, memory)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(StorageError, match="cannot be written: PermissionError: read only"):
        prepare(folder, memory, seed=1)
    assert Manifest.read(memory) == first
    assert len(load_records(memory, *Split)) == COUNT


def test_a_shard_is_fetched_once_and_its_copy_goes_with_it(
    folder: Path, memory: StoragePath, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(folder, memory)
    seen = fetched(monkeypatch)
    load_parts(memory, Split.TRAIN, Split.VALIDATION)
    load_records(memory, *Split)
    assert sorted(seen) == sorted(Path(shard.file).name for shard in first.shards[32])
    (folder / IMAGES / "face-70.png").write_bytes(encode(barred(500, False)))
    last = prepare(folder, memory)
    assert_same(load_records(memory, *Split), load_records(memory, *Split))
    assert seen[3:] == [Path(last.shards[32][1].file).name]
    assert folder_of(memory).is_relative_to(copies)
    assert sizes_of(folder_of(memory)) == {shard.file: shard.bytes for shard in last.shards[32]}


def test_a_copy_that_another_process_is_writing_is_left_alone(folder: Path, memory: StoragePath) -> None:
    file = prepare(folder, memory).shards[32][0].file
    half = (folder_of(memory) / file).with_suffix(".tfrecord.half")
    half.parent.mkdir(parents=True)
    half.touch()
    load_records(memory, Split.TRAIN)
    assert half.exists()


@pytest.mark.parametrize("name", ["../../mine.tfrecord", "/mine.tfrecord", "shards/32/../mine.tfrecord"])
def test_manifest_with_a_shard_outside_its_folder_is_refused(folder: Path, memory: StoragePath, name: str) -> None:
    """Without the check, a writer of the bucket could overwrite any file of a reader."""
    file = prepare(folder, memory).shards[32][0].file
    write_atomically(
        memory / MANIFEST_FILE, (memory / MANIFEST_FILE).read_bytes().replace(file.encode(), name.encode())
    )
    with pytest.raises(RecordsError, match="no finished records"):
        load_records(memory, Split.TRAIN)


def test_a_damaged_copy_is_deleted_and_fetched_anew(folder: Path, memory: StoragePath) -> None:
    prepare(folder, memory)
    expected = load_records(memory, Split.TRAIN)
    copy = folder_of(memory) / Manifest.read(memory).shards[32][1].file
    copy.write_bytes(flip(copy.read_bytes()))
    with pytest.raises(RecordsError, match="its cached copy is damaged"):
        load_records(memory, Split.TRAIN)
    assert_same(load_records(memory, Split.TRAIN), expected)
    # Half of it, as no program that writes whole files leaves it.
    copy.write_bytes(copy.read_bytes()[:100])
    assert_same(load_records(memory, Split.TRAIN), expected)


def test_damaged_changed_or_missing_shard_is_an_error(folder: Path, memory: StoragePath) -> None:
    prepare(folder, memory)
    shard = a_shard(memory)
    whole = shard.read_bytes()
    write_atomically(shard, flip(whole))
    for _ in range(2):
        with pytest.raises(RecordsError, match=f"{shard.name} or its cached copy is damaged"):
            load_records(memory, Split.TRAIN)
    write_atomically(shard, whole[:-1])
    with pytest.raises(RecordsError, match=f"has {len(whole) - 1} bytes, not {len(whole)}"):
        load_records(memory, Split.TRAIN)
    shard.unlink()
    with pytest.raises(RecordsError, match="lacks shards that its manifest names"):
        load_records(memory, Split.TRAIN)


def test_a_folder_s_shard_that_is_damaged_or_gone_is_named(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "r" / prepare(folder, tmp_path / "r").shards[32][1].file
    file.write_bytes(flip(file.read_bytes()))
    with pytest.raises(
        RecordsError,
        match=rf"{file.name} is damaged: corrupted record at \d+: delete it and run `lensgate train prepare`",
    ):
        load_records(tmp_path / "r", Split.TRAIN)
    file.unlink()
    with pytest.raises(RecordsError, match="lacks shards"):
        load_records(tmp_path / "r", Split.TRAIN)


@pytest.mark.parametrize("images", [0, 1])
def test_shard_truncated_between_images_is_an_error_and_decoded_again(
    folder: Path, tmp_path: Path, images: int
) -> None:
    """Its checksums are intact, as those of a file without an image are."""
    before = prepare(folder, tmp_path / "r")
    file = tmp_path / "r" / before.shards[32][1].file
    whole = file.read_bytes()
    # A record is its length, a checksum of that, its bytes, and a checksum of these.
    cut = images * (16 + int.from_bytes(whole[:8], "little"))
    file.write_bytes(whole[:cut])
    with pytest.raises(RecordsError, match=f"has {cut} bytes, not {len(whole)}: run `lensgate train prepare` again"):
        load_records(tmp_path / "r", Split.TRAIN)
    assert prepare(folder, tmp_path / "r").shards == before.shards
    assert file.read_bytes() == whole


def test_records_that_change_under_a_reader_are_not_mixed(folder: Path, memory: StoragePath) -> None:
    first = prepare(folder, memory)
    table = (memory / TABLE_FILE).read_bytes()
    second = prepare(folder, memory, seed=1)
    with pytest.raises(RecordsError, match="was prepared again"):
        load_parts(memory, Split.TRAIN, fingerprint=first.fingerprint())
    assert len(load_parts(memory, Split.TRAIN, fingerprint=second.fingerprint())) == 1
    # As where another machine is between the table and the manifest.
    write_atomically(memory / TABLE_FILE, table)
    with pytest.raises(RecordsError, match="wait for it to finish"):
        load_records(memory, Split.TRAIN)


def test_shards_that_go_while_they_are_written_are_not_finished(
    folder: Path, memory: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_beside_another(
        items: Sequence[shards.SourceImage], out: AnyPath, *, sizes: Sequence[int]
    ) -> list[shards.ImageBlock]:
        blocks = shards.write_blocks(items, out, sizes=sizes)
        shards.sweep(out, blocks[:2], sizes)
        return blocks

    monkeypatch.setattr(records_module, "write_blocks", write_beside_another)
    with pytest.raises(RecordsError, match="does another"):
        prepare(folder, memory)
    assert not (memory / MANIFEST_FILE).is_file()


def test_unwritable_cache_is_an_error_that_names_the_setting(
    folder: Path, memory: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(folder, memory)
    (tmp_path / "full").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "full"))
    with pytest.raises(StorageError, match="set XDG_CACHE_HOME"):
        load_records(memory, Split.TRAIN)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert folder_of(memory).is_relative_to(tmp_path / "home/.cache")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(StorageError, match="set XDG_CACHE_HOME"):
        load_records(memory, Split.TRAIN)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--records", "s3://"], "is neither a folder nor a URL"),
        (["--run", "s3://bucket/fit"], "this option takes a local path"),
    ],
)
def test_an_url_that_cannot_be_is_refused_at_once(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "fit", *options])
    assert text in capsys.readouterr().err


@pytest.mark.usefixtures("bucket")
def test_a_step_says_that_the_bucket_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fit", "--records", "s3://lost/records"]) == 1
    assert "bucket does not exist" in capsys.readouterr().err
