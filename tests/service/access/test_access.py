"""Tokens, sessions and rates on a running service."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service.access.keys import bearer, token_of, write_tokens
from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, read_metric, running_service, wait_until

WHITE = encode(flat(255))
ENTRIES = {
    "gen": 'scopes = ["decide"]',
    "eva": 'scopes = ["review"]',
    "boss": 'scopes = ["admin"]',
    "prometheus": "scopes = []",
    "slow": 'scopes = ["decide"]\nrequests_per_second = 0.001\nburst = 2',
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = write_tokens(tmp_path_factory.mktemp("access") / "tokens.toml", ENTRIES)
    with running_service(tokens=path) as running:
        yield running


@pytest.fixture
def browser(service: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=TIMEOUT, trust_env=False) as client:
        yield client


def log_in(browser: httpx.Client, name: str) -> dict[str, object]:
    answer = browser.post("/v1/session", json={"token": token_of(name)})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("name", "method", "path", "status"),
    [
        ("gen", "POST", "/v1/decisions", 200),
        ("boss", "POST", "/v1/decisions", 200),
        ("eva", "POST", "/v1/decisions", 403),
        ("prometheus", "POST", "/v1/decisions", 403),
        ("prometheus", "GET", "/metrics", 200),
        ("gen", "GET", "/v1/decisions", 403),
        ("gen", "POST", "/v2/systemsharedmemory/unregister", 403),
        ("boss", "POST", "/v2/systemsharedmemory/unregister", 400),
        ("gen", "GET", "/v1/nothing", 403),
        ("boss", "GET", "/v1/nothing", 404),
    ],
)
def test_token_without_the_required_scope_is_403(
    service: Running, name: str, method: str, path: str, status: int
) -> None:
    body = WHITE if path == "/v1/decisions" and method == "POST" else b""
    assert service.client.request(method, path, content=body, headers=bearer(name)).status_code == status


def test_missing_token_is_401_and_missing_scope_is_403(service: Running) -> None:
    unknown = service.client.post("/v1/decisions", content=WHITE)
    assert (unknown.status_code, unknown.json()["code"]) == (401, "unauthorized")
    assert unknown.headers["WWW-Authenticate"] == "Bearer"
    assert unknown.json()["request_id"] == unknown.headers["X-Request-ID"]
    lacking = service.client.post("/v1/decisions", content=WHITE, headers=bearer("eva"))
    assert (lacking.status_code, lacking.json()["code"]) == (403, "forbidden")
    assert 'lacks the required scope "decide"' in lacking.json()["detail"]
    lacking = service.client.put("/v1/decisions", content=WHITE, headers=bearer("gen"))
    assert lacking.json()["detail"].endswith('scope "admin", or the path does not exist with this method')


def test_probes_need_no_token(service: Running) -> None:
    for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert service.client.get(path).status_code == 200


def test_unauthorized_v2_request_has_the_member_error(service: Running) -> None:
    assert (
        service.client.post("/v2/models/glasses/infer", content=b"{}")
        .json()["error"]
        .startswith("authentication required")
    )


@pytest.mark.parametrize("value", ["Basic ZXZhOng=", token_of("gen"), "Token x", "Bearer"])
def test_a_header_without_a_bearer_token_is_told_from_an_unknown_token(browser: httpx.Client, value: str) -> None:
    """As from a proxy that asks for passwords, beside the session of a browser."""
    log_in(browser, "eva")
    answer = browser.get("/review", headers={"Authorization": value})
    assert answer.status_code == 401
    assert "holds no bearer token" in answer.json()["detail"]
    assert token_of("gen") not in answer.text


def test_two_authorization_headers_are_400(service: Running) -> None:
    twice = [("Authorization", f"Bearer {token_of('gen')}"), ("Authorization", "Bearer x")]
    assert service.client.get("/v1/model", headers=twice).status_code == 400


def test_wrong_bearer_token_is_401_despite_a_valid_session(browser: httpx.Client) -> None:
    log_in(browser, "eva")
    assert browser.get("/v1/session").status_code == 200
    assert browser.get("/v1/session", headers={"Authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize("length", [300, 3_000_000])
def test_unauthorized_request_is_answered_before_its_body_on_a_connection_that_stays_open(
    service: Running, length: int
) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        allowed = f"Authorization: Bearer {token_of('gen')}\r\n".encode()
        head = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n" % (len(WHITE), allowed)
        connection.sendall(bytes(length) + head + WHITE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert service.inflight == 0


def test_rate_limited_token_is_429_with_retry_after(service: Running) -> None:
    read = read_metric
    with httpx.Client(base_url=service.url, headers=bearer("prometheus"), trust_env=False) as prometheus:
        before = read(prometheus, "lensgate_shed_total", reason="rate_limit")
        answers = [service.client.post("/v1/decisions", content=WHITE, headers=bearer("slow")) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert answers[2].json()["code"] == "rate_limited"
        assert 990 <= int(answers[2].headers["Retry-After"]) <= 1000
        assert read(prometheus, "lensgate_shed_total", reason="rate_limit") - before == 2
    assert service.client.post("/v1/decisions", content=WHITE, headers=bearer("gen")).status_code == 200


def test_unknown_tokens_count_as_authentication_failures(service: Running) -> None:
    with httpx.Client(base_url=service.url, headers=bearer("prometheus"), trust_env=False) as prometheus:
        before = read_metric(prometheus, "lensgate_authentication_failures_total")
        service.client.get("/v1/model", headers={"Authorization": "Bearer x"})
        port = urlsplit(service.url).port
        service.client.get("/v1/model", headers={"Cookie": f"lensgate_session_{port}=x"})
        service.client.post("/v1/session", json={"token": "x"})
        service.client.get("/v1/model")  # A request without credentials is not a failure.
        assert read_metric(prometheus, "lensgate_authentication_failures_total") - before == 3


def test_log_holds_the_name_of_a_token_and_not_its_value(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    def is_logged() -> bool:
        # The lines of earlier tests' requests may come late.
        lines = [record for record in caplog.records if record.getMessage() == "GET /v1/model"]
        return any(line.__dict__["fields"].get("principal") == "prometheus" for line in lines)

    with caplog.at_level(logging.INFO):
        service.client.get("/v1/model", headers=bearer("prometheus"))
        wait_until(is_logged)
    assert token_of("prometheus") not in json.dumps([record.__dict__ for record in caplog.records], default=str)


def test_changed_token_file_applies_without_a_restart(tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens.toml", {"gen": 'scopes = ["decide"]'})
    with running_service(tokens=path) as service:
        assert service.client.get("/v1/model", headers=bearer("gen")).status_code == 200
        write_tokens(path, {"eva": 'scopes = ["review"]'})
        wait_until(lambda: service.client.get("/v1/model", headers=bearer("gen")).status_code == 401)
        assert service.client.get("/v1/model", headers=bearer("eva")).status_code == 200
        path.write_text("nonsense")
        with httpx.Client(base_url=service.url, headers=bearer("eva"), trust_env=False) as eva:
            wait_until(lambda: read_metric(eva, "lensgate_tokens_load_failed") == 1)


def test_a_browser_logs_in_and_out(browser: httpx.Client) -> None:
    assert browser.get("/v1/session").status_code == 401
    who = log_in(browser, "eva")
    assert (who["access"], who["name"], who["scopes"]) == ("on", "eva", ["review"])
    assert browser.get("/v1/session").json() == who
    assert browser.delete("/v1/session").status_code == 403
    out = browser.delete("/v1/session", headers={"X-CSRF-Token": str(who["csrf"])})
    assert (out.status_code, out.content) == (204, b"")
    assert browser.get("/v1/session").status_code == 401


def test_login_with_a_wrong_token_is_401_without_a_cookie(browser: httpx.Client) -> None:
    answer = browser.post("/v1/session", json={"token": "lensgate_wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"token": "x"}', "text/plain", 400),
        (b"token=x", "application/x-www-form-urlencoded", 400),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"token": 5}', "application/json", 400),
        (b'{"token": "x", "next": "y"}', "application/json", 400),
        (b'{"token": "%b"}' % (b"x" * 513), "application/json", 400),
        (b'{"token": "%b"}' % (b"x" * 5000), "application/json", 413),
        (b'{"token": "\\ud800"}', "application/json", 400),
        (b'{"token": "x", "token": "y"}', "application/json", 400),
        (b'{"token": "\xff"}', "application/json", 400),
        (b"[" * 4000, "application/json", 400),
        (b'{"token": "x"}', "application/json; charset=utf-8", 401),
    ],
)
def test_malformed_login_is_rejected(browser: httpx.Client, body: bytes, kind: str, status: int) -> None:
    answer = browser.post("/v1/session", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


def test_cross_site_login_is_403(browser: httpx.Client) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = browser.post("/v1/session", json={"token": token_of("eva")}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_unsafe_request_of_a_session_requires_its_csrf_token(browser: httpx.Client) -> None:
    csrf = str(log_in(browser, "gen")["csrf"])
    assert browser.post("/v1/decisions", content=WHITE).status_code == 403
    wrong = browser.post("/v1/decisions", content=WHITE, headers={"X-CSRF-Token": csrf[:-1]})
    assert (wrong.status_code, "X-CSRF-Token" in wrong.json()["detail"]) == (403, True)
    assert browser.post("/v1/decisions", content=WHITE, headers={"X-CSRF-Token": csrf}).status_code == 200
    strange = {"X-CSRF-Token": csrf, "Origin": "https://evil.example"}
    assert browser.post("/v1/decisions", content=WHITE, headers=strange).status_code == 403
    assert browser.get("/v1/model").status_code == 200


def test_csrf_token_of_another_session_is_403(service: Running, browser: httpx.Client) -> None:
    csrf = str(log_in(browser, "gen")["csrf"])
    with httpx.Client(base_url=service.url, trust_env=False) as other:
        log_in(other, "gen")
        assert other.post("/v1/decisions", content=WHITE, headers={"X-CSRF-Token": csrf}).status_code == 403


def test_a_session_has_the_scopes_of_its_token(browser: httpx.Client) -> None:
    csrf = str(log_in(browser, "eva")["csrf"])
    assert browser.post("/v1/decisions", content=WHITE, headers={"X-CSRF-Token": csrf}).status_code == 403


def test_cookie_is_secure_if_the_origin_is_https(browser: httpx.Client) -> None:
    headers = {"Origin": "https://gate.example", "Host": "gate.example"}
    cookie = browser.post("/v1/session", json={"token": token_of("eva")}, headers=headers).headers["set-cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")
    cookie = browser.post("/v1/session", json={"token": token_of("eva")}).headers["set-cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Lax")


def test_page_without_a_session_redirects_to_the_login(browser: httpx.Client) -> None:
    answer = browser.get("/review?kind=audit&x=%2F%2Fevil")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/review%3Fkind%3Daudit%26x%3D%252F%252Fevil"
    # `next` is decoded once by the login page, and then the path by the service.
    assert browser.get("/decisions/a/50%25").headers["location"] == "/login?next=/decisions/a/50%2525"
    assert browser.get("/v1/operations").status_code == 401
    assert browser.post("/").status_code == 401


def test_page_without_the_required_scope_redirects_to_the_login_with_the_missing_scope(browser: httpx.Client) -> None:
    log_in(browser, "gen")
    assert browser.get("/").headers["location"] == "/login?next=/&missing=review"
    assert browser.get("/", headers=bearer("gen")).status_code == 403


def test_other_methods_have_a_route_label_of_their_own() -> None:
    with running_service() as service:
        for method in ("PATCH", "PUT", "DELETE", "OPTIONS"):
            assert service.client.request(method, "/v1/decisions").status_code == 405
        assert service.metric("lensgate_requests_total", route="/v1/decisions", status="405") == 0
        assert service.metric("lensgate_requests_total", route="GET /v1/decisions", status="405") == 4


def test_without_authentication_a_caller_has_every_scope() -> None:
    with running_service() as service:
        assert service.client.get("/v1/session").json() == {
            "access": "off",
            "name": "anonymous",
            "scopes": ["admin", "decide", "review"],
            "csrf": None,
        }
        assert service.post(WHITE).status_code == 200
        assert service.client.get("/metrics").status_code == 200
        assert service.client.post("/v1/session", json={"token": "x"}).status_code == 409


def test_without_authentication_cross_site_requests_are_403() -> None:
    with running_service() as service:
        host = urlsplit(service.url).netloc
        own = {"Origin": service.url, "Sec-Fetch-Site": "same-origin"}
        assert service.client.post("/v1/decisions", content=WHITE, headers=own).status_code == 200
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://evil.example:{urlsplit(service.url).port}", "Host": host},
        ):
            answer = service.client.post("/v1/decisions", content=WHITE, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), headers


def test_without_authentication_pages_of_other_sites_cannot_load_anything() -> None:
    with running_service() as service:
        for path in ("/v1/model", "/v1/review/dataset.tar", "/docs"):
            for mode in ("no-cors", "cors"):
                headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
                assert service.client.get(path, headers=headers).status_code == 403, (path, mode)
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        for headers in (link, own):
            assert service.client.get("/v1/model", headers=headers).status_code == 200
        probe = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert service.client.get("/livez", headers=probe).status_code == 200


def test_no_cache_keeps_an_answer(tmp_path: Path) -> None:
    with running_service(records_url=f"sqlite:///{tmp_path}/records.db") as service:
        assert service.post(WHITE).headers["cache-control"] == "no-store"
        for path in ("/v1/decisions", "/v1/decisions?format=csv", "/v1/review/dataset.tar", "/metrics", "/v2", "/nix"):
            assert service.client.get(path).headers["cache-control"] == "no-store", path
        assert service.client.get("/").headers["cache-control"] == "no-cache"


def test_without_authentication_a_rebound_host_name_is_403() -> None:
    rebound = {"Host": "evil.example:8000"}
    with running_service() as service:
        for path in ("/", "/v1/model", "/metrics", "/v1/session"):
            assert service.client.get(path, headers=rebound).status_code == 403
        from_page = {**rebound, "Origin": "http://evil.example:8000"}
        assert service.client.post("/v1/decisions", content=WHITE, headers=from_page).status_code == 403
        assert service.client.get("/livez", headers=rebound).status_code == 200
        assert service.client.get("/v1/model", headers={"Host": "localhost:8000"}).status_code == 200
        # No browser: it would have sent an Origin.
        assert service.client.post("/v1/decisions", content=WHITE, headers=rebound).status_code == 200


def test_without_authentication_a_public_service_accepts_addresses_and_allowed_hosts_only() -> None:
    rebound, named = {"Host": "evil.example:8000"}, {"Host": "gate:8000"}
    with running_service(allow_unauthenticated=True, allowed_hosts="gate") as service:
        for path in ("/v1/model", "/metrics", "/", "/v1/decisions"):
            answer = service.client.get(path, headers=rebound)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "LENSGATE_ALLOWED_HOSTS" in answer.json()["detail"]
        from_page = {**rebound, "Origin": "http://evil.example:8000"}
        assert service.client.post("/v1/decisions", content=WHITE, headers=from_page).status_code == 403
        for headers in (named, {"Host": "10.1.2.3:8000"}, {"Host": "localhost"}):
            assert service.client.get("/metrics", headers=headers).status_code == 200
        assert service.client.get("/readyz", headers=rebound).status_code == 200
    with running_service(allow_unauthenticated=True, allowed_hosts="*") as service:
        assert service.client.get("/v1/model", headers=rebound).status_code == 200
