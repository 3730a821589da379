import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk.errors import InvalidExpected
from bulk.job import Columns
from bulk.output.table import TableWriter
from bulk.sources.sample import MAX_BYTES
from tests.bulk.helpers import DARK, GREY, LIGHT, Bulk, Row, face, read_rows, samples_of, shards, tar_bytes, tar_members

THREE = {f"{number:06d}.png": face(number) for number in (LIGHT, GREY, DARK)}


def rows_of(bulk: Bulk, folder: Path, data: bytes, *flags: str) -> list[Row]:
    """The table of one tar."""
    (folder / "x.tar").write_bytes(data)
    assert bulk(folder / "x.tar", folder / "out", *flags).status in (0, 4)
    return read_rows(folder / "out")


def test_each_tar_becomes_a_shard_and_each_sample_a_row(bulk: Bulk, tmp_path: Path) -> None:
    source = tmp_path / "shards"
    source.mkdir()
    for number in range(3):
        (source / f"faces-{number:03d}.tar").write_bytes(tar_bytes({f"{number}/a.png": face(LIGHT), "b.jpg": face(5)}))
    ran = bulk(source, tmp_path / "out")
    assert [name.rpartition("-")[0] for name in shards(tmp_path / "out")] == ["faces-000", "faces-001", "faces-002"]
    rows = read_rows(tmp_path / "out")
    assert [(row["id"], row["source"]) for row in rows[:3]] == [
        ("0/a", f"{source}/faces-000.tar"),
        ("b", f"{source}/faces-000.tar"),
        ("1/a", f"{source}/faces-001.tar"),
    ]
    assert ran.summary["accepted"] == 6
    assert set(ran.summary["sources"]) == {f"{source}/faces-{number:03d}.tar" for number in range(3)}


def test_a_missing_shard_is_a_row_until_it_appears(bulk: Bulk, tmp_path: Path) -> None:
    for number in (0, 2):
        (tmp_path / f"x-{number}.tar").write_bytes(tar_bytes(THREE))
    pattern = tmp_path / "x-{0..2}.tar"
    ran = bulk(pattern, tmp_path / "out")
    assert (ran.status, ran.summary["errors"]) == (0, 1)
    (missing,) = [row for row in read_rows(tmp_path / "out") if row["error"]]
    assert (missing["source"], missing["error"]) == (f"{tmp_path}/x-1.tar", "unreadable_file")
    (tmp_path / "x-1.tar").write_bytes(tar_bytes(THREE))
    ran = bulk(pattern, tmp_path / "out")
    assert (ran.summary["images"], ran.summary["judged"], ran.summary["errors"]) == (9, 3, 0)


def test_a_tar_has_the_same_shard_under_any_pattern(bulk: Bulk, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"x-{number}.tar").write_bytes(tar_bytes(THREE))
    bulk(tmp_path / "x-{0..1}.tar", tmp_path / "out")
    ran = bulk(tmp_path / "x-*.tar", tmp_path / "out")
    assert (ran.summary["skipped"], ran.summary["judged"]) == (6, 3)
    ran = bulk(tmp_path / "x-{0,0,1}.tar", tmp_path / "out")
    assert (ran.summary["images"], ran.summary["skipped"]) == (6, 6)
    assert len(read_rows(tmp_path / "out")) == 9


