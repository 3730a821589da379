"""Sources and tables in object storage: S3 as moto's server speaks it, and fsspec's store in memory."""

import errno
import json
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import MagicMock
from urllib.parse import urlsplit

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.utils import infer_storage_options

from bulk.output.folder import Folder
from common.storage import ObjectStore, full_url, locate
from tests.bulk.helpers import (
    ANONYMOUS,
    DARK,
    GREY,
    LIGHT,
    Bucket,
    Bulk,
    face,
    parquet_bytes,
    read_rows,
    shards,
    tar_bytes,
    tar_members,
    write_faces,
)

NUMBERS = [LIGHT, GREY, DARK]


def put_faces(bucket: Bucket) -> None:
    for number in NUMBERS:
        bucket.put(f"faces/{'more/' if number == DARK else ''}face-{number:05d}.png", face(number))
    bucket.put("faces/text.png", b"text")
    bucket.put("faces/notes.txt", b"notes")


def test_a_folder_of_a_bucket_becomes_a_table_in_it(s3: Bucket, bulk: Bulk) -> None:
    put_faces(s3)
    run = (f"{s3.url}/faces", f"{s3.url}/out", "--keep", f"{s3.url}/keep")
    ran = bulk(*run)
    assert ran.status == 0
    rows = s3.rows("out")
    assert [(row["id"], row["source"], row["decision"] or row["error"]) for row in rows] == [
        ("face-00128.png", f"{s3.url}/faces", "discard"),
        ("face-00250.png", f"{s3.url}/faces", "accept"),
        ("text.png", f"{s3.url}/faces", "unsupported_image"),
        ("more/face-00005.png", f"{s3.url}/faces/more", "accept"),
    ]
    (tar,) = s3.files("keep").values()
    assert tar_members(tar) == {"face-00250.png": face(LIGHT), "more/face-00005.png": face(DARK)}
    before = s3.files("out"), s3.files("keep")
    assert bulk(*run).summary["judged"] == 0
    # A changed source object makes its unit run again, and its older tar is removed.
    s3.put("faces/text.png", face(LIGHT + 1))
    ran = bulk(*run)
    assert (ran.summary["judged"], ran.summary["reused"], ran.summary["errors"]) == (4, 3, 0)
    assert s3.files("out").keys() == before[0].keys()
    assert len(s3.files("keep")) == 1
    assert s3.files("keep").keys() != before[1].keys()


