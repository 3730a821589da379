"""TLS: bodies, refusals and renewals, on both event loops."""

import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.access.tls import Certificate, load_context
from service.errors import SettingsError
from service.inference.model_runner import LoadedModel
from service.metrics.access import CertificateMetrics
from service.runtime import Runtime, build_runtime
from service.server import Server
from service.settings import Settings
from tests.service.access.certificates import Files, make_certificate
from tests.support.attacks import connected, read_all
from tests.support.images import encode, flat
from tests.support.models import brightness_model
from tests.support.servers import TIMEOUT, FakeScorer, read_metric, wait_until

WHITE = encode(flat(255))
NOISE = encode(np.random.default_rng(1).integers(0, 256, (700, 700, 3), np.uint8))


@dataclass
class Secured:
    server: Server
    runtime: Runtime
    files: Files
    scorer: FakeScorer
    thread: threading.Thread

    @contextmanager
    def connected(self, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
        address = urlsplit(self.server.url)
        with (
            socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as plain,
            (context or self.files.trust()).wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            yield connection

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, verify=self.files.trust(), timeout=TIMEOUT, trust_env=False)

    def stop(self) -> None:
        if not self.server.should_exit:
            self.server.handle_exit(signal.SIGTERM, None)
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()


@contextmanager
def secured(folder: Path, loop: str = "uvloop", **settings: object) -> Iterator[Secured]:
    files = make_certificate(folder)
    chosen = Settings(port=0, records_url="off", tls_certificate=files.certificate, tls_key=files.key, **settings)
    scorer = FakeScorer()
    runtime = build_runtime(chosen, LoadedModel(brightness_model().card, scorer, "fake"))
    server = Server(chosen, runtime)
    server.config.loop = loop
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    running = Secured(server, runtime, files, scorer, thread)
    try:
        yield running
    finally:
        scorer.go.set()
        running.stop()


def head(length: int, path: str = "/v1/decisions") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def received(connection: ssl.SSLSocket, until: bytes = b"}", *, times: int = 1) -> bytes:
    answer = b""
    while answer.count(until) < times:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_large_images_are_decided_on_one_connection(tmp_path: Path, loop: str) -> None:
    assert len(NOISE) > 1_400_000
    with secured(tmp_path, loop) as service, service.client() as client:
        assert service.server.url.startswith("https://127.0.0.1:")
        found = [client.post("/v1/decisions", content=body) for body in (NOISE, WHITE, NOISE, WHITE)]
        assert [answer.status_code for answer in found] == [200] * 4
        values = [answer.json()["glasses_probability"] for answer in found]
        assert values[1] == values[3] == 1.0
        assert values[0] == values[2] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("piece", [1000, 70_000, 10**9])
def test_body_in_any_pieces_is_complete_and_so_is_the_next_request(tmp_path: Path, loop: str, piece: int) -> None:
    sent = b"".join(head(len(body)) + body for body in (NOISE, WHITE, NOISE))
    with secured(tmp_path, loop) as service, service.connected() as connection:
        for start in range(0, len(sent), piece):
            connection.sendall(sent[start : start + piece])
        answers = received(connection, b'"model"', times=3)
    assert answers.count(b"HTTP/1.1 200 ") == 3


def test_refused_body_is_discarded_and_the_connection_stays_open(tmp_path: Path, loop: str) -> None:
    with secured(tmp_path, loop, max_body_bytes=10_000) as service, service.connected() as connection:
        for _ in range(2):
            connection.sendall(head(3_000_000))
            assert received(connection).startswith(b"HTTP/1.1 413 ")
            connection.sendall(bytes(3_000_000) + head(len(WHITE)) + WHITE)
            assert received(connection, b'"model"').startswith(b"HTTP/1.1 200 ")


def test_body_abandoned_in_the_middle_closes_the_connection(tmp_path: Path, loop: str) -> None:
    with secured(tmp_path, loop, timeout_ms=1_500) as service, service.connected() as connection:
        connection.sendall(head(1_000_000) + bytes(300_000))
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"connection: close" in answer
        with service.client() as client:
            assert client.post("/v1/decisions", content=WHITE).status_code == 200


def test_disconnected_caller_releases_its_permit(tmp_path: Path, loop: str) -> None:
    with secured(tmp_path, loop) as service:
        admission = service.runtime.admission
        for sent in (head(1_000_000) + bytes(300_000), head(len(WHITE)) + WHITE):
            service.scorer.go.clear()
            with service.connected() as connection:
                connection.sendall(sent)
                wait_until(lambda: admission.images == 1)
            wait_until(lambda: admission.images == 0)
            service.scorer.go.set()


def test_a_batch_is_answered_while_it_comes(tmp_path: Path, loop: str) -> None:
    files = [("file", (f"{number}.png", NOISE if number % 2 else WHITE)) for number in range(12)]
    with secured(tmp_path, loop) as service, service.client() as client:
        lines = client.post("/v1/decisions/batch", files=files).text.splitlines()
    assert len(lines) == 13
    assert lines[-1] == '{"summary":{"accept":6,"discard":6,"error":0}}'


def test_a_head_that_is_too_long_is_answered(tmp_path: Path, loop: str) -> None:
    with secured(tmp_path, loop) as service, service.connected() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert received(connection).startswith(b"HTTP/1.1 431 ")


def test_a_request_without_tls_is_told_to_use_it(tmp_path: Path, loop: str) -> None:
    with secured(tmp_path, loop) as service:
        url = service.server.url.replace("https", "http")
        for body in (b"", NOISE * 20):
            answer = httpx.post(f"{url}/v1/decisions", content=body, trust_env=False, timeout=TIMEOUT)
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
            assert "use https://" in answer.json()["detail"]
        with service.client() as client:
            assert client.get("/livez").status_code == 200


def test_a_header_of_the_proxy_protocol_is_named(tmp_path: Path, loop: str) -> None:
    with secured(tmp_path, loop) as service:
        for header in (b"PROXY TCP4 10.0.0.1 10.0.0.2 51000 8000\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0"):
            with connected(service.server.url) as connection:
                connection.sendall(header + b"\x16\x03\x01")
                assert b"a header of the PROXY protocol" in read_all(connection)


def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    with secured(tmp_path) as service:
        old = service.files.trust()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError), service.connected(old):
            pass
        with service.connected() as connection:
            assert connection.version() == "TLSv1.3"


