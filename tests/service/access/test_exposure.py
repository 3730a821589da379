"""Where it may listen without tokens."""

from pathlib import Path

import pytest

from lensgate.cli import main
from service.access.exposure import allowed_hosts, check_exposure
from service.errors import Forbidden, SettingsError
from service.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_address_needs_no_authentication(host: str) -> None:
    check_exposure(Settings(host=host))
    hosts = allowed_hosts(Settings(host=host))
    assert hosts is not None
    hosts.check("127.0.0.1:8000")
    with pytest.raises(Forbidden):
        hosts.check("192.0.2.1:8000")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "gate.example", "localhost.example"])
def test_public_address_needs_tokens_or_explicit_permission(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)lensgate tokens add.*LENSGATE_ALLOW_UNAUTHENTICATED"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, tokens=tmp_path / "tokens.toml"))
    check_exposure(Settings(host=host, allow_unauthenticated=True))
    hosts = allowed_hosts(Settings(host=host, allow_unauthenticated=True))
    assert hosts is not None
    hosts.check("192.0.2.1:8000")
    with pytest.raises(Forbidden):
        hosts.check("evil.example:8000")


def test_with_tokens_host_names_are_checked_only_if_configured(tmp_path: Path) -> None:
    assert allowed_hosts(Settings(tokens=tmp_path / "tokens.toml")) is None
    hosts = allowed_hosts(Settings(tokens=tmp_path / "tokens.toml", allowed_hosts="gate.example, gate"))
    assert hosts is not None
    hosts.check("gate:8000")
    with pytest.raises(Forbidden):
        hosts.check("evil.example:8000")


def test_the_service_refuses_to_start_in_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lensgate: LENSGATE_HOST=0.0.0.0 is reachable")
