import csv
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.access.principal import Principal, Scope
from service.records.store import Store
from service.records.tables import verdicts
from service.review import routes
from service.review.recertify import Recertificate, recertify
from tests.service.review.decisions import audited, decision, fill
from tests.service.review.site import Site, running_site

UNKNOWN = "0" * 26
"""A record that there is not."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/records.db")
    yield store
    store.close()


@pytest.fixture
def site(store: Store) -> Iterator[Site]:
    with running_site(store) as site:
        yield site


def test_images_are_claimed_judged_and_counted(store: Store, site: Site) -> None:
    records = fill(
        store, [decision("0" * 25 + "1", reason="contradicted"), audited("0" * 25 + "2"), decision("0" * 25 + "3")]
    )
    found = site.client.post("/v1/review/claims", json={"count": 2, "reviewer": "Anna"}).json()
    assert [image["record"] for image in found["images"]] == records[:2]
    assert found["expires"].endswith("Z")
    assert site.put(records[0], "glasses", reviewer="Anna").json() == {
        "record": records[0],
        "verdict": "glasses",
        "reviewer": "Anna",
    }
    assert site.client.post(f"/v1/review/skips/{records[1]}", json={"reviewer": "Anna"}).status_code == 204
    progress = site.client.get("/v1/review/progress", params={"reviewer": "Anna"}).json()
    assert progress["waiting"] == {"discarded": 1, "audit": 1, "second": 0}
    assert progress["mine"] == {"glasses": 1, "no_glasses": 0, "unclear": 0, "skipped": 1}
    assert progress["audit"]["drawn"] == progress["audit"]["waiting"] == 1
    other = site.client.get("/v1/review/progress", params={"reviewer": "Béla"}).json()
    assert other["mine"] == {"glasses": 0, "no_glasses": 0, "unclear": 0, "skipped": 0}
    assert other["verdicts"]["glasses"] == 1


def test_a_verdict_counts_once_however_often_it_is_sent(store: Store, site: Site) -> None:
    (record,) = fill(store, [decision()])
    for verdict in ("glasses", "glasses", "unclear"):
        assert site.put(record, verdict, reviewer="Anna").status_code == 200
    counted = {
        v: site.registry.get_sample_value("lensgate_verdicts_total", {"verdict": v}) for v in ("glasses", "unclear")
    }
    assert counted == {"glasses": 1, "unclear": 1}


def test_retracted_image_waits_again(store: Store, site: Site) -> None:
    (record,) = fill(store, [decision()])
    who = {"reviewer": "Anna"}
    site.put(record, "glasses", **who)
    for path in (f"verdicts/{record}", f"verdicts/{record}", f"skips/{record}", "skips", "claims"):
        assert site.client.delete(f"/v1/review/{path}", params=who).status_code == 204
    assert site.client.get("/v1/review/progress", params=who).json()["waiting"]["discarded"] == 1


def test_second_verdict_is_409_and_names_the_first_reviewer(store: Store, site: Site) -> None:
    (record,) = fill(store, [decision()])
    site.put(record, "glasses", reviewer="Anna")
    answer = site.put(record, "no_glasses", reviewer="Béla")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "Anna has judged" in answer.json()["detail"]


def test_reviewer_is_the_name_of_the_token(store: Store, site: Site) -> None:
    (record,) = fill(store, [decision()])
    site.principal = Principal("carla", frozenset({Scope.REVIEW}))
    assert site.put(record, "glasses", reviewer="Anna").status_code == 403
    assert site.put(record, "glasses").json()["reviewer"] == "carla"
    site.principal = Principal("boss", frozenset({Scope.ADMIN}))
    assert site.client.delete(f"/v1/review/verdicts/{record}").status_code == 204


def test_without_authentication_a_reviewer_is_not_an_admin(store: Store, site: Site) -> None:
    (record,) = fill(store, [decision()])
    site.put(record, "glasses", reviewer="Anna")
    assert site.client.delete(f"/v1/review/verdicts/{record}", params={"reviewer": "Béla"}).status_code == 409


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\0b", "\u202eanna", "x" * 65, None, 7])
def test_unprintable_reviewer_name_is_400(site: Site, name: object) -> None:
    body = {} if name is None else {"reviewer": name}
    answer = site.client.post("/v1/review/claims", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert "reviewer" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "claims", {"count": 0}),
        ("POST", "claims", {"count": 101}),
        ("POST", "claims", {"kind": "accepted"}),
        ("POST", "claims", {"colour": "red"}),
        ("PUT", f"verdicts/{UNKNOWN}", {"verdict": "maybe"}),
        ("PUT", f"verdicts/{UNKNOWN}", {}),
        ("PUT", "verdicts/face-1", {"verdict": "glasses"}),
        ("POST", "skips/%00", {}),
    ],
)
def test_invalid_request_is_a_400_problem(site: Site, method: str, path: str, body: dict[str, object]) -> None:
    answer = site.client.request(method, f"/v1/review/{path}", json={"reviewer": "Anna", **body})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_body_that_is_not_json_is_a_400_problem(site: Site) -> None:
    assert site.client.post("/v1/review/claims", content=b"{").status_code == 400


def test_an_unknown_record_is_not_found(site: Site) -> None:
    assert site.put(UNKNOWN, "glasses", reviewer="Anna").status_code == 404


def test_the_certificate_is_by_the_verdicts_of_the_source(store: Store, site: Site) -> None:
    (record,) = fill(store, [audited(source="a", probability=0.98)])
    site.put(record, "glasses", reviewer="Anna")
    found = site.client.get("/v1/review/certificate", params={"source": "a", "target_risk": 0.05}).json()
    glasses = found["classes"]["glasses"]
    assert (glasses["certified"], glasses["images"], glasses["errors"], glasses["target_risk"]) == (False, 1, 0, 0.05)
    assert glasses["labels_needed"] > 0
    assert found["band"] == {"low": 0.4, "high": 0.6}
    assert site.client.get("/v1/review/certificate?source=b").json()["classes"]["glasses"]["images"] == 0
    for wrong in ("target_risk=1", "confidence=0", "colour=red"):
        assert site.client.get(f"/v1/review/certificate?{wrong}").status_code == 400


def test_exports_are_downloads(store: Store, site: Site) -> None:
    (record,) = fill(store, [decision(id="7.png")])
    site.put(record, "no_glasses", reviewer="Anna")
    table = site.client.get("/v1/review/corrections.csv", params={"ids": "caller"})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["content-disposition"] == 'attachment; filename="corrections.csv"'
    assert [(line["id"], line["label"]) for line in csv.DictReader(io.StringIO(table.text))] == [
        ("face-7", "no_glasses")
    ]
    tar = site.client.get("/v1/review/dataset.tar")
    assert tar.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(tar.content)) as members:
        assert members.getnames() == [f"reviewed/faces/face-{record}.jpg", "reviewed/about.json", "reviewed/train.csv"]


PATHS = ["progress?reviewer=Anna", "certificate", "corrections.csv", "dataset.tar"]


@pytest.mark.parametrize("path", PATHS)
def test_without_records_the_review_is_404_with_the_reason(path: str) -> None:
    with running_site(None) as site:
        answer = site.client.get(f"/v1/review/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "records are off" in answer.json()["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_failing_store_is_503_before_a_download_begins(store: Store, site: Site, path: str) -> None:
    with store.begin() as connection:
        verdicts.drop(connection)
    answer = site.client.get(f"/v1/review/{path}")
    assert (answer.status_code, answer.json()["code"]) == (503, "records_unavailable")


def test_images_are_claimed_by_the_filters_of_decisions(store: Store, site: Site) -> None:
    kinds: list[dict[str, Any]] = [
        {"source": "gan-7", "probability": 0.45},
        {"source": "gan-7", "probability": 0.55},
        {"source": "gan-8"},
    ]
    first, second, _ = fill(store, [decision(f"{index:026}", **kind) for index, kind in enumerate(kinds, 1)])

    def claim(**filters: object) -> list[str]:
        body = {"reviewer": "Anna", "kind": "discarded", "filters": filters}
        return [image["record"] for image in site.client.post("/v1/review/claims", json=body).json()["images"]]

    assert claim(source="gan-7") == [first, second]
    assert claim(source="gan-7", min_probability=0.5) == [second]
    assert claim(reason="unfamiliar") == []


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [
        ({"colour": "red"}, "colour"),
        ({"min_probability": 2}, "min_probability"),
        ({"verdict": "unclear"}, "no verdict"),
        ({"since": 20261130}, "since: must be a time"),
    ],
)
def test_a_filter_that_the_review_cannot_use_is_refused(site: Site, filters: dict[str, object], complaint: str) -> None:
    answer = site.client.post("/v1/review/claims", json={"reviewer": "Anna", "filters": filters})
    assert answer.status_code == 400
    assert complaint in answer.json()["detail"]


def test_certificates_asked_for_at_a_time_are_computed_once_or_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, running = [], threading.Lock()

    def compute(*given: Any, **terms: Any) -> Recertificate:
        assert running.acquire(blocking=False)
        calls.append(terms["source"])
        time.sleep(0.3)
        running.release()
        return recertify(*given, **terms)

    monkeypatch.setattr(routes, "recertify", compute)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(site.client.get, "/v1/review/certificate") for _ in range(8)]
        assert {each.result().status_code for each in asked} == {200}
    # Those that came while the first was computed share one.
    assert len(calls) < 4
    assert site.client.get("/v1/review/certificate", params={"source": "gan-7"}).json()["source"] == "gan-7"
    assert calls[-1] == "gan-7"
