import io
import json
import os
import threading
from decimal import Decimal
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk.sources.sample import MAX_BYTES
from common.storage import LocalFiles
from tests.bulk.helpers import DARK, GREY, LIGHT, Bulk, face, parquet_bytes, read_rows, shards, tar_members, write_faces

IMAGES = [face(number) for number in (LIGHT, GREY, DARK)]


def test_each_row_group_becomes_a_shard_and_each_row_a_row(bulk: Bulk, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for name in ("train-0", "train-1"):
        (source / f"{name}.parquet").write_bytes(parquet_bytes({"image": IMAGES, "seed": [1, 2, 3]}, rows=2))
    (source / "_metadata.parquet").write_bytes(b"")
    ran = bulk(source, tmp_path / "out")
    assert [name.rpartition("-")[0] for name in shards(tmp_path / "out")] == [
        "train-0-0000",
        "train-0-0001",
        "train-1-0000",
        "train-1-0001",
    ]
    rows = read_rows(tmp_path / "out")
    assert [row["id"] for row in rows] == ["0", "1", "2"] * 2
    assert {row["source"] for row in rows} == {f"{source}/train-0.parquet", f"{source}/train-1.parquet"}
    assert (ran.summary["accepted"], ran.summary["discarded"]) == (4, 2)


def test_columns_give_the_id_and_the_requested_label(bulk: Bulk, tmp_path: Path) -> None:
    data = {
        "id": [7, None, 9],
        "wants": [1.0, 0.0, float("nan")],
        "picture": IMAGES,
        "latent": [b"1", b"2", b"3"],
    }
    (tmp_path / "x.parquet").write_bytes(parquet_bytes(data | {"seed": ["a", "b", "b"]}))
    flags = ["--image-column", "picture", "--expected-column", "wants"]
    assert bulk(tmp_path / "x.parquet", tmp_path / "out", *flags).status == 0
    rows = read_rows(tmp_path / "out")
    assert [(row["id"], row["expected"]) for row in rows] == [("7", "glasses"), ("1", "no_glasses"), ("9", None)]
    assert bulk(tmp_path / "x.parquet", tmp_path / "out", *flags, "--id-column", "seed").summary["judged"] == 3
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["a", "b", "b"]


def test_the_usual_columns_are_found_in_capitals(bulk: Bulk, tmp_path: Path) -> None:
    """Snowflake writes all names so. A name in the usual case comes first."""
    for name, data in (
        ("capitals", {"ID": ["a", "b"], "IMAGE": IMAGES[:2], "THUMBNAIL": [b"1", b"2"]}),
        ("both", {"ID": ["x", "y"], "id": ["a", "b"], "Image": [b"1", b"2"], "image": IMAGES[:2]}),
    ):
        (tmp_path / f"{name}.parquet").write_bytes(parquet_bytes(data))
        assert bulk(tmp_path / f"{name}.parquet", tmp_path / name).summary["errors"] == 0
        assert [row["id"] for row in read_rows(tmp_path / name)] == ["a", "b"]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())], ids=str
)
def test_images_are_read_from_any_column_of_bytes(kind: pa.DataType, bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(parquet_bytes({"any": pa.array(IMAGES, kind)}))
    assert bulk(tmp_path / "x.parquet", tmp_path / "out").summary["accepted"] == 2


def test_hugging_face_data_sets_are_read_and_external_files_are_errors(bulk: Bulk, tmp_path: Path) -> None:
    images = [
        {"bytes": face(LIGHT), "path": "a.png"},
        {"bytes": None, "path": "https://images.example/b.png"},
        None,
        {"bytes": b"", "path": None},
        {"bytes": bytes(MAX_BYTES + 1), "path": None},
    ]
    (tmp_path / "x.parquet").write_bytes(parquet_bytes({"image": images, "label": [0, 1, 0, 1, 0]}))
    assert bulk(tmp_path / "x.parquet", tmp_path / "out").status == 0
    errors = [row["error"] for row in read_rows(tmp_path / "out")]
    assert errors == [None, "missing_image", "missing_image", "empty_image", "file_too_large"]


@pytest.mark.parametrize(
    ("name", "images", "flags"),
    [
        ("image", [None, None], []),
        ("image", [{"bytes": None, "path": "a.png"}, None], []),
        ("picture", [None, None], []),
        ("picture", [None, None], ["--image-column", "picture"]),
    ],
)
def test_each_row_of_a_file_without_an_image_is_an_error_with_its_order(
    name: str, images: list[object], flags: list[str], *, bulk: Bulk, tmp_path: Path
) -> None:
    """A column without a value has no type in its file."""
    (tmp_path / "data").mkdir()
    orders = {"id": ["a", "b"], "asked": ["glasses", "no_glasses"], "made_by": ["run-1", "run-2"]}
    (tmp_path / "data" / "a.parquet").write_bytes(parquet_bytes({name: images, **orders}))
    (tmp_path / "data" / "b.parquet").write_bytes(parquet_bytes({name: IMAGES[:2], **orders}))
    bulk(tmp_path / "data", tmp_path / "out", "--expected-column", "asked", "--source-column", "made_by", *flags)
    rows = read_rows(tmp_path / "out")
    assert [row["error"] for row in rows] == ["missing_image", "missing_image", None, None]
    assert [(row["id"], row["expected"], row["source"]) for row in rows] == 2 * [
        ("a", "glasses", "run-1"),
        ("b", "no_glasses", "run-2"),
    ]


@pytest.mark.parametrize(
    ("columns", "flags", "text"),
    [
        ({"a": IMAGES, "b": IMAGES}, [], "select the column of images with --image-column: a, b"),
        ({"a": [1], "b": [[b"x"]]}, [], "in each row, as bytes or {bytes, path}: a (int64), b (list<element: binary>)"),
        ({"a": [None], "b": [None]}, [], "in each row, as bytes or {bytes, path}: a (null), b (null)"),
        ({"a": IMAGES}, ["--image-column", "b"], "the column 'b' holds no bytes; columns with bytes: a"),
        ({"a": IMAGES}, ["--id-column", "name"], "no column 'name', only a"),
        ({"a": IMAGES}, ["--expected-column", "wants"], "no column 'wants', only a"),
    ],
)
def test_missing_columns_are_named_before_the_run_starts(
    columns: dict[str, list[object]], flags: list[str], text: str, bulk: Bulk, tmp_path: Path
) -> None:
    (tmp_path / "x.parquet").write_bytes(parquet_bytes(columns))
    ran = bulk(tmp_path / "x.parquet", tmp_path / "out", *flags)
    assert ran.status == 1
    assert text in ran.err
    assert not (tmp_path / "out").exists()


def test_a_column_that_folders_have_is_named_with_its_cure(bulk: Bulk, tmp_path: Path) -> None:
    (folder := tmp_path / "asked=glasses").mkdir()
    (folder / "x.parquet").write_bytes(parquet_bytes({"image": IMAGES}))
    ran = bulk(tmp_path, tmp_path.parent / "out", "--expected-column", "asked")
    assert (ran.status, "judge each of them alone, with --expected" in ran.err) == (1, True)
    assert bulk(folder, tmp_path / "out", "--expected", "glasses").status == 0


def test_two_columns_of_one_name_are_refused(bulk: Bulk, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(IMAGES), pa.array(IMAGES)], names=["image", "image"])
    pq.write_table(table, tmp_path / "x.parquet")
    ran = bulk(tmp_path / "x.parquet", tmp_path / "out")
    assert (ran.status, "has more than one column 'image': rename them" in ran.err) == (1, True)