def test_the_requested_label_is_read_from_the_json_beside_the_image(bulk: Bulk, tmp_path: Path) -> None:
    asked: dict[str, object] = {"a": "glasses", "b": "no_glasses", "c": 1, "d": False, "e": None, "f": "maybe"}
    members = [
        (name, data)
        for key, value in asked.items()
        for name, data in ((f"{key}.json", json.dumps({"wants": value}).encode()), (f"{key}.png", face(LIGHT)))
    ]
    members += [("g.png", face(LIGHT)), ("g.json", b"{"), ("h.png", face(LIGHT)), ("i.png", face(1)), ("i.json", b"[]")]
    members += [("j.png", face(1)), ("j.json", b"[" * 100_000)]
    rows = rows_of(bulk, tmp_path, tar_bytes(members), "--expected-column", "wants")
    assert {row["id"]: row["expected"] for row in rows} == {
        "a": "glasses",
        "b": "no_glasses",
        "c": "glasses",
        "d": "no_glasses",
        **dict.fromkeys("efghij"),
    }
    assert {row["id"]: row["reason"] or row["error"] for row in rows} == {
        "a": "confident",
        "b": "contradicted",
        "c": "confident",
        "d": "contradicted",
        "e": "confident",
        "f": "invalid_expected",
        "g": "invalid_expected",
        "h": "invalid_expected",
        "i": "invalid_expected",
        "j": "invalid_expected",
    }


ORDER = b'{"asked": "no_glasses"}'


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"a.json": b'{"askd": "glasses"}', "a.png": face(DARK)}, {"a": "has no field 'asked', only askd"}),
        ({"a.json": b'{"\\ud800": "glasses"}', "a.png": face(DARK)}, {"a": r"has no field 'asked', only \ud800"}),
        ({"a.png": face(DARK)}, {"a": "the image has no .json with 'asked'"}),
        ({"a.png": face(DARK), "b.png": face(DARK), "a.json": ORDER}, {"a": "must be consecutive", "b": "no .json"}),
        ({"a.png": face(DARK), "a.json": b'"glasses"'}, {"a": "is not an object"}),
        ({"a.png": face(DARK), "a.json": b"{"}, {"a": "cannot be read"}),
        ({"a.png": face(DARK), "a.json": b""}, {"a": "cannot be read"}),
        ({"a.png": face(DARK), "a.json": b'{"asked": ' + b"[" * 200_000}, {"a": "cannot be read"}),
        ({"a.png": face(DARK), "a.json": b'{"x": "' + bytes(2**22) + b'"}'}, {"a": "at most 4,194,304 are read"}),
        ({"a.png": face(DARK), "a.json": b'{"asked": "glasses", "asked": "no_glasses"}'}, {"a": "'asked' twice"}),
        ({"a.png": face(DARK), "a.json": b'{"asked": {}}'}, {"a": "is not one of"}),
        ({"a.png": face(DARK), "a.json": b'{"asked": "sunglasses"}'}, {"a": "is not one of"}),
        ({"a.png": face(DARK), "a.cls": b"0"}, {"a": "no .json"}),
        ({"a.png": face(DARK), "a.json": ORDER, "A.JSON": ORDER}, {"a": None}),
        ({"a.png": face(DARK), "a.JSON": ORDER}, {"a": None}),
        ({"a.png": face(DARK), "a.json": ORDER, "a.JSON": ORDER}, {"a": "more than one .json"}),
        ({"a.0.png": face(DARK), "a.1.png": face(5), "a.json": ORDER}, {"a.0.png": None, "a.1.png": None}),
        ({"a.0.png": face(DARK), "a.0.json": ORDER, "a.1.png": face(5)}, {"a.0.png": None, "a.1.png": "no .json"}),
    ],
)
def test_a_requested_label_is_used_or_is_an_error(
    members: dict[str, bytes], expected: dict[str, str | None], bulk: Bulk, tmp_path: Path
) -> None:
    rows = rows_of(bulk, tmp_path, tar_bytes(members), "--expected-column", "asked")
    rows = [row for row in rows if row["error"] != "missing_image"]
    assert [row["id"] for row in rows] == [*expected]
    for row, text in zip(rows, expected.values(), strict=True):
        if text is None:
            assert (row["expected"], row["decision"]) == ("no_glasses", "accept")
        else:
            assert (row["error"], row["decision"]) == ("invalid_expected", None)
            assert text in row["detail"]


