"""The record over HTTP: every way of asking leaves one, and it can be found, filtered and taken along."""

import csv
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import tritonclient.http as triton
from sqlalchemy import text

from service.inference.preprocess import Source
from service.records import routes
from service.records.decision_record import DecisionRecord
from service.records.query import Page, find_all
from service.records.store import READERS, Store
from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

BLACK, GREY, WHITE = (encode(flat(value)) for value in (0, 128, 255))


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Running]:
    with running_service(records_url=f"sqlite:///{tmp_path / 'records.db'}", audit_ratio=0.0) as running:
        yield running


def written(service: Running, count: int) -> None:
    wait_until(lambda: service.metric("lensgate_records_total", result="written") >= count)


def ask(service: Running, **query: str | int | float) -> dict[str, Any]:
    answer = service.client.get("/v1/decisions", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(service: Running, **query: str | int | float) -> list[str]:
    return [record["id"] for record in ask(service, **query)["decisions"]]


def test_a_decision_is_read_back_as_it_was_answered(recording: Running) -> None:
    answer = recording.post(GREY, id="grey", expected="glasses", source="run 7").json()
    written(recording, 1)
    (record,) = ask(recording)["decisions"]
    assert {name: record[name] for name in answer} == answer
    assert (record["expected"], record["source"]) == ("glasses", "run 7")
    assert record["sha256"] == hashlib.sha256(GREY).hexdigest()
    assert recording.client.get("/v1/decisions/grey").json() == record
    assert recording.client.get(f"/v1/decisions/{record['record']}").json() == record


@pytest.mark.parametrize(
    "name",
    ["a/b/c.png", "run/7/image", "100%", "%2F", "../..", "a?b#c", "käse/☃", " a ", "batch", "batch/1", "x" * 128],
    ids=repr,
)
def test_any_id_names_its_decision_in_a_path(recording: Running, name: str) -> None:
    recording.post(GREY, id=name)
    written(recording, 1)
    found = recording.client.get(f"/v1/decisions/{quote(name, safe='')}").json()
    assert found["id"] == name
    assert recording.client.get(f"/v1/decisions/{found['record']}").json() == found


def test_what_was_discarded_keeps_a_small_picture(recording: Running) -> None:
    recording.post(GREY, id="grey")
    recording.post(WHITE, id="white")
    wait_until(lambda: recording.metric("lensgate_record_images_total", result="written"))
    written(recording, 2)
    image = ask(recording, id="grey")["decisions"][0]["image"]
    answer = recording.client.get(image)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")
    assert ask(recording, id="white")["decisions"][0]["image"] is None


def test_every_image_of_an_upload_is_recorded(recording: Running) -> None:
    files = [("image", ("a/white.png", WHITE)), ("image", ("bad.png", b"bad")), ("image", ("black.png", BLACK))]
    recording.client.post("/v1/decisions/batch?source=stylegan", files=files)
    written(recording, 2)
    assert set(ids(recording, source="stylegan")) == {"a/white.png", "black.png"}
    assert set(ids(recording)) == {"a/white.png", "black.png"}
    assert ids(recording, id="a/white.png", label="glasses") == ["a/white.png"]


def test_every_image_of_a_tensor_is_recorded(recording: Running) -> None:
    client = triton.InferenceServerClient(recording.url.removeprefix("http://"))
    pixels = np.stack([flat(255, 64), flat(128, 64)])
    image = triton.InferInput("image", list(pixels.shape), "UINT8")
    image.set_data_from_numpy(pixels)
    client.infer("glasses", [image], request_id="pair", parameters={"source": "ckpt-3"})
    client.infer("glasses", [image])
    client.close()
    written(recording, 4)
    wait_until(lambda: recording.metric("lensgate_record_images_total", result="written") == 2)
    first, second = (recording.client.get(f"/v1/decisions/pair.{index}").json() for index in (0, 1))
    assert first["sha256"] == hashlib.sha256(pixels[0].tobytes()).hexdigest()
    assert (first["decision"], second["decision"]) == ("accept", "discard")
    assert len(set(ids(recording))) == 4
    assert set(ids(recording, source="ckpt-3")) == {"pair.0", "pair.1"}


@pytest.mark.parametrize(
    ("images", "size", "in_the_loop"), [(1, 64, True), (1, 1024, True), (2, 64, True), (2, 1024, False)]
)
def test_large_pixels_are_copied_outside_the_event_loop(
    images: int, size: int, in_the_loop: bool, recording: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = recording.runtime.followers.recorder
    assert recorder is not None
    record, threads = recorder.record, list[int]()

    def watch(entry: DecisionRecord, source: Source) -> None:
        threads.append(threading.get_ident())
        record(entry, source)

    monkeypatch.setattr(recorder, "record", watch)
    client = triton.InferenceServerClient(recording.url.removeprefix("http://"))
    image = triton.InferInput("image", [images, size, size, 3], "UINT8")
    pixels = flat(128, size)[None].repeat(images, axis=0)
    image.set_data_from_numpy(pixels)
    client.infer("glasses", [image], request_id="pixels")
    client.close()
    written(recording, images)
    # A body of one image needs no copy, whatever its size.
    assert [thread == recording.thread.ident for thread in threads] == [in_the_loop] * images
    name = "pixels" if images == 1 else "pixels.1"
    found = recording.client.get(f"/v1/decisions/{name}").json()
    assert (found["decision"], found["sha256"]) == ("discard", hashlib.sha256(pixels[0].tobytes()).hexdigest())


def test_an_image_file_in_a_tensor_is_recorded_by_its_own_bytes(recording: Running) -> None:
    client = triton.InferenceServerClient(recording.url.removeprefix("http://"))
    files = np.array([WHITE, GREY], dtype=np.object_)
    image = triton.InferInput("encoded_image", [2], "BYTES")
    image.set_data_from_numpy(files)
    client.infer("glasses", [image], request_id="files")
    client.close()
    written(recording, 2)
    assert recording.client.get("/v1/decisions/files.1").json()["sha256"] == hashlib.sha256(GREY).hexdigest()


def test_invalid_image_has_no_record(recording: Running) -> None:
    recording.post(b"no image", id="bad")
    recording.post(WHITE, id="good")
    written(recording, 1)
    assert ids(recording) == ["good"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"decision": "accept"}, ["white", "black"]),
        ({"reason": "uncertain"}, ["grey"]),
        ({"reason": "contradicted"}, ["wrong"]),
        ({"label": "no_glasses"}, ["wrong", "black"]),
        ({"expected": "glasses"}, ["wrong"]),
        ({"source": "run 7"}, ["wrong"]),
        ({"source": "run"}, []),
        ({"version": "1"}, ["wrong", "white", "grey", "black"]),
        ({"version": "2"}, []),
        ({"min_probability": 0.4, "max_probability": 0.6}, ["grey"]),
        ({"id": "grey"}, ["grey"]),
        ({"sha256": hashlib.sha256(BLACK).hexdigest()}, ["wrong", "black"]),
        ({"audit": "true"}, []),
        ({"verdict": "unclear"}, []),
        ({"since": "2020-01-01T00:00:00Z"}, ["wrong", "white", "grey", "black"]),
        ({"until": "2020-01-01"}, []),
        ({"since": "2020-01-01", "until": "2999-01-01T00:00:00+02:00", "label": "glasses"}, ["white", "grey"]),
    ],
    ids=str,
)
def test_filter_returns_the_matching_decisions(
    recording: Running, query: dict[str, str | float], found: list[str]
) -> None:
    for body, name in ((BLACK, "black"), (GREY, "grey"), (WHITE, "white")):
        recording.post(body, id=name)
    recording.post(BLACK, id="wrong", expected="glasses", source="run 7")
    written(recording, 4)
    assert ids(recording, **query) == found


