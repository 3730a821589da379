"""Faults that prevent listening are reported before a model is loaded."""

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.errors import SettingsError
from service.http.ports import bind_port, check_ports, reserve_port
from service.settings import Settings
from tests.support.servers import running_service


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_named_with_its_setting(taken: int) -> None:
    with pytest.raises(SettingsError, match=f"LENSGATE_PORT={taken}: Address already in use"):
        check_ports(Settings(port=taken))
    with pytest.raises(SettingsError, match=f"LENSGATE_METRICS_PORT={taken}: Address already in use"):
        check_ports(Settings(port=0, metrics_port=taken))


@pytest.mark.parametrize("host", ["..", "a" * 70, "192.0.2.1", "::ffff:0:0:0:1"])
def test_an_address_that_is_not_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match="LENSGATE_HOST="):
        check_ports(Settings(host=host, port=0))


def test_equal_ports_are_an_error() -> None:
    with pytest.raises(SettingsError, match="both 8000"):
        check_ports(Settings(port=8000, metrics_port=8000))
    check_ports(Settings(port=0, metrics_port=0))


def test_a_port_that_was_looked_at_can_be_listened_on() -> None:
    with running_service() as service:
        port = service.server.servers[0].sockets[0].getsockname()[1]
        with pytest.raises(SettingsError, match="already in use"):
            check_ports(Settings(port=port))
    check_ports(Settings(port=port))
    with running_service() as service:
        assert service.client.get("/livez").status_code == 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the machine has no IPv6")
def test_all_addresses_are_those_of_both_families() -> None:
    with running_service(host="::", metrics_port=0, allow_unauthenticated=True) as service:
        for url in (service.url, service.server.metrics_url or ""):
            port = urlsplit(url).port
            for host in ("127.0.0.1", "[::1]"):
                assert service.client.get(f"http://{host}:{port}/livez").status_code in (200, 404)
        with pytest.raises(SettingsError, match="already in use"):
            check_ports(Settings(host="::", port=urlsplit(service.url).port))


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of localhost; a test adds to them."""
    addresses = ["127.0.0.1"]
    find = socket.getaddrinfo

    def found(host: Any, port: Any, *given: Any, **named: Any) -> list[Any]:
        hosts = addresses if host == "localhost" else (host,)
        return [each for one in hosts for each in find(one, port, *given, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return addresses


def test_the_port_of_the_metrics_has_all_addresses_of_the_host(addresses: list[str]) -> None:
    addresses.append("127.0.0.2")
    with running_service(host="localhost", metrics_port=0) as service:
        port = urlsplit(service.server.metrics_url or "").port
        for address in addresses:
            assert service.client.get(f"http://{address}:{port}/readyz").status_code == 200


def test_an_address_of_a_name_that_the_machine_lacks_is_left_out(addresses: list[str]) -> None:
    # As ::1 in a container without IPv6.
    addresses.insert(0, "192.0.2.1")
    check_ports(Settings(host="localhost", port=0))
    (held,), port = reserve_port("localhost", 0)
    with held:
        (listener,) = bind_port("localhost", port, share=True)
        with listener:
            assert listener.getsockname() == ("127.0.0.1", port)


def test_a_port_that_is_taken_at_one_address_of_a_name_is_an_error(taken: int, addresses: list[str]) -> None:
    addresses.insert(0, "127.0.0.2")
    with pytest.raises(SettingsError, match="already in use"):
        check_ports(Settings(host="localhost", port=taken))
