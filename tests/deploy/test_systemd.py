"""The systemd unit, checked by systemd's own parser and by the service's settings; no service manager runs it."""

from configparser import RawConfigParser
from pathlib import Path

from service.access.exposure import check_exposure
from service.settings import Settings

from .tools import ROOT, output

UNIT = ROOT / "deploy/systemd/lensgate.service"
PREFIX = "/opt/lensgate"


def settings_in_unit() -> dict[str, str]:
    lines = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("Environment=")]
    return dict(line.split("=", 1) for line in lines)


def section(name: str) -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.read(UNIT)
    return dict(parser[name])


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    command = tmp_path / "opt/.venv/bin/lensgate"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PREFIX, str(tmp_path / "opt")))
    output("systemd-analyze", "verify", "--man=no", str(unit))


def test_settings_of_the_unit_let_the_service_listen_on_every_address() -> None:
    given = settings_in_unit()
    assert given.keys() <= set(Settings.variables().values())
    settings = Settings.load({}, given)
    check_exposure(settings)
    assert settings.host == "0.0.0.0"


def test_the_stop_has_time_to_drain_and_to_write_the_records() -> None:
    drain = Settings().timeout_ms / 1000 + 1
    assert int(section("Service")["timeoutstopsec"]) > drain + 5


def test_a_worker_killed_for_its_memory_does_not_end_the_other_workers() -> None:
    assert section("Service")["oompolicy"] == "continue"


def test_paths_that_the_service_writes_are_in_its_state_folder() -> None:
    service = section("Service")
    folder = f"/var/lib/{service['statedirectory']}"
    assert service["workingdirectory"] == folder
    assert settings_in_unit()["LENSGATE_RECORDS_URL"].startswith(f"sqlite:///{folder}/")