def test_cursor_pages_repeat_and_skip_no_decision_while_more_arrive(recording: Running) -> None:
    for number in range(7):
        recording.post(WHITE, id=str(number))
    written(recording, 7)
    first = ask(recording, limit=3)
    recording.post(WHITE, id="late")
    written(recording, 8)
    second = ask(recording, limit=3, cursor=first["next"])
    third = ask(recording, limit=3, cursor=second["next"])
    found = [record["id"] for page in (first, second, third) for record in page["decisions"]]
    assert found == ["6", "5", "4", "3", "2", "1", "0"]
    assert third["next"] is None


def test_all_decisions_are_exported_as_ndjson(recording: Running) -> None:
    for number in range(3):
        recording.post(WHITE, id=str(number))
    written(recording, 3)
    answer = recording.client.get("/v1/decisions", headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == ask(recording)["decisions"]


def test_head_of_an_export_reads_one_page(recording: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        recording.post(WHITE, id=str(number))
    written(recording, 5)
    pages = []

    def find_slowly(store: Store, page: Page) -> Iterator[list[dict[str, Any]]]:
        for _ in range(1_000):
            pages.append(page)
            yield next(find_all(store, page))

    monkeypatch.setattr(routes, "find_all", find_slowly)
    for kind in ("csv", "ndjson"):
        head = recording.client.head("/v1/decisions", params={"format": kind})
        assert (head.status_code, head.content) == (200, b"")
        assert f"decisions.{kind}" in head.headers["content-disposition"]
    # The connection is free for the next request, which has a whole answer.
    assert len(ask(recording)["decisions"]) == 5
    assert len(pages) <= 4
    assert len(recording.client.get("/v1/decisions", params={"format": "ndjson"}).text.splitlines()) == 5_000


def test_csv_export_escapes_formulas(recording: Running) -> None:
    recording.post(GREY, id="=1+1")
    written(recording, 1)
    answer = recording.client.get("/v1/decisions", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["id"] == "'=1+1"
    assert (row["band_low"], row["model_version"], row["decision"]) == ("0.4", "1", "discard")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv; charset=utf-8", "text/csv"),
        ("text/csv, */*;q=0.1", "text/csv"),
        ("application/json;q=0.2, Application/X-NDJSON", "application/x-ndjson"),
        ("application/json, text/csv, application/x-ndjson", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", "application/json"),
    ],
)
def test_the_format_is_the_one_that_the_caller_prefers(recording: Running, accept: str, kind: str) -> None:
    answer = recording.client.get("/v1/decisions", headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == kind


def test_csv_without_rows_has_a_header(recording: Running) -> None:
    lines = recording.client.get("/v1/decisions", params={"format": "csv"}).text.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("record,id,time,sha256,")


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit: must be at most 1,000 in JSON"),
        ("cursor=x", "cursor"),
        ("decision=maybe", "decision"),
        ("min_probability=2", "min_probability"),
        ("min_probability=0.9&max_probability=0.1", "min_probability must not exceed max_probability"),
        ("since=yesterday", "since"),
        ("since=20261130", "since: must be a time such as 2026-11-30T12:00:00Z"),
        ("until=1796040000.5", "until: must be a time"),
        ("since=2026-02-01&until=2026-01-01", "since must not be after until"),
        ("colour=red", "colour"),
        ("format=xml", "format"),
        ("sha256=0", "sha256"),
        ("source=", "source: must have at least 1 character"),
    ],
)
def test_invalid_filter_is_400_and_named(recording: Running, query: str, complaint: str) -> None:
    answer = recording.client.get(f"/v1/decisions?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert complaint in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/decisions/nobody", "/v1/decisions/nobody/image", "/v1/decisions/a%2Fb/image"])