def test_a_damaged_or_different_file_is_one_row_and_the_run_continues(bulk: Bulk, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "a.parquet").write_bytes(parquet_bytes({"image": IMAGES}))
    (source / "b.parquet").write_bytes(b"no table")
    (source / "c.parquet").write_bytes(parquet_bytes({"picture": IMAGES, "image": [1, 2, 3]}))
    (source / "d.parquet").write_bytes(parquet_bytes({"image": IMAGES})[:-9])
    ran = bulk(source, tmp_path / "out", "--image-column", "image")
    assert (ran.status, ran.summary["accepted"], ran.summary["errors"]) == (0, 2, 3)
    assert {row["error"] for row in read_rows(tmp_path / "out")[3:]} == {"corrupt_shard"}


def test_rows_before_the_damage_in_a_row_group_count(bulk: Bulk, tmp_path: Path) -> None:
    images = [face(number, size=200) for number in range(200)]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": images}), path, use_dictionary=False, compression="NONE", data_page_size=4096)
    data = bytearray(path.read_bytes())
    start = data.index(images[150]) - 200
    data[start : start + 4_000] = b"\xff" * 4_000
    path.write_bytes(data)
    assert bulk(path, tmp_path / "out").status == 0
    rows = read_rows(tmp_path / "out")
    assert 100 < len(rows) < 200
    assert rows[-1]["error"] in ("corrupt_shard", "unreadable_file")


