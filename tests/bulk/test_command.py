import errno
import io
import json
import sys
from pathlib import Path

import pytest

from lensgate.cli import main
from tests.bulk.helpers import DARK, GREY, LIGHT, Bulk, parquet_bytes, read_rows, tar_bytes, write_faces
from tests.support.commands import lensgate_without


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Four images, of which one is discarded and one cannot be read."""
    folder = write_faces(tmp_path / "faces", [LIGHT, GREY, DARK])
    (folder / "text.png").write_bytes(b"text")
    return folder


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bulk", "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert "--max-reject-ratio 0..1" in printed
    assert "(32)" in printed


def test_a_high_reject_ratio_is_status_3_and_errors_count_as_rejected(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    assert bulk(faces, tmp_path / "out", "--max-reject-ratio", "0.5").status == 0
    ran = bulk(faces, tmp_path / "out", "--max-reject-ratio", "0.49")
    # The ratio covers all of SRC, including images of earlier runs.
    assert (ran.status, ran.summary["judged"]) == (3, 0)
    assert "reject ratio 0.5000 (2 of 4 images) is above --max-reject-ratio 0.49" in ran.err
    assert ran.summary["reject_ratio"] == 0.5


def test_the_summary_for_people_is_a_table_by_source(
    bulk: Bulk, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_faces(faces / "more", [LIGHT])
    assert main(["bulk", str(faces), str(tmp_path / "out"), "--models", str(bulk.models)]) == 0
    head, first, more, total, failures, last, table = capsys.readouterr().out.splitlines()
    assert head.split() == ["source", "images", "accepted", "discarded", "errors", "rejected"]
    assert first.split() == [str(faces), "4", "2", "1", "1", "0.5000"]
    assert more.split() == [f"{faces}/more", "1", "1", "0", "0", "0.0000"]
    assert total.split() == ["all", "5", "3", "1", "1", "0.4000"]
    assert failures.startswith("1 unsupported_image, such as text.png: ")
    assert table == f"table: {tmp_path / 'out'}"
    assert last.startswith("5 judged in ")
    assert last.endswith("images/s; 0 skipped, 0 scores reused")


def test_failures_are_counted_by_code_with_the_first_of_each_also_when_an_earlier_run_met_them(
    bulk: Bulk, tmp_path: Path
) -> None:
    for folder, names in (("a", ["1", "2"]), ("b", ["3"])):
        write_faces(tmp_path / "in" / folder, [LIGHT])
        for name in names:
            (tmp_path / "in" / folder / f"{name}.png").write_bytes(b"text")
    (tmp_path / "in/b/0.png").write_bytes(b"")
    bulk(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/b/4.png").write_bytes(b"text")
    many, empty = bulk(tmp_path / "in", tmp_path / "out").summary["failures"]
    assert (many["code"], many["images"], many["example"]) == ("unsupported_image", 4, "a/1.png")
    assert (empty["code"], empty["images"], empty["example"]) == ("empty_image", 1, "b/0.png")
    assert "PNG" in many["detail"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--max-reject-ratio", "2"], "--max-reject-ratio: must be at most 1, not '2'"),
        (["--expected", "maybe"], "--expected: must be 'glasses' or 'no_glasses', not 'maybe'"),
        (["--expected", "glasses", "--expected-column", "x"], "--expected and --expected-column exclude each other"),
        (["--ray-actors", "2"], "need --engine ray"),
        (["--storage-options", "{"], "--storage-options: not valid JSON"),
        (["--band-low", "0.9", "--band-high", "0.1"], "--band-low and --band-high over the model's card"),
        (["--expected-column", "x"], "--expected-column needs a Parquet or WebDataset source"),
        (["--image-column", "x"], "need a Parquet source, but"),
        (["--keep", "{tmp}/out/keep"], "lies inside DST"),
        (["--keep", "{tmp}/out"], "lies inside DST"),
        (["--device", "tpu"], "--device: must be"),
        (["--expected-column", ""], "--expected-column: the value is empty"),
        (["--source-column", ""], "--source-column: the value is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_arguments_are_status_2_and_named(
    flags: list[str], text: str, bulk: Bulk, faces: Path, tmp_path: Path
) -> None:
    ran = bulk(faces, tmp_path / "out", *(flag.replace("{tmp}", str(tmp_path)) for flag in flags))
    assert (ran.status, ran.out) == (2, "")
    assert text in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("src", "flags", "text"),
    [
        ("nowhere", [], "/nowhere does not exist\n"),
        ("nowhere*", [], "is not a file, and holds no file with one of the suffixes .png"),
        ("faces", ["--version", "9"], "there is no model 'glasses' version '9'"),
        ("faces", ["--device", "cuda"], "LENSGATE_DEVICE=cuda"),
        ("mixed", [], "holds images and webdataset: select one with --format"),
    ],
)
def test_a_failure_is_named_and_has_status_1(src: str, flags: list[str], text: str, bulk: Bulk, faces: Path) -> None:
    mixed = write_faces(faces.parent / "mixed", [1])
    (mixed / "x.tar").write_bytes(tar_bytes({}))
    ran = bulk(faces.parent / src, faces.parent / "out", *flags)
    assert (ran.status, ran.out) == (1, "")
    assert text in ran.err


@pytest.mark.parametrize("name", ["/dev/null", "link", "file"])
def test_an_output_that_is_no_folder_is_named(name: str, bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    ran = bulk(faces, tmp_path / name)
    assert (ran.status, ran.err.endswith(": name a folder\n")) == (1, True)


@pytest.mark.parametrize("place", ["SRC", "DST"])
def test_a_url_that_lost_a_slash_is_no_folder(
    place: str, bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = bulk("s3:/bucket/x", "out") if place == "SRC" else bulk(faces, "s3:/bucket/x")
    assert (ran.status, "write s3://bucket/x, or ./s3:/bucket/x" in ran.err) == (2, True)
    assert not (tmp_path / "s3:").exists()
    assert "write hdfs:///x, or ./hdfs:/x" in bulk("hdfs:/x", "out").err
    bulk(faces, "./s3:/bucket/x")
    assert len(read_rows(tmp_path / "s3:" / "bucket" / "x")) == 4


def test_files_in_a_zip_are_refused(bulk: Bulk, tmp_path: Path) -> None:
    ran = bulk(f"zip://*.png::{tmp_path}/x.zip", tmp_path / "out")
    assert (ran.status, "files inside archives are not read: unpack it" in ran.err) == (2, True)


def test_a_damaged_tar_is_named_in_the_summary(bulk: Bulk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar")
    assert main(["bulk", str(tmp_path / "*.tar"), str(tmp_path / "out"), "--models", str(bulk.models)]) == 4
    assert f"1 corrupt_shard, such as {tmp_path}/x.tar: the tar cannot be read" in capsys.readouterr().out


class _Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_on_a_full_disk_loses_messages_only(
    stream: str, bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"sys.{stream}", _Full())
    arguments = ["bulk", str(faces), str(tmp_path / "out"), "--models", str(bulk.models), "--max-reject-ratio", "0.1"]
    # A summary that cannot be written is an error, and a message is not.
    assert main(arguments) == (1 if stream == "stdout" else 3)
    assert len(read_rows(tmp_path / "out")) == 4


@pytest.mark.parametrize("place", ["SRC", "DST", "--keep"])
def test_unknown_user_in_a_home_path_is_an_error(place: str, bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    given = {"SRC": faces, "DST": tmp_path / "out", "--keep": tmp_path / "keep"} | {place: "~nobody-has-this-name/x"}
    ran = bulk(given["SRC"], given["DST"], "--keep", given["--keep"])
    assert (ran.status, ran.out) == (2, "")
    assert "'~nobody-has-this-name/x' has no home folder" in ran.err


def test_a_current_folder_that_was_removed_is_named(
    bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ran = bulk(faces, "out")
    assert (ran.status, ran.err) == (2, "lensgate: out: the current folder was removed: change to another one\n")
    assert bulk(faces, tmp_path / "out").status == 0


def test_only_packages_of_the_extra_are_said_to_be_in_it(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ran = bulk("hf://datasets/a/b", tmp_path / "out")
    assert (ran.status, ran.err) == (
        2,
        "lensgate: hf://datasets/a/b: Install huggingface_hub to access HfFileSystem\n",
    )


def test_a_url_of_an_unknown_protocol_is_refused(bulk: Bulk, tmp_path: Path) -> None:
    ran = bulk("nowhere://x", tmp_path / "out")
    assert ran.status == 2
    assert "nowhere://x: Protocol not known: nowhere: correct it, or install the package that adds it" in ran.err


def test_format_selects_files_among_several_kinds(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    (faces / "x.tar").write_bytes(tar_bytes({"a.png": b""}))
    assert bulk(faces, tmp_path / "out", "--format", "images").summary["images"] == 4
    # Shards of another kind stay.
    assert bulk(faces, tmp_path / "out", "--format", "webdataset").summary["removed_shards"] == 0
    assert len(read_rows(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    ("name", "data", "flag"),
    [("x.tar", tar_bytes({}), "--keep"), ("x.parquet", parquet_bytes({"image": [b""]}), "")],
    ids=["tars", "tables"],
)
def test_output_folders_inside_the_source_are_refused(
    name: str, data: bytes, flag: str, bulk: Bulk, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / name).write_bytes(data)
    out, flags = (tmp_path / "out", [flag, str(source / "keep")]) if flag else (source / "out", [])
    ran = bulk(source, out, *flags)
    assert ran.status == 2
    assert "the next run would read it as input" in ran.err
    # A pattern that looks no deeper does not find it.
    assert bulk(source / f"*{Path(name).suffix}", out, *flags).status in (0, 4)


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("real/**", "real/out"),
        ("real/**/*", "real/a/b"),
        ("re*/*/**", "real/a/b"),
        ("link", "real/out"),
        ("real", "link/out"),
        ("link/**", "real/out"),
        ("{link,none}/**/*.parquet", "real/a"),
    ],
)
def test_output_folders_that_a_pattern_or_a_link_reaches_are_refused(
    src: str, dst: str, bulk: Bulk, tmp_path: Path
) -> None:
    for folder in (tmp_path / "real", tmp_path / "real" / "a"):
        folder.mkdir()
        (folder / "x.parquet").write_bytes(parquet_bytes({"image": [b""]}))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    ran = bulk(tmp_path / src, tmp_path / dst)
    assert (ran.status, "the next run would read it as input" in ran.err) == (2, True)
    # Neither walks a hidden folder.
    assert bulk(tmp_path / src, tmp_path / "real" / ".out").status == 4


def test_a_link_to_a_folder_inside_the_table_does_not_hide_it(bulk: Bulk, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "kept").symlink_to(tmp_path / "out")
    ran = bulk(faces, tmp_path / "out", "--keep", tmp_path / "kept")
    assert (ran.status, "lies inside DST" in ran.err) == (2, True)


def test_the_environment_counts_as_it_does_for_the_service(
    bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LENSGATE_MODELS", str(bulk.models))
    monkeypatch.setenv("LENSGATE_BAND_HIGH", "0.99")
    assert main(["bulk", str(faces), str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["discarded"] == 2
    monkeypatch.setenv("LENSGATE_BAND_LOW", "low")
    assert main(["bulk", str(faces), str(tmp_path / "out")]) == 2
    assert "LENSGATE_BAND_LOW: " in capsys.readouterr().err


def test_relative_paths_start_at_the_working_directory(
    bulk: Bulk, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bulk("faces", "out")
    for url in ("file:", "file://", "FILE://localhost"):
        assert bulk(f"{url}{faces}", tmp_path / "out").summary["skipped"] == 4
    assert {row["source"] for row in read_rows(tmp_path / "out")} == {str(faces)}


def test_an_empty_source_of_tars_is_an_empty_table(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes({}))
    assert main(["bulk", str(tmp_path / "*.tar"), str(tmp_path / "out"), "--models", str(bulk.models)]) == 0
    assert read_rows(tmp_path / "out") == []


@pytest.mark.parametrize(("module", "extra"), [("pyarrow", "bulk"), ("fsspec", "bulk"), ("ray", "ray")])
def test_a_missing_extra_is_named(module: str, extra: str, bulk: Bulk, faces: Path) -> None:
    to = str(faces.parent / "out")
    ran = lensgate_without(module, "bulk", str(faces), to, "--engine", "ray", "--models", str(bulk.models))
    assert (ran.returncode, f"'.[{extra}]'" in ran.stderr) == (1, True), ran.stderr
