"""Folders and object storage: the same calls and the same outcome, and errors with advice."""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from common.errors import StorageError, UrlError
from common.storage import (
    AnyPath,
    StoragePath,
    atomic_file,
    parse_path,
    remove_tree,
    require_place,
    sizes_of,
    write_atomically,
    write_together,
)
from training.data.parallel_map import parallel_map

KINDS = ("folder", "memory", "s3")


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "folder":
        return tmp_path / "records"
    found: StoragePath = request.getfixturevalue("bucket" if request.param == "s3" else "memory")
    return found / "records"


def test_files_are_written_found_read_and_deleted(where: AnyPath) -> None:
    for name in ("b", "a/1", "a/2"):
        write_atomically(where / name, name.encode() * 3)
    write_atomically(where / "b", b"new")
    assert sizes_of(where) == {"a/1": 9, "a/2": 9, "b": 3}
    assert list(sizes_of(where)) == ["a/1", "a/2", "b"]
    assert sizes_of(where / "a") == {"1": 9, "2": 9}
    assert (where / "b").read_bytes() == b"new"
    assert ((where / "b").is_file(), (where / "a").is_file(), (where / "c").is_file()) == (True, False, False)
    assert ((where / "a").name, str(where / "b")) == ("a", f"{where}/b")
    (where / "b").unlink()
    (where / "b").unlink(missing_ok=True)
    remove_tree(where / "a")
    remove_tree(where / "a")
    assert sizes_of(where) == {}


def test_a_missing_file_is_not_found(where: AnyPath) -> None:
    with pytest.raises(FileNotFoundError, match="records/none"):
        (where / "none").read_bytes()
    assert sizes_of(where / "none") == {}


def test_a_missing_file_cannot_be_deleted(memory: StoragePath) -> None:
    with pytest.raises(FileNotFoundError, match="records/none"):
        (memory / "none").unlink()


def test_a_file_appears_when_it_is_complete(where: AnyPath) -> None:
    with atomic_file(where / "32/shard.tfrecord") as temporary:
        temporary.write_bytes(b"whole")
        assert not (where / "32/shard.tfrecord").is_file()
    with pytest.raises(KeyboardInterrupt), atomic_file(where / "32/shard.tfrecord") as temporary:
        temporary.write_bytes(b"ha")
        raise KeyboardInterrupt
    assert (where / "32/shard.tfrecord").read_bytes() == b"whole"


def test_a_name_with_wildcards_is_taken_literally(bucket: StoragePath) -> None:
    write_atomically(bucket / "run[1]*" / "a", b"1")
    write_atomically(bucket / "run1" / "a", b"1")
    assert sizes_of(bucket / "run[1]*") == {"a": 1}
    remove_tree(bucket / "run[1]*")
    assert sizes_of(bucket) == {"run1/a": 1}


def test_texts_show_no_password() -> None:
    folder = StoragePath("ftp://user:secret@host/records")
    assert (str(folder / "x"), (folder / "x").url) == ("ftp://host/records/x", "ftp://user:secret@host/records/x")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("runs/records", Path("runs/records")),
        ("/data/a:b", Path("/data/a:b")),
        ("file:///data/records", Path("/data/records")),
        ("file:/data/records", Path("/data/records")),
        ("file://localhost/data/records", Path("/data/records")),
        ("./file:/data", Path("file:/data")),
        ("s3://bucket/records/", StoragePath("s3://bucket/records")),
        ("GS://bucket", StoragePath("gs://bucket")),
        ("~/runs", Path.home() / "runs"),
    ],
)
def test_a_path_is_a_folder_or_a_url(text: str, found: AnyPath) -> None:
    assert parse_path(text) == found


@pytest.mark.parametrize(
    "text", ["s3://", "s3:/bucket/records", "simplecache::s3://bucket/records", "s3://bucket::memory://x"]
)
def test_a_chained_or_empty_url_is_refused(text: str) -> None:
    with pytest.raises(UrlError, match="s3://BUCKET/records"):
        parse_path(text)