def test_shutdown_does_not_wait_for_idle_connections(
    tmp_path: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    with secured(tmp_path, loop) as service, service.connected() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received(connection)
        service.stop()
    assert "timeout graceful shutdown exceeded" not in caplog.text


def test_a_session_by_tls_has_a_secure_cookie(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "eva"\nsha256 = "{_HASH_OF_X}"\nscopes = ["review"]\n')
    with secured(tmp_path, tokens=tokens) as service, service.client() as client:
        assert client.post("/v1/session", json={"token": "x"}).headers["set-cookie"].endswith("; Secure")
        assert client.get("/v1/session").json()["name"] == "eva"


_HASH_OF_X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(tmp_path: Path, loop: str) -> None:
    (tmp_path / "new").mkdir()
    with secured(tmp_path, loop) as service, service.client() as old_client:
        assert old_client.get("/livez").status_code == 200
        renewed = make_certificate(tmp_path / "new")
        # The key first, as anyone may do: for a moment the two do not belong together.
        shutil.copy(renewed.key, service.files.key)
        wait_until(lambda: read_metric(old_client, "lensgate_certificate_load_failed") == 1)
        with service.connected():
            pass
        shutil.copy(renewed.certificate, service.files.certificate)
        wait_until(lambda: read_metric(old_client, "lensgate_certificate_load_failed") == 0)
        with service.connected(renewed.trust()) as connection:
            connection.sendall(head(len(WHITE)) + WHITE)
            assert received(connection, b'"model"').startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("days", "text"), [(0, "expires on"), (3, "expired on"), (-30, "")])
def test_the_log_and_a_metric_tell_of_a_certificates_end(
    tmp_path: Path, days: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    files, registry = make_certificate(tmp_path), CollectorRegistry()
    now = time.time()
    Certificate(
        files.certificate, files.key, metrics=CertificateMetrics(registry), clock=lambda: now + days * 86_400
    ).load()
    end = registry.get_sample_value("lensgate_certificate_end_timestamp_seconds")
    assert end == pytest.approx(now + 2 * 86_400, abs=TIMEOUT)
    assert [text in line for line in caplog.messages if str(files.certificate) in line] == [True, True] * bool(text)


@pytest.mark.parametrize(("days", "lines"), [(0, 2), (-30, 0)])
def test_the_log_tells_of_the_end_of_an_issuers_certificate(
    tmp_path: Path, days: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    files, issuer = make_certificate(tmp_path), make_certificate(tmp_path, "issuer")
    files.certificate.write_bytes(files.certificate.read_bytes() + issuer.certificate.read_bytes())
    now = time.time() + days * 86_400
    Certificate(files.certificate, files.key, metrics=CertificateMetrics(CollectorRegistry()), clock=lambda: now)
    of_issuer = [f"certificate 2 in {files.certificate}, of an issuer, ends on" in line for line in caplog.messages]
    assert of_issuer == [False, True][:lines]


def test_a_certificate_that_cannot_be_used_keeps_it_from_starting(tmp_path: Path) -> None:
    one, other = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "other")
    locked = make_certificate(tmp_path, "locked", is_locked=True)
    rsa, weak = (make_certificate(tmp_path, kind, kind=kind) for kind in ("rsa:2048", "rsa:1024"))
    (tmp_path / "text").write_text("text")
    for certificate, key, named in (
        (one.certificate, other.key, "another certificate"),
        (one.certificate, tmp_path / "absent", "LENSGATE_TLS_KEY"),
        (rsa.certificate, one.key, "another certificate"),
        (weak.certificate, weak.key, "key too small"),
        (tmp_path, one.key, "LENSGATE_TLS_CERTIFICATE"),
        (tmp_path / "text", one.key, "must be PEM files"),
        (one.key, one.certificate, "the first with the certificate"),
        (locked.certificate, locked.key, "without a password"),
    ):
        with pytest.raises(SettingsError, match=named):
            load_context(certificate, key)