def test_damage_at_which_arrow_ends_without_an_error_is_a_row(bulk: Bulk, tmp_path: Path) -> None:
    data = bytearray(parquet_bytes({"image": IMAGES}))
    data[5] ^= 2  # The type of the first page.
    (tmp_path / "x.parquet").write_bytes(data)
    assert bulk(tmp_path / "x.parquet", tmp_path / "out").status == 4
    (row,) = read_rows(tmp_path / "out")
    assert row["error"] == "corrupt_shard"
    assert row["detail"].endswith("it has 3 rows, of which 0 can be read")


def test_rows_that_no_row_group_has_are_a_row(bulk: Bulk, tmp_path: Path) -> None:
    # The number of rows, before the offset of the row group, in the file's metadata.
    data = parquet_bytes({"image": IMAGES}).replace(b"\x16\x06&\x08", b"\x16\x04&\x08")
    (tmp_path / "x.parquet").write_bytes(data)
    assert bulk(tmp_path / "x.parquet", tmp_path / "out").status == 0
    rows = read_rows(tmp_path / "out")
    assert [row["error"] for row in rows] == [None, None, "corrupt_shard"]
    assert rows[2]["detail"].endswith("the file has 3 rows, and its row groups 2")


def test_accepted_images_are_named_by_any_ids(bulk: Bulk, tmp_path: Path) -> None:
    jpeg, webp = face(LIGHT, kind="JPEG"), face(DARK, kind="WEBP")
    names = ["../up.1", "twice", "twice"]
    (tmp_path / "x.parquet").write_bytes(parquet_bytes({"image": [face(LIGHT), jpeg, webp], "id": names}))
    bulk(tmp_path / "x.parquet", tmp_path / "out", "--keep", tmp_path / "keep")
    (tar,) = shards(tmp_path / "keep").values()
    assert tar_members(tar) == {"%2E%2E%2Fup%2E1.png": face(LIGHT), "twice.jpg": jpeg, "twice~2.webp": webp}


def test_a_file_rewritten_with_fewer_row_groups_leaves_no_stale_row(bulk: Bulk, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet_bytes({"image": IMAGES}, rows=1))
    bulk(path, tmp_path / "out")
    path.write_bytes(parquet_bytes({"image": IMAGES[:2]}, rows=1))
    ran = bulk(path, tmp_path / "out")
    assert (ran.summary["images"], ran.summary["removed_shards"], ran.summary["reused"]) == (2, 1, 2)
    assert len(read_rows(tmp_path / "out")) == 2


def test_a_file_that_cannot_be_listed_for_a_moment_keeps_all_its_rows(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet_bytes({"image": IMAGES}, rows=1))
    bulk(path, tmp_path / "out")
    os.utime(path, ns=(0, 0))
    open_file = LocalFiles.open

    def open_later(store: LocalFiles, path: str, *, ahead: bool = False) -> IO[bytes]:
        # These two threads list the row groups, and others read them.
        if path.endswith("x.parquet") and threading.current_thread().name in ("MainThread", "survey"):
            raise OSError("a fault that passes")
        return open_file(store, path, ahead=ahead)

    with monkeypatch.context() as patched:
        patched.setattr(LocalFiles, "open", open_later)
        ran = bulk(path, tmp_path / "out")
    assert (ran.status, ran.summary["images"]) == (0, 3)
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["0", "1", "2"]
    # The next run finds the row groups, each of which has a shard again.
    assert bulk(path, tmp_path / "out").summary["judged"] == 3
    assert len(shards(tmp_path / "out")) == 3


