"""Unknown names are refused with a hint on every path, and the log names the value, the caller and the reason."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.access.keys import bearer, write_tokens
from tests.support.attacks import connected, read_all
from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, running_process, running_service

WHITE = encode(flat(255))
UNCHECKED = {"/livez", "/readyz", "/metrics", "/openapi.json", "/v2/health/live", "/v2/health/ready"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("records")
    with running_service(records_url=f"sqlite:///{folder / 'records.db'}") as running:
        yield running


def operations(running: Running) -> list[tuple[str, str]]:
    """Method and path of all that is documented."""
    paths = running.client.get("/openapi.json").json()["paths"]
    found = [(method, path) for path, methods in paths.items() for method in methods]
    assert len(found) > 25
    return [(method, path) for method, path in found if path not in UNCHECKED]


def test_every_path_refuses_a_name_that_it_does_not_know(recorded: Running) -> None:
    for method, path in operations(recorded):
        filled = path.format(name="glasses", record="01ARZ3NDEKTSV4RRFFQ69G5FAV", region="a", version="1")
        answer = recorded.client.request(method, filled, params={"expcted": "glasses"}, content=b"")
        assert answer.status_code == 400, (method, path, answer.text)
        assert "'expcted'" in answer.json()["detail"], (method, path)


EXTREMES = [
    "1e-320",
    "5e-324",
    "1e-17",
    "-0.0",
    "-1e-320",
    "0.9999999999999999",
    "1.0000000000000002",
    "1e308",
    "1e400",
]


@pytest.mark.parametrize(
    "value", [*EXTREMES, "nan", "inf", "-inf", "0x1p-1074", "1_0", "\uff11", "0." + "0" * 3_000 + "1"]
)
def test_an_extreme_number_is_an_error_or_has_a_sound_answer(recorded: Running, value: str) -> None:
    paths = recorded.client.get("/openapi.json").json()["paths"]
    found = [
        (path, one["name"])
        for path, methods in paths.items()
        for one in methods.get("get", {}).get("parameters", [])
        if one["in"] == "query" and "'number'" in str(one["schema"])
    ]
    assert {name for _, name in found} >= {"min_probability", "max_probability", "target_risk", "confidence"}
    for path, name in found:
        answer = recorded.client.get(path, params={name: value})
        assert answer.status_code in (200, 400), (path, name)
        body = json.loads(answer.text, parse_constant=pytest.fail)
        assert answer.status_code == 200 or name in body["detail"]
        # No image was judged.
        assert not [one for one in body.get("classes", {}).values() if one["certified"]], (path, name)


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions/batch"])
@pytest.mark.parametrize("name", ["expcted", "Expected", "EXPECTED", "expected ", "expect", "exspected"])
def test_a_misspelt_order_is_an_error_that_suggests_the_right_name(recorded: Running, path: str, name: str) -> None:
    answer = recorded.client.post(path, params={name: "glasses"}, content=WHITE)
    assert answer.status_code == 400
    assert "did you mean 'expected'? accepted: expected, " in answer.json()["detail"]
    assert answer.json().get("error", {}).get("code") == ("malformed_request" if path.endswith("batch") else None)


@pytest.mark.parametrize("value", ["", " glasses", "Glasses", "glasses\n", "no glasses", "none", "0"])
def test_a_misspelt_value_is_an_error(recorded: Running, value: str) -> None:
    assert recorded.client.post("/v1/decisions", params={"expected": value}, content=WHITE).status_code == 400


def test_two_values_are_an_error_and_the_same_value_twice_is_one(recorded: Running) -> None:
    path = "/v1/decisions?expected=glasses&expected="
    refused = recorded.client.post(f"{path}no_glasses", content=WHITE)
    assert (refused.status_code, "expected has two values" in refused.text) == (400, True)
    assert recorded.client.post(f"{path}glasses", content=WHITE).status_code == 200
    assert recorded.client.get("/v1/decisions?decision=accept&decision=discard").status_code == 400


@pytest.mark.parametrize(
    "target",
    [
        "/v1/decisions?id=a?expected=glasses",
        "/v1/decisions?source=a;expected=glasses",
        "/v1/decisions/batch?source=a?expected=glasses",
    ],
)
def test_an_order_within_another_value_is_an_error(recorded: Running, target: str) -> None:
    answer = recorded.client.post(target, content=WHITE)
    assert (answer.status_code, "expected is part of the value before it" in answer.text) == (400, True)


def test_a_filter_within_another_value_is_an_error(recorded: Running) -> None:
    assert recorded.client.get("/v1/decisions?source=a?reason=uncertain").status_code == 400


@pytest.mark.parametrize("query", ["id=https://faces/1?seed=2;x=3", "id=a%3Fexpected%3Dglasses", "id=a%3bid%3d1?id"])
def test_a_value_may_look_like_a_query(recorded: Running, query: str) -> None:
    assert recorded.client.post(f"/v1/decisions?{query}", content=WHITE).status_code == 200


def test_pages_and_probes_take_what_links_and_balancers_add(recorded: Running) -> None:
    for path in ("/", "/login", "/livez", "/readyz", "/metrics", "/v2/health/live"):
        assert recorded.client.get(path, params={"utm": "1"}).status_code == 200


@pytest.mark.parametrize("query", [b"id=caf%E9", b"source=%ED%A0%80", "id=caf\u00e9".encode(), b"id=caf\xe9"])
def test_a_query_that_parsing_would_alter_is_an_error(recorded: Running, query: bytes) -> None:
    with connected(recorded.url) as connection:
        connection.sendall(b"POST /v1/decisions?%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % query)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"percent-encoded UTF-8" in answer


def test_a_body_that_is_not_announced_is_told_how_to_be(recorded: Running) -> None:
    with connected(recorded.url) as connection:
        connection.sendall(b"POST /v1/decisions HTTP/1.0\r\n\r\n" + WHITE)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b"the request announces no body: set Content-Length" in answer
    assert b"announces" not in recorded.client.post("/v1/decisions", content=b"").content


@pytest.mark.parametrize("target", [b"/v1/decisions?id=a#1.png&expected=glasses", b"/v1/decisions#?expected=glasses"])
def test_a_fragment_that_would_swallow_the_order_is_an_error(recorded: Running, target: bytes) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with connected(recorded.url) as connection:
        connection.sendall(head % (target, len(WHITE)) + WHITE)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"the URL holds a '#': write it as %23" in answer
    assert recorded.client.post("/v1/decisions?id=a%231.png", content=WHITE).json()["id"] == "a#1.png"


@pytest.mark.parametrize(
    ("request_line", "text"),
    [
        (b"GET /v1/decisions/%FF HTTP/1.1", b"percent-encoded UTF-8"),
        (b"GET http://localhost HTTP/1.1", b"the URL has no path"),
        (b"CONNECT localhost:443 HTTP/1.1", b"the URL has no path"),
        (b"GET /v1/decisions/face 1.png HTTP/1.1", b"write a space in the URL as %20"),
        (b"GET /v1/decisions/face HTTP.png HTTP/1.1", b"write a space in the URL as %20"),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0", b"Duplicate Content-Length"),
        (b"GET /livez HTTP/1.1\r\nX-A: a\r\n b", b"Unexpected whitespace after header value"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"it is HTTP/2, use HTTP/1.1; gRPC has a port of its own"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"it is TLS, use http://"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 51000 8000\r\nGET /livez HTTP/1.1", b"the PROXY protocol"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + b"GET /livez HTTP/1.1", b"the PROXY protocol"),
    ],
)
def test_a_malformed_head_is_told_what_is_wrong_with_it(recorded: Running, request_line: bytes, text: bytes) -> None:
    with connected(recorded.url) as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\n\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert text in answer


def test_a_broken_body_that_begins_as_tls_does_is_not_taken_for_it(recorded: Running) -> None:
    with connected(recorded.url) as connection:
        head = b"POST /v1/decisions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"\x16\x03\x01")
        assert b"the request is not HTTP/1.1: Invalid character in chunk size" in read_all(connection)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("application/x-www-form-urlencoded", b'{"reviewer": "Anna"}', "sent with Content-Type: application/json"),
        ("application/json", b'["Anna"]', "the body must be a JSON object"),
        ("application/json", b"", "the body must be a JSON object"),
        ("application/json", b'{"reviewer": ', "the body is not JSON: Expecting value at character 13"),
        ("application/json", b'{"reviewer": "Andr\xe9"}', "send JSON in UTF-8"),
        ("application/json", '{"reviewer": "Anna"}'.encode("utf-16"), "send JSON in UTF-8"),
        ("application/json", gzip.compress(b'{"reviewer": "Anna"}', mtime=0), "send JSON in UTF-8, uncompressed"),
        ("application/json", b"[" * 30_000, "with less nesting"),
        ("application/json", b'{"count": ' + b"9" * 5_000 + b"}", "shorter numbers"),
        ("application/json", b'{"reviewer": "Anna", "reviewer": "Bea"}', "'reviewer' is repeated in one object"),
        ("application/json", b'{"filters": {"version": "1", "version": "2"}}', "'version' is repeated in one object"),
        ("application/json", b'{"reviwer": "Anna"}', "unknown name 'reviwer', did you mean 'reviewer'?"),
        ("application/json", b'{"filters": {"sorce": "a"}}', "filters: unknown name 'sorce', did you mean 'source'?"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_what_to_send(
    recorded: Running, kind: str, body: bytes, text: str
) -> None:
    answer = recorded.client.post("/v1/review/claims", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert text in answer.json()["detail"]


def test_unescaped_plus_of_a_time_zone_is_400_with_the_correction(recorded: Running) -> None:
    refused = recorded.client.get("/v1/decisions?since=2026-01-01T00:00:00+01:00")
    assert (refused.status_code, "write the + of a time zone as %2B" in refused.json()["detail"]) == (400, True)
    assert recorded.client.get("/v1/decisions?since=2026-01-01T00:00:00%2B01:00").status_code == 200


def test_blanks_around_a_header_are_not_part_of_it(recorded: Running) -> None:
    with connected(recorded.url) as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: \t localhost \t\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("identity", ["a\nb", "\x1b[2J", "\x85", "\u2028", "\u202egnp", "", " ", "x" * 129])
def test_an_id_that_could_forge_a_line_is_refused(recorded: Running, identity: str) -> None:
    answer = recorded.client.post("/v1/decisions", params={"id": identity}, content=WHITE)
    assert answer.status_code == 400
    assert "an id is 1 to 128 characters" in answer.json()["detail"]


def test_the_line_of_a_failed_request_says_what_failed_for_whom(tmp_path: Path) -> None:
    tokens = write_tokens(
        tmp_path / "tokens.toml",
        {"gen": 'scopes = ["decide"]', "slow": 'scopes = ["decide"]\nrequests_per_second = 0.001\nburst = 1'},
    )
    broken = {"name": "encoded_image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 12}}
    sourced = json.dumps({"id": "mine-v3", "inputs": [broken], "parameters": {"source": "gan-8"}}).encode()
    length = {"Inference-Header-Content-Length": str(len(sourced))}
    v2 = {"id": "mine-v2", "inputs": [], "parameters": {"expcted": "glasses"}}
    environment = {"LENSGATE_MODELS": str(Path(__file__).parents[2] / "models"), "LENSGATE_TOKENS": str(tokens)}
    with (
        running_process(tmp_path / "log", environment) as process,
        httpx.Client(base_url=process.url, timeout=TIMEOUT, trust_env=False) as client,
    ):
        client.post("/v1/decisions?id=mine-1&source=gan-7", content=b"no image", headers=bearer("gen"))
        client.post("/v1/decisions?id=mine-2&expcted=glasses", content=WHITE, headers=bearer("gen"))
        client.post("/v2/models/glasses/infer", json=v2, headers=bearer("gen"))
        body = sourced + b"\x08\0\0\0no image"
        client.post("/v2/models/glasses/infer", content=body, headers=bearer("gen") | length)
        client.get("/v1/decisions?id=mine-4", headers=bearer("gen"))
        client.post("/v1/decisions?id=mine-5", content=WHITE, headers=bearer("slow"))
        client.post("/v1/decisions?id=mine-6", content=WHITE, headers=bearer("slow"))
        client.post("/v1/decisions?id=mine-7", content=WHITE)
        client.post("/v1/decisions?id=a%0Ab", content=WHITE, headers=bearer("gen"))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    found = [line for line in lines if line["logger"] == "service.access" and line["status"] >= 400]
    names = ("status", "code", "id", "source", "principal")
    assert [tuple(line.get(name) for name in names) for line in found] == [
        (422, "unsupported_image", "mine-1", "gan-7", "gen"),
        (400, "malformed_request", "mine-2", None, "gen"),
        (400, "malformed_request", "mine-v2", None, "gen"),
        (422, "unsupported_image", "mine-v3", "gan-8", "gen"),
        (403, "forbidden", "mine-4", None, "gen"),
        (429, "rate_limited", "mine-6", None, "slow"),
        (401, "unauthorized", "mine-7", None, None),
        (400, "malformed_request", None, None, "gen"),
    ]
    assert all(10 < len(line["detail"]) <= 500 for line in found)