@pytest.mark.usefixtures("bucket")
def test_a_missing_bucket_is_named() -> None:
    lost = StoragePath("s3://lost/records")
    for call in (lost.read_bytes, lambda: write_atomically(lost, b""), lambda: sizes_of(lost), lost.unlink):
        with pytest.raises(StorageError, match=r"s3://lost/records .* bucket does not exist"):
            call()


@pytest.mark.usefixtures("bucket")
def test_missing_credentials_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # It caches its result.
    S3FileSystem.clear_instance_cache()
    record = StoragePath("s3://bucket/records")
    for call in (record.read_bytes, record.is_file, lambda: write_atomically(record, b""), record.unlink):
        with pytest.raises(StorageError, match=r"credentials.* AWS_ACCESS_KEY_ID.* service account"):
            call()
    S3FileSystem.clear_instance_cache()


def test_a_refused_request_gets_advice_on_credentials(memory: StoragePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(StorageError, match="Access Denied; set AWS_ACCESS_KEY_ID"):
        write_atomically(memory / "a", b"")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"Protocol not known: nowhere"):
        StoragePath("nowhere://bucket").read_bytes()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(StorageError, match=r"fsspec.*'\.\[bulk\]'"):
        StoragePath("s3://bucket").read_bytes()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Storage as Google's that answers everything with the status in the list."""
    status = [404]

    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps({"error": {"code": status[0], "message": "Anonymous caller has no access"}}).encode()
            self.send_response(status[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    yield status
    server.shutdown()
    server.server_close()


def test_google_s_errors_are_told_apart(google: list[int]) -> None:
    records = StoragePath("gs://bucket/records")
    with pytest.raises(FileNotFoundError):
        records.read_bytes()
    with pytest.raises(StorageError, match="bucket does not exist"):
        write_atomically(records, b"")
    google[0] = 401
    with pytest.raises(StorageError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        records.read_bytes()


def test_work_runs_ahead_in_order_and_within_its_limit() -> None:
    begun, most = list[int](), 0

    def work(item: int) -> int:
        begun.append(item)
        return item * 2

    with parallel_map(work, range(50), threads=3, ahead=5) as results:
        for taken, result in enumerate(results):
            assert result == taken * 2
            most = max(most, len(begun) - taken)
    assert most <= 6


def test_remaining_work_does_not_start_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    told, begun, shutdown = threading.Event(), list[int](), ThreadPoolExecutor.shutdown

    def work(item: int) -> None:
        begun.append(item)
        if item:
            told.wait()

    def tell(pool: ThreadPoolExecutor, **options: bool) -> None:
        shutdown(pool, wait=False, **options)
        told.set()
        shutdown(pool)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", tell)
    with pytest.raises(KeyboardInterrupt), parallel_map(work, range(50), threads=1, ahead=20) as results:
        next(results)
        raise KeyboardInterrupt
    assert begun in ([0], [0, 1])


def test_files_that_belong_together_are_written_in_order(where: AnyPath) -> None:
    write_together(where, {"images.csv": b"table", "manifest.json": b"index"})
    write_together(where, {"images.csv": b"another", "manifest.json": b"one"})
    assert [(where / name).read_bytes() for name in ("images.csv", "manifest.json")] == [b"another", b"one"]


def test_a_place_that_cannot_take_a_file_is_named_before_the_work(tmp_path: Path, memory: StoragePath) -> None:
    (tmp_path / "file").touch()
    require_place(memory / "comparison.csv")
    require_place(tmp_path / "new/comparison.csv")
    for place, fault in ((tmp_path, "is a folder"), (tmp_path / "file/report.html", "file is not a folder")):
        with pytest.raises(StorageError, match=f"{fault}: name another place for {place.name}"):
            require_place(place)