def test_a_file_without_row_groups_is_an_empty_table(bulk: Bulk, tmp_path: Path) -> None:
    pq.ParquetWriter(tmp_path / "x.parquet", pa.schema([("image", pa.binary())])).close()
    for _ in range(2):
        ran = bulk(tmp_path / "x.parquet", tmp_path / "out")
        assert (ran.status, ran.summary["images"]) == (0, 0)
    assert read_rows(tmp_path / "out") == []
    ran = bulk(tmp_path / "x.parquet", tmp_path / "asked", "--expected-column", "label")
    assert (ran.status, "has no column 'label', only image" in ran.err) == (1, True)
    # Where it is not the first file, the error is a row.
    (tmp_path / "a.parquet").write_bytes(parquet_bytes({"image": IMAGES[:1], "label": ["glasses"]}))
    bulk(tmp_path / "*.parquet", tmp_path / "both", "--expected-column", "label")
    assert [row["error"] for row in read_rows(tmp_path / "both")] == [None, "corrupt_shard"]


def class_labels(names: list[str] | None, values: list[object], kind: pa.DataType, *, feature: str = "") -> bytes:
    """A Parquet file as Hugging Face's datasets write it, with an image and a label column."""
    table = pa.table({"image": [face(number) for number in range(1, len(values) + 1)], "label": pa.array(values, kind)})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = feature or json.dumps({"info": {"features": features}})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), buffer)
    return buffer.getvalue()


def expected(bulk: Bulk, folder: Path, data: bytes) -> list[str | None]:
    (folder / "x.parquet").write_bytes(data)
    assert bulk(folder / "x.parquet", folder / "out", "--expected-column", "label").status in (0, 4)
    return [row["error"] or row["expected"] for row in read_rows(folder / "out")]


@pytest.mark.parametrize(
    ("names", "values", "found"),
    [
        (["glasses", "no_glasses"], [0, 1, None, -1, 2], ["glasses", "no_glasses", None, None, "invalid_expected"]),
        (["no_glasses", "glasses"], [0, 1], ["no_glasses", "glasses"]),
        ([" No Glasses", "GLASSES"], [0, 1], ["no_glasses", "glasses"]),
        (["1", "0"], [0, 1], ["glasses", "no_glasses"]),
        (["glasses", "sunglasses"], [0, 1], ["glasses", "invalid_expected"]),
        (None, [0, 1], ["no_glasses", "glasses"]),
    ],
)
def test_class_labels_are_read_by_name_in_any_order(
    names: list[str] | None, values: list[object], found: list[str | None], bulk: Bulk, tmp_path: Path
) -> None:
    assert expected(bulk, tmp_path, class_labels(names, values, pa.int64())) == found


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (class_labels(["cat", "dog"], [0, 1], pa.int64()), "the classes of the column 'label' in"),
        (class_labels([], [0, 1], pa.int64()), "are none; they must be glasses and no_glasses"),
        (class_labels(None, [0], pa.int64(), feature="{"), "the meaning of the numbers in 'label' is unknown"),
        (class_labels(None, [0], pa.int64(), feature="[]"), "the meaning of the numbers in 'label' is unknown"),
    ],
)
def test_classes_other_than_the_labels_are_refused(data: bytes, text: str, bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    ran = bulk(tmp_path / "x.parquet", tmp_path / "out", "--expected-column", "label")
    assert ran.status == 1
    assert text in ran.err


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([True, False, None], pa.bool_(), ["glasses", "no_glasses", None]),
        ([1.0, 0.0, 0.5], pa.float32(), ["glasses", "no_glasses", "invalid_expected"]),
        ([Decimal("1.00"), Decimal("0.50")], pa.decimal128(5, 2), ["glasses", "invalid_expected"]),
        ([" GLASSES", "no_glasses ", "", "no glasses"], pa.large_string(), ["glasses", "no_glasses", "E", "E"]),
        (["1", "0", "true", "yes"], pa.string(), ["glasses", "no_glasses", "glasses", "E"]),
        (["glasses", "no_glasses"], pa.dictionary(pa.int32(), pa.string()), ["glasses", "no_glasses"]),
        ([b"glasses", b"\xff", None], pa.binary(), ["glasses", "E", None]),
        ([2, -1, 1], pa.int8(), ["E", "E", "glasses"]),
        ([["glasses"], []], pa.list_(pa.string()), ["E", "E"]),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)
