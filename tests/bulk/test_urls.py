"""Web URLs: queries, fragments and passwords open files, and never reach a table, a tar, a name or a message."""

import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.storage import WebFiles, plain_url, without_secrets
from tests.bulk.helpers import DARK, GREY, LIGHT, Bulk, face, parquet_bytes, read_rows, shards, tar_bytes, write_faces

SECRETS = ("hush-1", "hush-2", "hush-3")
QUERY = "X-Amz-Credential=hush-1%2F2026/eu&X-Amz-Signature=hush-2&response-content-disposition=x"


@pytest.fixture
def asked() -> list[str]:
    """The paths of all requests to `server`."""
    return []


@pytest.fixture
def server(tmp_path: Path, asked: list[str]) -> Iterator[str]:
    """Serves `tmp_path/web` without ranges.

    `/locked` is for one user alone, `/get?id=N` has no ending, and `/live` tells neither size nor time.
    """
    web = tmp_path / "web"
    web.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(web))

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

        def send_head(self) -> Any:
            wanted = "Basic " + base64.b64encode(b"me:hush-3").decode()
            if self.path.startswith("/locked") and self.headers["Authorization"] != wanted:
                self.send_error(401)
                return None
            if self.path.startswith("/get?"):
                self.path = f"/{self.path.rpartition('=')[2]}.png"
            return super().send_head()

        def send_header(self, keyword: str, value: str) -> None:
            if not (self.path.startswith("/live/") and keyword in ("Content-Length", "Last-Modified")):
                super().send_header(keyword, value)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def assert_no_secret(ran: Any, *folders: Path) -> None:
    texts = [ran.out, ran.err]
    for folder in filter(Path.is_dir, folders):
        texts += [f"{name} {data.decode('latin-1')}" for name, data in shards(folder).items()]
        texts += [str(row) for row in read_rows(folder)] if any(folder.glob("*.parquet")) else []
    assert not [secret for secret in SECRETS for text in texts if secret in text]


@pytest.mark.parametrize(
    ("name", "data", "flags"),
    [
        ("a.tar", tar_bytes({"x.png": face(LIGHT)}), []),
        ("a.tar", tar_bytes({"x.png": face(LIGHT)}), ["--format", "webdataset"]),
        ("a%20b.png", face(LIGHT), []),
        ("a.parquet", parquet_bytes({"image": [face(LIGHT)]}), []),
        ("shard", tar_bytes({"x.png": face(LIGHT)}), ["--format", "webdataset"]),
    ],
)
def test_the_signature_of_a_url_is_used_and_never_written(
    name: str, data: bytes, flags: list[str], *, bulk: Bulk, server: str, tmp_path: Path
) -> None:
    (tmp_path / "web" / name.replace("%20", " ")).write_bytes(data)
    out, keep = tmp_path / "out", tmp_path / "keep"
    ran = bulk(f"{server}/{name}?{QUERY}#part", out, "--keep", keep, *flags)
    assert (ran.status, ran.summary["accepted"]) == (0, 1)
    assert_no_secret(ran, out, keep)
    assert server in read_rows(out)[0]["source"]
    # Signed anew it is the same file, and done.
    again = bulk(f"{server}/{name}?{QUERY.replace('hush-2', 'other')}", out, "--keep", keep, *flags)
    assert (again.summary["skipped"], again.summary["removed_shards"]) == (1, 0)


def test_the_password_of_a_url_is_used_and_never_written(bulk: Bulk, server: str, tmp_path: Path) -> None:
    (tmp_path / "web" / "locked").mkdir()
    for number in range(2):
        (tmp_path / "web" / "locked" / f"{number}.png").write_bytes(face(LIGHT + number))
    url = server.replace("//", "//me:hush-3@") + "/locked/{0..2}.png"
    ran = bulk(url, tmp_path / "out")
    assert (ran.status, ran.summary["accepted"]) == (0, 2)
    assert [row["error"] for row in read_rows(tmp_path / "out")] == [None, None, "unreadable_file"]
    assert_no_secret(ran, tmp_path / "out")
    bulk(url.replace("{0..2}.png", ""), tmp_path / "folder")
    assert [row["id"] for row in read_rows(tmp_path / "folder")] == ["0.png", "1.png"]
    for wrong in (f"{server.replace('//', '//you:hush-3@')}/locked/0.png", f"{server}/none.txt?{QUERY}"):
        refused = bulk(wrong, tmp_path / "wrong")
        assert refused.status in (1, 4)
        assert_no_secret(refused, tmp_path / "wrong")


