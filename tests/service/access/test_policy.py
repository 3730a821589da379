"""The table of paths: no endpoint is forgotten, and no spelling of a path slips past it."""

import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from service.access.policy import Open, need_of
from service.access.principal import Scope
from tests.service.access.keys import bearer, write_tokens
from tests.support.servers import TIMEOUT, Running, running_service


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/livez", Open.TO_ALL),
        ("HEAD", "/readyz", Open.TO_ALL),
        ("GET", "/v2/health/live", Open.TO_ALL),
        ("GET", "/login", Open.TO_ALL),
        ("GET", "/static/api.js", Open.TO_ALL),
        ("POST", "/v1/session", Open.TO_ALL),
        ("DELETE", "/v1/session", Open.TO_KNOWN),
        ("GET", "/metrics", Open.TO_KNOWN),
        ("GET", "/v2/models/glasses/ready", Open.TO_KNOWN),
        ("GET", "/v2/systemsharedmemory/status", Open.TO_KNOWN),
        ("GET", "/", Scope.REVIEW),
        ("GET", "/decisions/a/b", Scope.REVIEW),
        ("GET", "/v1/decisions", Scope.REVIEW),
        ("GET", "/v1/sources", Scope.REVIEW),
        ("GET", "/v1/decisions/01J/image", Scope.REVIEW),
        ("PUT", "/v1/review/verdicts/01J", Scope.REVIEW),
        ("POST", "/v1/decisions", Scope.DECIDE),
        ("POST", "/v2/models/glasses/infer", Scope.DECIDE),
        ("POST", "/v2/systemsharedmemory/region/x/register", Scope.ADMIN),
        ("POST", "/v2/systemsharedmemory/region/a\nb/register", Scope.ADMIN),
        ("POST", "/livez", Scope.ADMIN),
        ("OPTIONS", "/v1/decisions", Scope.ADMIN),
        ("POST", "/static/x", Scope.ADMIN),
        ("POST", "/v1/decisions/", Scope.ADMIN),
        ("GET", "//livez", Scope.ADMIN),
        ("GET", "/livez\n", Scope.ADMIN),
        ("GET", "/anything", Scope.ADMIN),
        ("TRACE", "/v1/review/x", Scope.ADMIN),
    ],
)
def test_request_requires_the_scope_of_its_path(method: str, path: str, need: Scope | Open) -> None:
    assert need_of(method, path) is need


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    entries = {"boss": 'scopes = ["admin"]', "gen": 'scopes = ["decide"]', "eva": 'scopes = ["review"]'}
    path = write_tokens(tmp_path_factory.mktemp("access") / "tokens.toml", entries)
    with running_service(tokens=path) as running:
        yield running


def test_no_documented_operation_is_left_to_the_default(service: Running) -> None:
    paths = service.client.get("/openapi.json", headers=bearer("boss")).json()["paths"]
    operations = [(method.upper(), re.sub(r"{\w+}", "x", path)) for path, entry in paths.items() for method in entry]
    left = {(method, path) for method, path in operations if need_of(method, path) is Scope.ADMIN}
    assert len(operations) > 10
    assert {path.split("/")[2] for _, path in left} <= {"systemsharedmemory"}


def test_without_a_token_no_documented_operation_but_the_open_ones_is_answered(service: Running) -> None:
    paths = service.client.get("/openapi.json", headers=bearer("boss")).json()["paths"]
    for path, entry in paths.items():
        for method in entry:
            target = re.sub(r"{\w+}", "x", path)
            if need_of(method.upper(), target) is not Open.TO_ALL:
                answer = service.client.request(method, target, content=b"x")
                assert answer.status_code in (401, 303), (method, path)


def ask(service: Running, line: str, *headers: str) -> bytes:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        head = "\r\n".join([line, "Host: 127.0.0.1", "Connection: close", *headers, "", ""])
        connection.sendall(head.encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/model HTTP/1.1",
        "GET /v1/%6dodel HTTP/1.1",
        "GET //v1/model HTTP/1.1",
        "GET /v1//model HTTP/1.1",
        "GET /v1/model/ HTTP/1.1",
        "GET /v1/model%0a HTTP/1.1",
        "GET /v1/model%00 HTTP/1.1",
        "GET /v1/model;x HTTP/1.1",
        "GET /livez/../v1/model HTTP/1.1",
        "GET /static/../v1/model HTTP/1.1",
        "GET /static/%2e%2e/v1/model HTTP/1.1",
        "GET /static/..%2fv1/model HTTP/1.1",
        "GET http://127.0.0.1/v1/model HTTP/1.1",
        "GET http://127.0.0.1/livez/../v1/model HTTP/1.1",
        "HEAD /v1/model HTTP/1.1",
        "OPTIONS /v1/model HTTP/1.1",
        "GET /v1/model HTTP/1.0",
        "GET /V1/MODEL HTTP/1.1",
    ],
)
def test_no_spelling_of_a_path_comes_past_the_token(service: Running, line: str) -> None:
    status = int(ask(service, line).split()[1])
    # A path below /static/ without a file is a 404.
    assert status in ((404,) if " /static/" in line else (401,))


@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override: GET",
        "X-Original-URL: /livez",
        "X-Rewrite-URL: /livez",
        "X-Forwarded-Prefix: /static",
        "Authorization: Bearer",
        "Authorization: Bearer  ",
        "Authorization: Basic Z2VuOng=",
        "Authorization: bearer lensgate_unknown",
        "Cookie: lensgate_session=",
        "Cookie: lensgate_session=gen:99999999999:x:y",
    ],
)
def test_no_header_opens_a_path(service: Running, header: str) -> None:
    answer = ask(service, "GET /v1/model HTTP/1.1", header)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"www-authenticate: Bearer" in answer


def test_a_websocket_is_not_opened(service: Running) -> None:
    answer = ask(
        service,
        "GET /v1/model HTTP/1.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"application/problem+json" in answer