def test_a_requested_label_of_any_column_type_is_used_or_an_error(
    values: list[object], kind: pa.DataType, found: list[str | None], bulk: Bulk, tmp_path: Path
) -> None:
    columns = {"image": [face(number) for number in range(len(values))], "label": pa.array(values, kind)}
    data = parquet_bytes(columns)
    (tmp_path / "x.parquet").write_bytes(data)
    flags = ["--expected-column", "label", "--image-column", "image"]
    assert bulk(tmp_path / "x.parquet", tmp_path / "out", *flags).status in (0, 4)
    rows = [row["error"] or row["expected"] for row in read_rows(tmp_path / "out")]
    assert rows == ["invalid_expected" if each == "E" else each for each in found]


def test_text_that_its_writer_declared_as_bytes_is_read_as_text(bulk: Bulk, tmp_path: Path) -> None:
    columns = {"image": IMAGES, "id": pa.array([b"a", b"\xff", None]), "run": pa.array([b"g", None, b"\xfe"])}
    (tmp_path / "x.parquet").write_bytes(parquet_bytes(columns))
    flags = ["--image-column", "image", "--source-column", "run"]
    assert bulk(tmp_path / "x.parquet", tmp_path / "out", *flags).status == 0
    file = f"{tmp_path}/x.parquet"
    assert [(row["id"], row["source"]) for row in read_rows(tmp_path / "out")] == [
        ("a", "g"),
        ("ff", file),
        ("2", "fe"),
    ]


def test_an_id_that_pandas_wrote_as_missing_is_the_row_s_number(bulk: Bulk, tmp_path: Path) -> None:
    columns = {"image": IMAGES, "id": pa.array([7.0, float("nan"), 9.0])}
    (tmp_path / "x.parquet").write_bytes(parquet_bytes(columns))
    bulk(tmp_path / "x.parquet", tmp_path / "out")
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["7.0", "1", "9.0"]


def test_a_row_with_an_unreadable_id_is_one_error_and_the_rest_is_read(bulk: Bulk, tmp_path: Path) -> None:
    ends = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 3, [None, ends, pa.py_buffer(b"a\xffc")])
    (tmp_path / "x.parquet").write_bytes(parquet_bytes({"image": IMAGES, "id": broken}))
    bulk(tmp_path / "x.parquet", tmp_path / "out")
    assert [(row["id"], row["error"]) for row in read_rows(tmp_path / "out")] == [
        ("a", None),
        ("1", "corrupt_shard"),
        ("c", None),
    ]


def test_a_parquet_file_whose_name_is_not_unicode_is_read(bulk: Bulk, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / os.fsdecode(b"caf\xe9.parquet")).write_bytes(parquet_bytes({"image": IMAGES}))
    assert bulk(source, tmp_path / "out").summary["accepted"] == 2


def test_a_column_flag_for_a_folder_is_refused(bulk: Bulk, tmp_path: Path) -> None:
    ran = bulk(write_faces(tmp_path / "faces", [LIGHT]), tmp_path / "out", "--expected-column", "label")
    assert ran.status == 2
    assert "--expected-column needs a Parquet or WebDataset source" in ran.err
