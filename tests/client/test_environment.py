"""Proxies and certificates of the environment, and gate objects on a second event loop."""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.request import getproxies_environment

import httpx
import pytest
from lensgate_client import AsyncGate, Gate, GateError, GateUnreachable, Retries
from lensgate_client._http import environment
from lensgate_client._http.environment import find_certificates, find_proxy

from tests.client.faulty_server import faulty_server, respond_correctly, response
from tests.client.support import FILE, URL, ScriptedGate
from tests.client.test_faulty_servers import plain
from tests.service.access.certificates import make_certificate
from tests.support.servers import running_service

UNUSED = "http://127.0.0.1:9"
"""The port of the discard service, which is not offered."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_"):
            monkeypatch.delenv(name)


def proxy_of(url: str) -> str | None:
    found = find_proxy(httpx.URL(url))
    return None if found is None else str(found.url)


def test_the_scheme_of_the_gate_selects_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_of("http://gate.test") is None
    monkeypatch.setenv("ALL_PROXY", "all.test:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.test")
    assert proxy_of("http://gate.test") == "http://all.test:3128"
    assert proxy_of("https://gate.test") == "http://secure.test"


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("*", "http://gate.test"),
        ("other.test, gate.test", "http://gate.test:8000"),
        ("GATE.test", "https://Gate.test"),
        ("test", "http://gate.test"),
        (".test", "http://gate.test"),
        ("*.test", "http://gate.test"),
        ("gate.test:8000", "http://gate.test:8000"),
        ("gate.test:80", "http://gate.test"),
        ("http://gate.test", "http://gate.test"),
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("10.0.0.0/8", "http://10.1.2.3"),
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("xn--bro-hoa.test", "http://büro.test"),
        ("fd07:b51a:cc66:f0::/64", "http://[fd07:b51a:cc66:f0::7]"),
    ],
)
def test_no_proxy_lists_names_addresses_and_networks(monkeypatch: pytest.MonkeyPatch, listed: str, url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test")
    assert proxy_of(url) == "http://proxy.test"
    monkeypatch.setenv("NO_PROXY", listed)
    assert proxy_of(url) is None


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("", "http://gate.test"),
        ("gate.test", "http://notgate.test"),
        ("gate.test:8001", "http://gate.test:8000"),
        ("[::1]:8001", "http://[::1]:8000"),
        ("https://gate.test", "http://gate.test"),
        ("10.0.0.0/8,fc00::/7", "http://11.1.2.3"),
        ("http://[,:,::::,a:b:c,/", "http://gate.test"),
    ],
)
def test_no_proxy_that_lists_other_hosts_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, listed: str, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test")
    monkeypatch.setenv("NO_PROXY", listed)
    assert proxy_of(url) == "http://proxy.test"


@pytest.mark.parametrize(
    ("url", "variables", "proxy"),
    [
        ("http://gate.test", {}, "http://system.test:3128"),
        ("http://gate.local:8000", {}, None),
        ("http://[::1]:8000", {}, None),
        ("http://gate.local", {"HTTP_PROXY": "http://proxy.test"}, "http://proxy.test"),
        ("http://gate.test", {"NO_PROXY": "other.test"}, None),
    ],
)
def test_the_settings_of_windows_and_macos_have_exclusions_too(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], proxy: str | None
) -> None:
    """Python reads them, each as a function of its own, if no variable names a proxy."""
    monkeypatch.setattr(
        environment, "getproxies", lambda: getproxies_environment() or {"http": "http://system.test:3128"}
    )
    monkeypatch.setattr(environment, "proxy_bypass", lambda host: host in ("gate.local:8000", "[::1]:8000"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


def test_a_proxy_of_the_system_that_httpx_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "getproxies", lambda: {"http": "socks4://system.test:1080"})
    with pytest.raises(ValueError, match="the http proxy of the system's settings is not the URL of a proxy"):
        proxy_of("http://gate.test")


@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_a_gate_object_is_made_whatever_no_proxy_lists(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,::1,[::1],fc00::/7,fe80::/10")
    assert repr(kind("http://gate.test")) == f"{kind.__name__}('http://gate.test')"


@pytest.mark.parametrize(
    "proxy", ["ftp://proxy.test", "http://me:secret@proxy.test:x", "socks4://me:secret@proxy.test"]
)
def test_what_is_no_proxy_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ValueError, match="the variable HTTP_PROXY is not the URL of a proxy") as caught:
        Gate("http://gate.test")
    assert "secret" not in str(caught.value)
    Gate("http://gate.test", transport=httpx.MockTransport(lambda _: httpx.Response(200))).close()


@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_a_socks_proxy_without_its_package_is_named_with_two_remedies(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lensgate_client._http.environment.find_spec", lambda _: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@proxy.test:1080")
    with pytest.raises(ValueError, match=r"ALL_PROXY names a SOCKS proxy.*httpx\[socks\].*NO_PROXY") as caught:
        kind("http://gate.test")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "gate.test")
    assert proxy_of("http://gate.test") is None


def test_an_unreachable_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", UNUSED.replace("//", "//me:secret@"))
    with (
        Gate("http://gate.test", retries=Retries(longest_outage=0.0)) as gate,
        pytest.raises(GateUnreachable, match=f"through the proxy {UNUSED} of the environment: NO_PROXY") as caught,
    ):
        gate.decide(FILE)
    assert "secret" not in str(caught.value)


def test_a_gate_is_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_server(respond_correctly) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        with Gate("http://gate.test:8000") as gate:
            assert gate.decide(FILE).accepted
        assert [request.target.partition("?")[0] for request in server.seen] == ["http://gate.test:8000/v1/decisions"]


@pytest.mark.parametrize("kind", [Gate, AsyncGate])
@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "200 OK"])
def test_a_proxy_that_answers_itself_is_named_without_its_password(
    kind: Any, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_server(plain(response(b"<h1>blocked</h1>", status=status))) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//me:secret@"))
        monkeypatch.setenv("HTTPS_PROXY", server.url.replace("//", "//me:secret@"))
        for url in ("http://gate.test", "https://gate.test"):
            if url.startswith("https") and status.startswith("200"):
                continue  # The tunnel is open, and TLS fails in it.
            with pytest.raises(GateError, match=f"through the proxy {server.url} of the environment") as caught:
                _decide(kind(url, retries=Retries(longest_outage=0.0)))
            assert "secret" not in str(caught.value)
            assert status[:3] in str(caught.value) or status.startswith("200")


def _decide(gate: Any) -> None:
    if isinstance(gate, Gate):
        with gate:
            gate.decide(FILE)
        return

    async def decide() -> None:
        async with gate:
            await gate.decide(FILE)

    asyncio.run(decide())


def test_certificates_that_cannot_be_loaded_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    assert find_certificates(httpx.URL("http://gate.test")).verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        Gate("https://gate.test")


@pytest.mark.debian
def test_a_tls_handshake_that_cannot_succeed_is_told_what_to_do(tmp_path: Path) -> None:
    def wrong(url: str) -> str:
        with Gate(url, retries=Retries(longest_outage=0.0)) as gate, pytest.raises(GateUnreachable) as caught:
            gate.decide(FILE)
        return str(caught.value)

    files = make_certificate(tmp_path)
    with running_service(tls_certificate=files.certificate, tls_key=files.key) as service:
        assert "SSL_CERT_FILE names the file of its CA" in wrong(service.url)
    with running_service() as service:
        assert "the port does not take TLS: use http://" in wrong(service.url.replace("http:", "https:"))


def test_a_second_event_loop_is_refused_and_closing_on_it_is_not() -> None:
    scripted = ScriptedGate()
    gate = AsyncGate(URL, transport=httpx.MockTransport(scripted))

    async def decide() -> bool:
        return (await gate.decide(FILE)).accepted

    assert asyncio.run(decide())
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"create one for each asyncio\.run"):
            asyncio.run(decide())
    asyncio.run(gate.close())
    assert len(scripted.paths) == 1