def test_a_folder_that_takes_several_fetches_keeps_its_order(
    s3: Bucket, bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, read = list[int](), ObjectStore.read_many

    def counted(store: ObjectStore, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        fetched.append(len(paths))
        return read(store, paths)

    monkeypatch.setattr(ObjectStore, "read_many", counted)
    names = [f"{number:02d}.png" for number in range(40)]
    for number, name in enumerate(names):
        s3.put(f"faces/{name}", face(number))
    bulk(f"{s3.url}/faces/*.png", tmp_path / "out")
    assert [row["id"] for row in read_rows(tmp_path / "out")] == names
    assert fetched == [32, 8]


def test_an_image_deleted_before_it_is_fetched_is_a_row(
    s3: Bucket, bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_faces(s3)
    read = ObjectStore.read_many

    def read_late(store: ObjectStore, paths: Sequence[str]) -> Sequence[bytes | Exception]:
        s3.store.rm_file(f"{s3.url}/faces/face-00250.png")
        return read(store, paths)

    monkeypatch.setattr(ObjectStore, "read_many", read_late)
    bulk(f"{s3.url}/faces/face*.png", tmp_path / "out")
    assert [row["error"] for row in read_rows(tmp_path / "out")] == [None, "unreadable_file"]


def test_shards_in_a_bucket_are_found_by_braces(s3: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    for number in (0, 2):
        s3.put(f"shards/x-{number:03d}.tar", tar_bytes({"a.png": face(LIGHT), "a.json": b'{"wants": 0}'}))
    run = (s3.url + "/shards/x-{000..002}.tar", tmp_path / "out", "--expected-column", "wants")
    assert bulk(*run).status == 0
    found = [(row["source"], row["reason"] or row["error"]) for row in read_rows(tmp_path / "out")]
    assert found == [
        (f"{s3.url}/shards/x-000.tar", "contradicted"),
        (f"{s3.url}/shards/x-001.tar", "unreadable_file"),
        (f"{s3.url}/shards/x-002.tar", "contradicted"),
    ]


def test_a_tar_larger_than_a_read_arrives_whole(s3: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    members = {f"{number:03d}.png": face(number) for number in range(256)}
    # Reads take 8 MiB each.
    members |= {f"{number:03d}.raw": bytes(300_000) for number in range(60)}
    s3.put("x.tar", tar_bytes(dict(sorted(members.items()))))
    ran = bulk(f"{s3.url}/x.tar", tmp_path / "out", "--keep", f"{s3.url}/keep")
    assert (ran.summary["images"], ran.summary["errors"]) == (256, 0)
    (kept,) = s3.files("keep").values()
    assert sum(name.endswith(".png") for name in tar_members(kept)) == ran.summary["accepted"]


def assert_nameless_folders_are_rows(bucket: Bucket, bulk: Bulk, out: Path, *flags: str) -> None:
    for name in ("faces/a.png", "faces//b.png", "faces/more//deep/c.png", "faces/"):
        bucket.put(name, b"" if name.endswith("/") else face(LIGHT))
    assert bulk(f"{bucket.url}/faces", out, *flags).summary["accepted"] == 1
    assert [(row["id"], row["file"], row["error"]) for row in read_rows(out)] == [
        ("a.png", f"{bucket.url}/faces", None),
        ("/", f"{bucket.url}/faces", "unreadable_folder"),
        ("more//", f"{bucket.url}/faces/more", "unreadable_folder"),
    ]
    assert "rename them" in read_rows(out)[1]["detail"]
    assert bulk(f"{bucket.url}/faces/*.png", out, *flags).summary["images"] == 1


def test_objects_between_two_slashes_are_not_passed_over(s3: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    assert_nameless_folders_are_rows(s3, bulk, tmp_path / "out")


def test_objects_of_google_between_two_slashes_are_not_passed_over(gcs: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    flags = ["--storage-options", json.dumps(ANONYMOUS)]
    assert_nameless_folders_are_rows(gcs, bulk, tmp_path / "out", *flags)


def test_an_object_of_google_that_marks_a_folder_is_no_folder_of_its_own(
    gcs: Bucket, bulk: Bulk, tmp_path: Path
) -> None:
    for name, data in {
        "faces/": b"",
        "faces/a.png": face(LIGHT),
        "faces/more/": b"",
        "faces/more/b.png": face(LIGHT),
    }.items():
        gcs.put(name, data)
    ran = bulk(f"{gcs.url}/faces", tmp_path / "out", "--storage-options", json.dumps(ANONYMOUS))
    assert (ran.status, ran.summary["accepted"], ran.summary["errors"]) == (0, 2, 0)


def test_an_object_that_ends_in_a_slash_is_counted(s3: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    for name, data in {"faces/a.png": face(LIGHT), "faces/b.png/": face(DARK), "faces/": b""}.items():
        s3.put(name, data)
    assert bulk(f"{s3.url}/faces", tmp_path / "out").summary["ignored"] == {"no ending": 1}


def test_a_full_folder_for_unfinished_output_is_named(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bulk.output.table.TableWriter.add", fail)
    ran = bulk(write_faces(tmp_path / "faces", [LIGHT]), "memory://full/out")
    assert (ran.status, f"for TMPDIR: '{tempfile.gettempdir()}'" in ran.err) == (1, True)


def test_a_parquet_data_set_in_a_bucket_is_read(s3: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    s3.put("data/x.parquet", parquet_bytes({"image": [face(number) for number in NUMBERS]}, rows=2))
    s3.put("data/y.parquet", b"none")
    options = json.dumps({"endpoint_url": s3.store.client_kwargs.get("endpoint_url"), "anon": False})
    ran = bulk(f"{s3.url}/data", tmp_path / "out", "--storage-options", options)
    assert (ran.summary["accepted"], ran.summary["discarded"], ran.summary["errors"]) == (2, 1, 1)
    assert len(shards(tmp_path / "out")) == 3


def test_an_unreachable_store_is_named(s3: Bucket, bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    options = json.dumps({"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}})
    for run in ((f"{s3.url}/faces", tmp_path / "out"), (faces, f"{s3.url}/out")):
        ran = bulk(*run, "--storage-options", options)
        assert ran.status == 1
        assert "Could not connect" in ran.err


def test_a_missing_bucket_for_output_is_named(bulk: Bulk, s3: Bucket) -> None:
    s3.put("faces/a.png", face(LIGHT))
    for flags in (["s3://no-such-bucket/out"], [f"{s3.url}/out", "--keep", "s3://no-such-bucket/keep"]):
        ran = bulk(f"{s3.url}/faces", *flags)
        assert ran.status == 1
        assert "The specified bucket does not exist: 's3://no-such-bucket/" in ran.err


@pytest.mark.parametrize(
    ("method", "error", "named"),
    [
        ("isdir", PermissionError("Access Denied."), "[Errno 13] Access Denied: 'memory:///named/faces'"),
        ("ls", TimeoutError(errno.ETIMEDOUT, "timed out"), "[Errno 110] timed out: 'memory:///named/faces'"),
        ("put_file", ValueError("no credentials"), "[Errno 5] ValueError: no credentials: 'memory:///named/out/faces-"),
    ],
)
def test_an_error_of_a_store_says_where(
    method: str, error: Exception, named: str, *, bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket("memory://named", fsspec.filesystem("memory"))
    bucket.put("faces/a.png", face(LIGHT))

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(type(bucket.store), method, fail)
        ran = bulk(f"{bucket.url}/faces", f"{bucket.url}/out")
    bucket.store.rm(bucket.url, recursive=True)
    assert ran.status == 1
    assert f"lensgate: {named}" in ran.err


def test_any_store_of_fsspec_works(bulk: Bulk) -> None:
    bucket = Bucket("memory://bulk", fsspec.filesystem("memory"))
    put_faces(bucket)
    run = ("memory://bulk/faces/**/*.png", "memory://bulk/out", "--keep", "memory://bulk/keep")
    assert bulk(*run).status == 0
    assert len(bucket.rows("out")) == 4
    assert bulk(*run).summary["skipped"] == 4
    bucket.store.rm(f"{bucket.url}/faces/text.png")
    ran = bulk(*run)
    assert (ran.summary["judged"], ran.summary["images"]) == (3, 3)
    bucket.store.rm(bucket.url, recursive=True)


class Server(MemoryFileSystem):  # type: ignore[misc]
    """A server that its URLs name, with a client as that of SFTP: for one thread, and with no other options.

    Its cache of listings is a dictionary, as Hugging Face's.
    """

    protocol = "server"
    callers: ClassVar[set[bool]] = set()
    """Whether each call came from the thread of its file system."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host, self._thread = host, threading.get_ident()
        self.dircache: dict[str, Any] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(infer_storage_options(path)["path"])

    @staticmethod
    def _get_kwargs_from_urls(url: str) -> dict[str, str]:
        host = urlsplit(url).hostname
        return {"host": host} if host else {}

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self.callers.add(threading.get_ident() == self._thread)
        return super().ls(path, detail, **options)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        assert "cache_type" not in options
        return super().open(path, mode, **options)


def test_a_server_is_found_by_its_url_from_every_thread(bulk: Bulk) -> None:
    fsspec.register_implementation("server", Server, clobber=True)
    bucket = Bucket("memory://remote", fsspec.filesystem("memory"))
    put_faces(bucket)
    run = ("server://one/remote/faces", "server://one/remote/out", "--keep", "server://one/remote/keep")
    assert [bulk(*run).summary["judged"] for _ in range(2)] == [4, 0]
    assert {row["file"] for row in bucket.rows("out")} == {run[0], f"{run[0]}/more"}
    # The same path on another server is another folder.
    assert bulk("server://two/remote/faces", run[1]).summary["judged"] == 4
    assert len(bucket.rows("out")) == 8
    bucket.put("shards/x.tar", tar_bytes({"a.png": face(LIGHT)}))
    assert bulk("server://one/remote/shards", run[1]).summary["accepted"] == 1
    assert Server.callers == {True}
    bucket.store.rm(bucket.url, recursive=True)


def test_repositories_of_hugging_face_are_read_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub(MemoryFileSystem):  # type: ignore[misc]
        protocol = "hf"
        open = MagicMock()

    monkeypatch.setattr(fsspec, "url_to_fs", lambda url, **_: (Hub(), url))
    store, path = locate("hf://datasets/a/b/x.tar", {})
    store.open(path, ahead=True)
    assert (store.readers, Hub.open.call_args.kwargs["cache_type"]) == (32, "background")


class Azure(MemoryFileSystem):  # type: ignore[misc]
    """A store that reads its URLs as the package adlfs does."""

    protocol = "azure"

    def __init__(self, account_name: str) -> None:
        super().__init__()
        self.account_name = account_name

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        place, _, inside = path.removeprefix("azure://").partition("/")
        return f"{place.partition('@')[0]}/{inside}"

    @staticmethod
    def _get_kwargs_from_urls(url: str) -> dict[str, str]:
        account, dot, _ = (urlsplit(url).hostname or "").partition(".")
        return {"account_name": account} if dot else {}


def test_names_in_azure_have_the_account_of_their_url(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("azure", Azure, clobber=True)
    url = "azure://data@account.dfs.core.windows.net/faces"
    assert full_url(url, {}) == url
    # An account that options or variables of fsspec name is none of the URL.
    assert full_url("azure://data/faces", {"account_name": "account"}) == "azure://data/faces"
    monkeypatch.setitem(fsspec.config.conf, "azure", {"account_name": "account"})
    assert full_url("azure://data/faces", {}) == "azure://data/faces"


@pytest.mark.parametrize(
    "member", ["blob_id", "sha", "hex", "modificationTime", "modified", "modify", "modifiedTime", "last_modified"]
)
def test_a_change_of_equal_size_shows_in_any_store(member: str) -> None:
    """As the listings of Hugging Face, GitHub, Git, HDFS, WebDAV, FTP, Google Drive and Jupyter tell it."""

    def version(value: str) -> str:
        system = MagicMock()
        system.ls.return_value = [{"name": "x/a.png", "size": 3, "type": "file", member: value}]
        (file,) = ObjectStore(system).list("x").files
        return file.version

    assert version("1") != version("2")


def test_a_shard_that_a_store_lists_after_its_removal_is_passed_over(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Folder.names
    monkeypatch.setattr(Folder, "names", lambda self: [*names(self), "gone-0123456789ab.parquet"])
    faces = write_faces(tmp_path / "faces", NUMBERS)
    assert [bulk(faces, tmp_path / "out").summary["judged"] for _ in range(2)] == [3, 0]


def test_google_buckets_work_like_amazon_buckets(gcs: Bucket, bulk: Bulk) -> None:
    put_faces(gcs)
    gcs.put("shards/x.tar", tar_bytes({"a.png": face(LIGHT)}))
    gcs.put("data/x.parquet", parquet_bytes({"image": [face(DARK)]}))
    for source, images in (("faces", 4), ("shards/*.tar", 1), ("data", 1)):
        flags = ["--keep", f"{gcs.url}/keep", "--storage-options", json.dumps(ANONYMOUS)]
        assert bulk(f"{gcs.url}/{source}", f"{gcs.url}/out", *flags).summary["images"] == images
        assert bulk(f"{gcs.url}/{source}", f"{gcs.url}/out", *flags).summary["judged"] == 0
    found = [row["decision"] or row["error"] for row in gcs.rows("out")]
    assert sorted(found) == ["accept"] * 4 + ["discard", "unsupported_image"]
    assert len(gcs.files("keep")) == 3


def test_an_upload_leaves_no_file_behind_when_the_run_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store, path = locate("memory://bulk/x", {})
    with pytest.raises(ZeroDivisionError), store.publish(path) as file:
        file.write_bytes(b"half")
        assert list(tmp_path.iterdir()) == []
        raise ZeroDivisionError
    assert store.look(path) is None
    with store.publish(path) as file:
        file.write_bytes(b"whole")
    with store.open(path) as read:
        assert read.read() == b"whole"
    store.remove(path)
    store.remove(path)
