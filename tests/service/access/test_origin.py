"""Cross-site requests, and host names of other machines."""

import pytest

from service.access.origin import AllowedHosts, check_origin, is_loopback, is_same_host
from service.errors import Forbidden


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://localhost", "localhost:80"),
        ("https://gate.example", "gate.example"),
        ("https://gate.example:443", "GATE.example"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_a_page_of_the_same_host(origin: str, host: str) -> None:
    assert is_same_host(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "127.0.0.1:8000"),
        ("http://127.0.0.1:9000", "127.0.0.1:8000"),
        ("http://127.0.0.1.evil.example:8000", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000@evil.example", "127.0.0.1:8000"),
        ("null", "127.0.0.1:8000"),
        ("null", ""),
        ("", ""),
        ("http://", ""),
        ("http://[", "["),
        ("http://x:port", "x:port"),
        ("file://", "127.0.0.1"),
    ],
)
def test_origin_of_another_host_is_forbidden(origin: str, host: str) -> None:
    assert not is_same_host(origin, host)
    with pytest.raises(Forbidden):
        check_origin(origin=origin, site=None, host=host)


def test_a_proxy_that_drops_the_port_is_told_to_keep_it() -> None:
    with pytest.raises(Forbidden, match=r"with its port \(in nginx: proxy_set_header Host \$http_host\)"):
        check_origin(origin="https://gate.example:8443", site="same-origin", host="gate.example")


def test_a_null_origin_is_not_blamed_on_the_host() -> None:
    with pytest.raises(Forbidden, match="the Origin is null, as for a file"):
        check_origin(origin="null", site="same-origin", host="127.0.0.1:8000")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_sec_fetch_site_of_another_site_is_forbidden(site: str) -> None:
    with pytest.raises(Forbidden, match="send it from a program, or open this service's own pages"):
        check_origin(origin=None, site=site, host="127.0.0.1")
    check_origin(origin=None, site="same-origin", host="127.0.0.1")
    check_origin(origin=None, site="none", host="127.0.0.1")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "127.9.9.9", "localhost:1", "localhost.:1", "x.localhost", "[::1]:8000"],
)
def test_loopback_hosts_are_allowed(host: str) -> None:
    AllowedHosts([], addresses_pass=False).check(host)


@pytest.mark.parametrize(
    "host",
    ["", ".", "..", "localhost..", "x", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "["],
)
def test_foreign_hosts_are_forbidden(host: str) -> None:
    with pytest.raises(Forbidden, match=r"127\.0\.0\.1 or localhost"):
        AllowedHosts([], addresses_pass=False).check(host)


@pytest.mark.parametrize("host", ["gate:8000", "GATE", "gate.:8000", "192.0.2.1:8000", "[2001:db8::1]", "127.0.0.1"])
def test_configured_names_and_addresses_are_allowed(host: str) -> None:
    AllowedHosts(["Gate"], addresses_pass=True).check(host)
    AllowedHosts(["gate."], addresses_pass=True).check(host)
    AllowedHosts(["*"], addresses_pass=False).check(host)
    with pytest.raises(Forbidden, match=r"add 'evil\.example' to LENSGATE_ALLOWED_HOSTS"):
        AllowedHosts(["gate"], addresses_pass=True).check("evil.example:8000")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "gate", "::ffff:127.0.0.1"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