def test_each_image_of_a_sample_has_a_row_and_companions_have_none(bulk: Bulk, tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "a.mask.png", "b.png", "b.png", "c.1.png", "c.2.png", "d.cond.png", "d.mask.png"]
    # Hashes that begin with a digit and with a letter.
    names += ["e.3f2a.png", "e.f00d.png", "e.05.png"]
    rows = rows_of(bulk, tmp_path, tar_bytes([(name, face(LIGHT)) for name in names]))
    assert [row["id"] for row in rows] == [name for name in names if name != "a.mask.png"]


def test_the_plain_image_of_a_sample_is_judged_and_a_sample_without_one_is_an_error(bulk: Bulk, tmp_path: Path) -> None:
    members = [
        ("a.mask.png", face(DARK)),
        ("a.PNG", face(LIGHT)),
        ("a.txt", b"words"),
        ("b.cond.jpeg", face(LIGHT)),
        ("c.json", b"{}"),
        ("README", b"no sample of this kind"),
        ("._a.png", b"of another system"),
        ("Thumbs.db", b"of another system"),
        ("d/desktop.ini", b"of another system"),
    ]
    rows = rows_of(bulk, tmp_path, tar_bytes(members))
    assert [(row["id"], row["label"], row["error"]) for row in rows] == [
        ("a", "glasses", None),
        ("b", "glasses", None),
        ("c", None, "missing_image"),
        ("README", None, "missing_image"),
    ]
    assert rows[2]["detail"] == (
        "the sample has no image, only .json: the members of a sample must be consecutive in the tar"
    )