def test_only_links_below_the_page_are_followed_and_each_file_once(bulk: Bulk, server: str, tmp_path: Path) -> None:
    # Each page links to the other one, as navigation bars do: followed, they would lead around without end.
    for name, other in (("faces", "other"), ("other", "faces")):
        folder = tmp_path / "web" / name
        folder.mkdir()
        (folder / f"{name}.png").write_bytes(face(LIGHT))
        links = (f"{name}.png", f"./{name}.png", f"../{other}/{other}.png", f"%2e%2e/{other}/", f"../{other}/", "../")
        (folder / "index.html").write_text("".join(f'<a href="{link}">x</a>' for link in links))
    assert bulk(f"{server}/faces", tmp_path / "out").status == 0
    assert [row["id"] for row in read_rows(tmp_path / "out")] == ["faces.png"]


def test_names_in_an_index_page_are_read_as_html(bulk: Bulk, server: str, tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "web" / "faces", [])
    for name in ("a&b.png", "it's.png", "c.png"):
        (folder / name).write_bytes(face(LIGHT))
    # Two ways to write one URL: a name without its semicolon is one of a query.
    links = ("a&amp;b.png", "it&#39;s.png", "c.png?a=1&copy=2", "c.png?a=1&amp;copy=2")
    (folder / "index.html").write_text("".join(f'<a href="{link}">x</a> ' for link in links))
    assert bulk(f"{server}/faces", tmp_path / "out").summary["errors"] == 0
    ids = [row["id"] for row in read_rows(tmp_path / "out")]
    assert [ids[0], ids[1][:2], ids[2]] == ["a&b.png", "c~", "it's.png"]
    assert len(ids) == 3


def test_a_changed_file_of_an_index_page_is_judged_again(bulk: Bulk, server: str, tmp_path: Path) -> None:
    folder = tmp_path / "web" / "faces"
    write_faces(folder, [LIGHT, DARK])
    assert bulk(f"{server}/faces/", tmp_path / "out").summary["accepted"] == 2
    assert bulk(f"{server}/faces/", tmp_path / "out").summary["judged"] == 0
    (folder / f"face-{LIGHT:05d}.png").write_bytes(face(GREY, size=40))
    assert bulk(f"{server}/faces/", tmp_path / "out").summary["accepted"] == 1


def test_a_file_that_shows_no_change_is_read_by_every_run(bulk: Bulk, server: str, tmp_path: Path) -> None:
    (tmp_path / "web" / "live").mkdir()
    for number, name in ((LIGHT, "x"), (DARK, "y")):
        (tmp_path / "web" / "live" / "now.tar").write_bytes(tar_bytes({f"{name}.png": face(number)}))
        assert bulk(f"{server}/live/now.tar", tmp_path / "out").summary["judged"] == 1
        assert [row["id"] for row in read_rows(tmp_path / "out")] == [name]


def test_a_server_without_ranges_sends_tars_whole(bulk: Bulk, server: str, tmp_path: Path) -> None:
    # Files with ranges are read in pieces of 8 MiB.
    rest = [os.urandom(300_000) for _ in range(40)]
    members = [(f"{number:03d}.png", face(number)) for number in range(40)]
    members += [(f"{number:03d}.raw", data) for number, data in enumerate(rest)]
    (tmp_path / "web" / "x.tar").write_bytes(tar_bytes(sorted(members)))
    ran = bulk(f"{server}/x.tar", tmp_path / "out")
    assert (ran.summary["images"], ran.summary["errors"]) == (40, 0)
    # Parquet is read from its end.
    (tmp_path / "web" / "x.parquet").write_bytes(parquet_bytes({"image": rest}))
    assert bulk(f"{server}/x.parquet", tmp_path / "table").status == 4
    assert "range" in read_rows(tmp_path / "table")[0]["detail"]


