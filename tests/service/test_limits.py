"""Every route of both ports, with every method: no body is read without a limit in bytes and in time."""

import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.api.health import make_probe_server
from tests.support.attacks import Outcome, connected, read_all, send
from tests.support.servers import Running, running_service, wait_until

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
PARTS = {"name": "glasses", "version": "1", "region": "x", "action": "register"}
UNKNOWN = ("/nothing", "/v1/nothing", "/v2/nothing", "/static/nothing", "/v1/decisions/batch/", "//")
CHUNK = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
REFUSED = {400, 404, 405, 408, 413, 415, 417, 429, 503, 504}


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service(
        metrics_port=0, timeout_ms=300, max_body_bytes=100_000, max_tensor_bytes=200_000, max_share_per_caller=1.0
    ) as running:
        yield running


def paths(app: Any) -> set[str]:
    routes = app.methods.paths
    known = {re.sub(r"{(\w+)}", lambda part: PARTS.get(part[1], "x"), path) for path in routes}
    assert known
    return {*known, *UNKNOWN}


def targets(service: Running) -> list[tuple[str, str, str]]:
    """The address, the method and the path of every request that there is."""
    probes = make_probe_server(service.runtime)
    assert probes is not None
    assert service.server.metrics_url is not None
    ports = ((service.url, service.server.config.app), (service.server.metrics_url, probes.config.app))
    return [(url, method, path) for url, app in ports for path in sorted(paths(app)) for method in METHODS]


def ask_all(service: Running, framing: bytes, piece: bytes = b"") -> dict[tuple[str, str, str], Outcome]:
    def ask(target: tuple[str, str, str]) -> Outcome:
        url, method, path = target
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n".encode()
        return send(url, head + framing, piece)

    wanted = targets(service)
    assert len(wanted) > 200
    with ThreadPoolExecutor(64) as pool:
        return dict(zip(wanted, pool.map(ask, wanted), strict=True))


def test_a_body_that_is_announced_too_large_is_refused_unread(service: Running) -> None:
    for target, found in ask_all(service, b"Content-Length: 1000000000\r\n\r\n").items():
        assert found.status in REFUSED - {408, 429, 503, 504}, (target, found)


def test_a_body_without_an_end_is_refused_before_much_of_it_has_come(service: Running) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for target, found in ask_all(service, b"Transfer-Encoding: chunked\r\n\r\n", CHUNK).items():
        assert found.status in REFUSED - {408, 504}, (target, found)
        assert found.sent < 20_000_000, (target, found)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000
    wait_until(lambda: service.inflight == 0)


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_that_never_comes_is_not_waited_for(service: Running, framing: bytes) -> None:
    for target, found in ask_all(service, framing).items():
        assert found.status in REFUSED, (target, found)
        assert found.seconds < 60, (target, found)
    wait_until(lambda: service.inflight == 0)


def test_a_body_that_is_slower_than_the_deadline_is_told_so(service: Running) -> None:
    with connected(service.url) as connection:
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"the body did not arrive within 300 ms: send it faster, or allow more time" in answer


def test_a_get_with_a_small_body_is_answered_and_so_is_what_follows_it(service: Running) -> None:
    for _ in range(2):
        assert service.client.request("GET", "/v1/model", content=b"{}").status_code == 200


def test_every_405_names_all_methods_of_its_path(service: Running) -> None:
    for url, method, path in targets(service):
        answer = service.client.request(method, url + path)
        if answer.status_code == 405:
            allowed = answer.headers["allow"].split(", ")
            assert method not in allowed
            assert allowed == sorted(set(allowed)) != []
            for other in allowed:
                assert service.client.request(other, url + path).status_code != 405, (path, other)
    for method in ("PUT", "OPTIONS"):
        assert service.client.request(method, "/v1/decisions").headers["allow"] == "GET, HEAD, POST"


def test_head_is_answered_as_get_without_a_body(service: Running) -> None:
    """Monitors and some load balancers check by HEAD."""
    for url, method, path in targets(service):
        if method == "GET":
            whole, head = (service.client.request(method, url + path) for method in ("GET", "HEAD"))
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("POST", "/v1/decisions/", "not_found"), ("POST", "/v1/model", "method_not_allowed")],
)
def test_a_large_body_does_not_hide_that_the_path_or_the_method_is_wrong(
    service: Running, method: str, path: str, code: str
) -> None:
    for body in (bytes(90_000), iter([bytes(90_000)])):
        assert service.client.request(method, path, content=body).json()["code"] == code