def test_an_image_that_is_missing_or_cannot_be_read_keeps_its_order_and_source(bulk: Bulk, tmp_path: Path) -> None:
    order = b'{"asked": "glasses", "made_by": "run-1"}'
    wrong = b'{"asked": "hat", "made_by": "run-1"}'
    members = [("a.json", order), ("b.json", order), ("b.png", b""), ("d.png", face(LIGHT)), ("d.json", wrong)]
    tar = tar_bytes([*members, ("e.json", wrong), ("f.json", b"{"), ("g.json", order)])
    with tarfile.open(fileobj=(buffer := io.BytesIO(tar)), mode="a") as archive:
        link = tarfile.TarInfo("g.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../g.png"
        archive.addfile(link)
    rows = rows_of(bulk, tmp_path, buffer.getvalue(), "--expected-column", "asked", "--source-column", "made_by")
    place = str(tmp_path / "x.tar")
    assert [(row["id"], row["error"], row["expected"], row["source"]) for row in rows] == [
        ("a", "missing_image", "glasses", "run-1"),
        ("b", "empty_image", "glasses", "run-1"),
        ("d", "invalid_expected", None, "run-1"),
        ("e", "missing_image", None, "run-1"),
        ("f", "missing_image", None, place),
        ("g", "missing_image", "glasses", "run-1"),
    ]


def test_a_file_with_content_is_judged_although_its_name_ends_in_a_slash(bulk: Bulk, tmp_path: Path) -> None:
    rows = rows_of(bulk, tmp_path, tar_bytes([("a.png/", face(LIGHT)), ("b/", b""), ("b/c.png", face(DARK))]))
    assert [(row["id"], row["error"]) for row in rows] == [("a.png/", None), ("b/c", None)]


def test_links_and_oversized_members_are_errors_and_the_rest_is_read(bulk: Bulk, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.LNKTYPE, "z.png"
        tar.addfile(link)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        vast = tarfile.TarInfo("b.npy")
        vast.size = MAX_BYTES + 1
        tar.addfile(vast, io.BytesIO(bytes(MAX_BYTES + 1)))
        for name in ("b.png", "c.png"):
            info = tarfile.TarInfo(name)
            info.size = len(face(LIGHT))
            tar.addfile(info, io.BytesIO(face(LIGHT)))
    rows = rows_of(bulk, tmp_path, buffer.getvalue())
    assert {row["id"]: row["error"] for row in rows} == {"a": "missing_image", "b": "file_too_large", "c": None}


HEADER = 512
SIZES = [HEADER + -(-len(data) // 512) * 512 for data in THREE.values()]


@pytest.mark.parametrize(
    ("data", "readable"),
    [
        (tar_bytes(THREE)[: sum(SIZES[:2]) + HEADER + 20], 2),
        (tar_bytes(THREE)[: sum(SIZES[:1]) + 100], 1),
        (tar_bytes(THREE)[: sum(SIZES[:2])], 2),
        (tar_bytes(THREE)[: SIZES[0]] + b"damaged!" + tar_bytes(THREE)[SIZES[0] + 8 :], 1),
        (b"", 0),
        (b"no tar at all" * 100, 0),
        (gzip.compress(tar_bytes(THREE))[:-300], 0),
        # Decompressed before the damage was met.
        (gzip.compress(tar_bytes(THREE)) + b"garbage", 3),
        (gzip.compress(tar_bytes(THREE))[:-8] + bytes(8), 3),
        (gzip.compress(tar_bytes(THREE))[:-4], 3),
        (bz2.compress(tar_bytes(THREE)) + b"BZh9 damaged", 3),
        (bz2.compress(tar_bytes(THREE))[:-4], 3),
        (tar_bytes(THREE)[: sum(SIZES[:2])] + bytes(2**20 + 512), 2),
        (tar_bytes(THREE)[: SIZES[0]] + bytes(2**21) + tar_bytes(THREE)[SIZES[0] :], 3),
    ],
    ids=[
        "within a member",
        "within a header",
        "between members",
        "damaged header",
        "empty",
        "no tar",
        "cut gzip",
        "gzip and more",
        "wrong checksum of gzip",
        "gzip cut in its checksum",
        "bzip2 and a damaged stream",
        "cut bzip2",
        "zeros in place of the rest",
        "a hole between members",
    ],
)
def test_readable_members_of_a_damaged_tar_count_and_the_rest_is_a_row(
    data: bytes, readable: int, bulk: Bulk, tmp_path: Path
) -> None:
    rows = rows_of(bulk, tmp_path, data)
    assert [row["error"] for row in rows] == [None] * readable + ["corrupt_shard"]
    assert rows[-1]["source"] == f"{tmp_path}/x.tar"
    # The damage is permanent, so the next run skips the tar.
    assert bulk(tmp_path / "x.tar", tmp_path / "out").summary["skipped"] == readable + 1


def test_an_archive_that_takes_too_much_memory_is_told_how_to_be_compressed(bulk: Bulk, tmp_path: Path) -> None:
    """As `xz --lzma2=dict=256MiB` and `zstd --long=31` write it."""
    wide = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}]
    zstd = bytes.fromhex("28b52ffd00a8010000")  # A frame of no bytes with a window of 2 GiB.
    for data in (lzma.compress(tar_bytes(THREE), filters=wide), zstd):
        (row,) = rows_of(bulk, tmp_path, data)
        assert row["error"] == "corrupt_shard"
        assert "compress it with a window of at most 64 MiB" in row["detail"]


def test_an_empty_extended_field_leaves_that_of_the_header(bulk: Bulk, tmp_path: Path) -> None:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.png")
        info.size, info.pax_headers = len(face(LIGHT)), {"path": "", "size": "", "GNU.sparse.name": ""}
        tar.addfile(info, io.BytesIO(face(LIGHT)))
    rows = rows_of(bulk, tmp_path, buffer.getvalue())
    assert [(row["id"], row["decision"]) for row in rows] == [("a", "accept")]


@pytest.mark.parametrize("most", range(3, 8))
@pytest.mark.parametrize("endings", [("json", "png", "txt"), ("jpg", "json"), ("png", "txt", "json")])
def test_an_image_of_a_long_sample_gets_its_own_order(endings: tuple[str, ...], most: int, tmp_path: Path) -> None:
    # Names with a version number are one sample: WebDataset's key ends at the first dot.
    orders = ["glasses", "no_glasses"] * 4
    members = [("v1.json", b'{"asked": "glasses"}')]
    for number, order in enumerate(orders):
        bodies = {"json": json.dumps({"asked": order}).encode(), "txt": b"words"}
        members += [(f"v1.5-{number}.{ending}", bodies.get(ending, face(LIGHT))) for ending in endings]
    samples = samples_of(tmp_path, tar_bytes(members), Columns(expected="asked"), max_members=most)
    assert [sample.expected for sample in samples] == orders


def test_the_order_of_a_long_sample_replaces_no_order_of_an_image(
    tmp_path: Path,
) -> None:
    columns = Columns(expected="asked")
    own = [(f"v1.5-{number}.json", b'{"asked": "no_glasses"}') for number in range(4)]
    images = [(f"v1.5-{number}.png", face(LIGHT)) for number in range(4)]
    members = [("v1.json", b'{"asked": "glasses"}'), own[0], images[0], *own[1:], *images[1:]]
    first, *others = samples_of(tmp_path, tar_bytes(members), columns, max_members=4)
    assert (first.expected, len(first.fetch())) == ("no_glasses", len(face(LIGHT)))
    assert len(others) == 3
    for sample in others:
        with pytest.raises(InvalidExpected):
            sample.fetch()
    shared = [("v1.json", b'{"asked": "glasses"}'), *images]
    samples = samples_of(tmp_path, tar_bytes(shared), columns, max_members=4)
    assert [sample.expected for sample in samples] == ["glasses"] * 4


def test_compressed_tars_are_read_too(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(gzip.compress(tar_bytes(THREE)))
    assert bulk(tmp_path / "*.tgz", tmp_path / "out").summary["images"] == 3


@pytest.mark.parametrize("name", ["x.tar.zst", "x.tar"])
def test_a_tar_compressed_by_several_threads_is_read(name: str, bulk: Bulk, tmp_path: Path) -> None:
    # pzstd writes a skippable frame with the size of the next one before each.
    parts = [tar_bytes(THREE)[:1_000], tar_bytes(THREE)[1_000:]]
    frames = [pa.compress(part, "zstd", asbytes=True) for part in parts]
    data = b"".join(b"\x50\x2a\x4d\x18" + struct.pack("<II", 4, len(frame)) + frame for frame in frames)
    (tmp_path / name).write_bytes(data)
    assert bulk(tmp_path / name, tmp_path / "out").status == 0
    assert [row["error"] for row in read_rows(tmp_path / "out")] == [None] * 3


def test_accepted_samples_are_kept_whole(bulk: Bulk, tmp_path: Path) -> None:
    members = {
        "a/1.json": b'{"seed": 7}',
        "a/1.png": face(LIGHT),
        "a/1.latent.npy": b"\x00\x01",
        "a/2.png": face(GREY),
        "a/2.json": b"{}",
        "a/3.jpg": face(DARK),
    }
    rows_of(bulk, tmp_path, tar_bytes(members), "--keep", str(tmp_path / "keep"))
    (name,) = shards(tmp_path / "keep")
    kept = tar_members(shards(tmp_path / "keep")[name])
    assert kept == {name: data for name, data in members.items() if name not in ("a/2.png", "a/2.json")}
    assert next(iter(kept)) == "a/1.png"


def test_a_tar_of_many_is_written_in_groups_and_reads_as_one(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tar_bytes({f"{number:03d}.png": face(number) for number in range(100)})
    whole = rows_of(bulk, tmp_path, data)
    written, write = list[int](), pq.ParquetWriter.write_table

    def counted(writer: pq.ParquetWriter, table: pa.Table, **options: int) -> None:
        written.append(table.num_rows)
        write(writer, table, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", counted)
    monkeypatch.setattr("bulk.work.worker.TableWriter", partial(TableWriter, group_rows=32))
    assert bulk(tmp_path / "x.tar", tmp_path / "pieces").status == 0
    assert read_rows(tmp_path / "pieces") == whole
    assert written == [32, 32, 32, 4]
    (path,) = (tmp_path / "pieces").glob("*.parquet")
    assert pq.read_metadata(path).num_row_groups == 4