def test_unknown_record_is_404(recording: Running, path: str) -> None:
    answer = recording.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_with_records_off_it_says_how_to_turn_them_on(service: Running) -> None:
    answer = service.client.get("/v1/decisions")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "LENSGATE_RECORDS_URL" in answer.json()["detail"]


def test_decisions_continue_while_the_store_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "records.db").mkdir()
    with running_service(records_url=f"sqlite:///{tmp_path / 'records.db'}") as service:
        assert service.post(WHITE).json()["decision"] == "accept"
        wait_until(lambda: service.metric("lensgate_records_failing") == 1)
        answer = service.client.get("/v1/decisions")
        assert (answer.status_code, answer.json()["code"]) == (503, "records_unavailable")
        assert service.client.get("/readyz").status_code == 200


def test_many_slow_readers_leave_the_recorder_its_connection(
    recording: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, inside = threading.Event(), threading.Semaphore(0)

    def read_slowly(store: Store, _: Page) -> tuple[list[dict[str, Any]], str | None]:
        with store.begin() as connection:
            connection.execute(text("SELECT 1"))
            inside.release()
            assert go.wait(TIMEOUT)
        return [], None

    monkeypatch.setattr(routes, "find_page", read_slowly)
    recording.post(GREY)
    written(recording, 1)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(recording.client.get, "/v1/decisions") for _ in range(20)]
        try:
            assert all(inside.acquire(timeout=TIMEOUT) for _ in range(READERS))
            recording.post(WHITE)
            written(recording, 2)
            assert recording.metric("lensgate_record_failures_total") == 0
        finally:
            go.set()
        assert {each.result().status_code for each in asked} == {200}