@pytest.mark.parametrize("folder", ["", "live"], ids=["without ranges", "without a size"])
def test_parquet_on_a_server_without_ranges_is_told_what_to_do(
    folder: str, bulk: Bulk, server: str, tmp_path: Path
) -> None:
    (tmp_path / "web" / folder).mkdir(exist_ok=True)
    (tmp_path / "web" / folder / "a.parquet").write_bytes(parquet_bytes({"image": [os.urandom(9 * 2**20)]}))
    assert bulk(f"{server}/{folder}/a.parquet", tmp_path / "out").status == 4
    (row,) = read_rows(tmp_path / "out")
    assert (row["error"], row["detail"].partition(": ")[2]) == (
        "unreadable_file",
        "its web server supports no ranges, which Parquet needs: copy it to a disk or an object store",
    )


@pytest.mark.parametrize("pattern", ["faces/{00128,00250}.png", "faces/*.png", "{faces,more}/*.png"])
def test_ids_below_a_pattern_are_paths(pattern: str, bulk: Bulk, server: str, tmp_path: Path) -> None:
    folder = tmp_path / "web" / "faces"
    folder.mkdir()
    for number in (GREY, LIGHT):
        (folder / f"{number:05d}.png").write_bytes(face(number))
    assert bulk(f"{server}/{pattern}", tmp_path / "out").status == 0
    inner = "faces/" if pattern.startswith("{") else ""
    assert [row["id"] for row in read_rows(tmp_path / "out")] == [f"{inner}00128.png", f"{inner}00250.png"]


@pytest.mark.parametrize(
    ("pattern", "wanted"), [("faces/a-*.png", {"a-1.png"}), ("faces/", {"a-1.png", "b-1.png"}), ("faces/*.txt", set())]
)
def test_only_files_with_a_wanted_name_are_asked_for(
    pattern: str, wanted: set[str], *, bulk: Bulk, server: str, tmp_path: Path, asked: list[str]
) -> None:
    folder = tmp_path / "web" / "faces"
    folder.mkdir()
    names = {"a-1.png", "a-1.json", "b-1.png", "notes.txt"}
    for name in names:
        (folder / name).write_bytes(face(LIGHT))
    ran = bulk(f"{server}/{pattern}", tmp_path / "out")
    assert ran.status == (0 if wanted else 1)
    assert {path.rpartition("/")[2] for path in asked} & names == wanted
    assert ("(1 file ignored: .txt 1)" in ran.err) is not bool(wanted)


@pytest.mark.parametrize("name", ["x.tar", "x.png", "x.parquet", "folder/"])
def test_a_refusal_is_not_a_missing_file(name: str, bulk: Bulk, server: str, tmp_path: Path) -> None:
    ran = bulk(f"{server}/locked/{name}", tmp_path / "out")
    assert (ran.status, "401" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://me:hush-1@proxy:3128", "http://proxy:3128"),
        ("http://me:hush/1@proxy:3128", "http://proxy:3128"),
        ("http://me:hush 1://@@proxy:3128", "http://proxy:3128"),
        ("me:hush-1@proxy:3128", "proxy:3128"),
        ("proxy:3128", "proxy:3128"),
    ],
)
def test_a_proxy_is_named_without_its_password_whatever_its_form(proxy: str, shown: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError("x.png") from ConnectionError("refused")

    store = WebFiles(SimpleNamespace(kwargs={"proxy": proxy}, client_kwargs={}, info=refuse))
    with pytest.raises(OSError, match="refused") as caught:
        store.look("http://faces.test/x.png")
    assert str(caught.value) == f"ConnectionError: refused, through the proxy {shown}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("from_environment", [True, False])
def test_a_proxy_that_refuses_is_named_without_its_password(
    scheme: str, from_environment: bool, *, bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Proxy(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(407)

        do_HEAD = do_CONNECT = do_GET  # noqa: N815 - The names of the base class.

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        plain = f"http://127.0.0.1:{serving.server_port}"
        proxy = plain.replace("//", "//me:hush-1@")
        options = {"client_kwargs": {"trust_env": True}} if from_environment else {"proxy": proxy}
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("no_proxy", "")
        ran = bulk(f"{scheme}://faces.test/x.tar", tmp_path / "out", "--storage-options", json.dumps(options))
        serving.shutdown()
    assert (ran.status, "407" in ran.err, f"through the proxy {plain}" in ran.err) == (1, True, True), ran.err
    assert_no_secret(ran)


def test_a_missing_tar_is_said_to_be_missing(bulk: Bulk, server: str, tmp_path: Path) -> None:
    assert bulk(f"{server.upper()}/none-{{0..1}}.tar", tmp_path / "out").status == 4
    assert [row["detail"] for row in read_rows(tmp_path / "out")] == [
        "the tar cannot be read from here on: it does not exist"
    ] * 2


@pytest.mark.parametrize("flag", ["", "--keep"])
def test_a_web_server_is_no_place_for_output(flag: str, bulk: Bulk, server: str, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    ran = bulk(faces, tmp_path / "out", flag, f"{server}/x") if flag else bulk(faces, f"{server}/x")
    assert (ran.status, "is on a web server" in ran.err) == (1, True)


def test_a_query_that_selects_the_file_is_part_of_its_name(bulk: Bulk, server: str, tmp_path: Path) -> None:
    for number, brightness in enumerate((LIGHT, DARK)):
        (tmp_path / "web" / f"{number}.png").write_bytes(face(brightness))
    for number in range(2):
        assert bulk(f"{server}/get?id={number}", tmp_path / "out", "--format", "images").status == 0
    ids = [row["id"] for row in read_rows(tmp_path / "out")]
    assert len(set(ids)) == 2
    assert all(name.startswith("get~") for name in ids)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://h/a.tar", "http://h/a.tar"),
        ("http://u:p@h:80/a/b.png?X-Goog-Signature=1#f", "http://h:80/a/b.png"),
        ("https://u@[::1]/a?download=true", "https://[::1]/a"),
        ("http://h/a?sv=1&sig=2&se=3", "http://h/a"),
    ],
)
def test_a_plain_url_is_without_secrets(url: str, plain: str) -> None:
    assert plain_url(url) == plain


def test_a_selecting_query_is_a_digest_before_the_ending() -> None:
    assert plain_url("http://h/x.png?size=5") != plain_url("http://h/x.png?size=6")
    assert plain_url("http://h/x.png?size=5").endswith(".png")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("403, message='no', url='http://me:hush@h/a.tar?X=1'", "403, message='no', url='http://h/a.tar?...'"),
        ("s3://key:hush@bucket/x failed", "s3://bucket/x failed"),
        ("/data/a?b@c.png is gone", "/data/a?b@c.png is gone"),
    ],
)
def test_texts_lose_secrets_only(text: str, plain: str) -> None:
    assert without_secrets(text) == plain


def test_a_url_that_is_none_is_refused(bulk: Bulk, tmp_path: Path) -> None:
    for url in ("http://[", "https://host:99999/faces.tar"):
        ran = bulk(url, tmp_path / "out")
        assert (ran.status, ran.err.startswith(f"lensgate: '{url}' is not a URL: ")) == (2, True)
    assert bulk("file://", tmp_path / "out").err == "lensgate: file:// names no file or folder\n"


def test_a_password_in_a_store_s_url_is_refused(bulk: Bulk, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", [LIGHT])
    for run in (("s3://key:hush-1@bucket/x", tmp_path / "out"), (faces, "s3://key:hush-1@bucket/x")):
        ran = bulk(*run)
        assert ran.status == 2
        assert "credentials do not belong into the URL" in ran.err
        assert_no_secret(ran)