def test_the_bytes_of_a_body_are_given_back_with_its_answer(recording: Running) -> None:
    recording.post(GREY)
    assert recording.runtime.admission.bytes == 0
    assert recording.inflight == 0


def test_the_audit_sample_is_drawn_by_its_ratio(tmp_path: Path) -> None:
    with running_service(records_url=f"sqlite:///{tmp_path / 'records.db'}", audit_ratio=1.0) as service:
        service.post(WHITE, id="white")
        service.post(GREY, id="grey")
        wait_until(lambda: service.metric("lensgate_record_images_total", result="written") == 2)
        written(service, 2)
        assert ids(service, audit="true") == ["white"]
        assert ids(service, audit="false") == ["grey"]


def test_the_documentation_shows_both_methods_of_a_path(recording: Running) -> None:
    paths = recording.client.get("/openapi.json").json()["paths"]
    assert set(paths["/v1/decisions"]) == {"get", "post"}
    assert "RecordPage" in json.dumps(paths["/v1/decisions"]["get"]["responses"]["200"])


def test_trial_is_neither_counted_nor_recorded(recording: Running) -> None:
    decided = recording.post(GREY, id="real").json()
    written(recording, 1)
    tried = recording.client.post("/v1/trials", content=GREY, params={"id": "real", "expected": "glasses"}).json()
    assert tried == decided
    answer = recording.client.post("/v1/trials", content=b"no image", params={"id": "broken"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_image")
    recording.post(WHITE, id="last")
    written(recording, 2)
    assert ids(recording) == ["last", "real"]
    operations = recording.client.get("/v1/operations").json()
    assert (operations["decisions"], operations["scores"]["total"], operations["reject_ratio"]) == (2, 2, 0.5)
    assert recording.metric("lensgate_image_errors_total", code="unsupported_image") == 0
    assert recording.metric("lensgate_requests_total", route="/v1/decisions", status="200") == 2
    assert recording.client.get("/v1/failures").json() == {"failures": [], "next": None}
    assert sum(recording.client.get("/v1/operations/history").json()["decisions"]) == 2


def test_failed_requests_and_failed_images_of_uploads_are_recorded(recording: Running) -> None:
    recording.post(b"no image", id="a/b", source="gan-7")
    recording.client.post("/v1/decisions?id=mine&colour=red", content=GREY)
    files = [("image", ("bad.png", b"bad")), ("image", ("good.png", WHITE))]
    batch = recording.client.post("/v1/decisions/batch?source=gan-8", files=files)
    recording.client.get("/v1/decisions?colour=red")  # No request for a decision.
    kind = {"Content-Type": "application/x-tar"}
    cut = recording.client.post("/v1/decisions/batch?source=gan-9", content=b"no tar", headers=kind)
    assert cut.status_code == 200

    def failures(**query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = recording.client.get("/v1/failures", params=query).json()["failures"]
        return found

    wait_until(lambda: len(failures()) == 4)
    shown = [(each["code"], each["status"], each["id"], each["source"], each["path"]) for each in failures()]
    assert set(shown) == {
        ("unsupported_image", None, "bad.png", "gan-8", "/v1/decisions/batch"),
        ("malformed_request", 400, "mine", None, "/v1/decisions"),
        ("malformed_request", 200, None, "gan-9", "/v1/decisions/batch"),
        ("unsupported_image", 422, "a/b", "gan-7", "/v1/decisions"),
    }
    assert [each["id"] for each in failures(request_id=batch.headers["x-request-id"])] == ["bad.png"]
    assert [each["id"] for each in failures(id="a/b")] == ["a/b"]
    errors = recording.client.get("/v1/operations/history", params={"window": "24h"}).json()["errors"]
    assert {code: sum(counts) for code, counts in errors.items()} == {"malformed_request": 2, "unsupported_image": 2}


@pytest.mark.parametrize(
    "path", ["failures?limit=0", "failures?cursor=x", "failures?id=", "operations/history?window=1y"]
)
def test_invalid_query_of_figures_is_400(recording: Running, path: str) -> None:
    assert recording.client.get(f"/v1/{path}").status_code == 400
