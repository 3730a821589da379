import argparse
from pathlib import Path

import pytest

from gate import Band
from gate.card import CardBand
from service.errors import SettingsError
from service.settings import Settings


def test_a_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    environment = {"LENSGATE_PORT": "1111", "LENSGATE_HOST": "0.0.0.0", "OTHER": "x"}
    settings = Settings.load({"port": "2222", "device": None}, environment)
    assert (settings.port, settings.host, settings.device) == (2222, "0.0.0.0", "auto")


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert Settings.load({}, {"LENSGATE_BAND_LOW": ""}).band_low is None


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        ({}, {"LENSGATE_PORT": "many"}, "LENSGATE_PORT"),
        ({"port": "-1"}, {"LENSGATE_PORT": "8000"}, "--port"),
        ({"max_batch_size": "0"}, {}, "--max-batch-size"),
        ({}, {"LENSGATE_DEVICE": "tpu"}, "LENSGATE_DEVICE"),
        ({}, {"LENSGATE_HOST": "0.0.0.0:8000"}, "LENSGATE_HOST: '0.0.0.0:8000' is not a host"),
        ({"host": ""}, {}, "--host: the value is empty"),
        ({"tokens": ""}, {}, "--tokens: the value is empty"),
        ({"host": "http://localhost"}, {}, "--host: 'http://localhost' is not a host"),
        ({"host": "[::1]"}, {}, "--host: .* is not a host: write an address"),
        (
            {},
            {"LENSGATE_PORT": "tcp://10.0.0.1:8000"},
            "LENSGATE_PORT: .* Kubernetes sets .* a Service named lensgate, .* enableServiceLinks",
        ),
        ({}, {"LENSGATE_GRPC_PORT": "tcp://10.0.0.1:8001"}, "LENSGATE_GRPC_PORT: .* a Service named lensgate-grpc,"),
        (
            {},
            {"LENSGATE_ALLOWED_HOSTS": "gate, http://gate"},
            "LENSGATE_ALLOWED_HOSTS: 'http://gate' is not a host name",
        ),
        ({}, {"LENSGATE_ALLOWED_HOSTS": "gate gate.example"}, "with commas between"),
        ({"allowed_hosts": "gate:8000"}, {}, "--allowed-hosts: 'gate:8000' is not a host name"),
        ({"allowed_hosts": "*.example"}, {}, "--allowed-hosts"),
        ({"allowed_hosts": ".example"}, {}, "'.example' is not a host name: write whole names"),
        ({"allowed_hosts": "bücher.example"}, {}, "'bücher.example' is not a host name: .* in ASCII"),
        ({}, {"LENSGATE_BAND_LOW": "0.7", "LENSGATE_BAND_HIGH": "0.3"}, "LENSGATE_BAND_LOW"),
        ({}, {"LENSGATE_BAND_HIGH": "1.5"}, "LENSGATE_BAND_HIGH"),
        ({}, {"LENSGATE_MAX_BATCH_DELAY_MS": "inf"}, "LENSGATE_MAX_BATCH_DELAY_MS"),
        (
            {},
            {"LENSGATE_MAX_INFLIGHT_BYTES": "1000"},
            "LENSGATE_MAX_INFLIGHT_BYTES is 1000, below LENSGATE_MAX_BODY_BYTES, 16777216: raise",
        ),
    ],
)
def test_a_bad_value_names_its_key(flags: dict[str, str], environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.load(flags, environment)


@pytest.mark.parametrize("field", ["host", "port", "allowed_hosts", "device", "workers", "timeout_ms"])
@pytest.mark.parametrize("value", ["postgresql://gate:secret@db/gate", "https://gate:secret@db/?token=secret"])
def test_the_password_of_a_url_in_the_wrong_setting_is_not_shown(field: str, value: str) -> None:
    for flags, environment in (({field: value}, {}), ({}, {f"LENSGATE_{field.upper()}": value})):
        with pytest.raises(SettingsError) as caught:
            Settings.load(flags, environment)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("field", ["tls_certificate", "tls_key", "tokens"])
@pytest.mark.parametrize(
    "value", ["-----BEGIN KEY-----\nc2VjcmV0", "LS0tLS1CRUdJTisecret", f"lensgate_{'x' * 43}", "[[token]]\na=1"]
)
def test_a_secret_in_the_place_of_its_path_is_not_shown(field: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({}, {f"LENSGATE_{field.upper()}": value})
    assert str(caught.value).startswith(f"LENSGATE_{field.upper()}: must be the path of a file, not its content")
    assert value[10:] not in str(caught.value)
    assert Settings.load({}, {"LENSGATE_TOKENS": "lensgate_tokens.toml"}).tokens == Path("lensgate_tokens.toml")


@pytest.mark.parametrize("host", ["::", "::1", "fe80::1%eth0", "127.0.0.1", "gate.example", "gate_1", "localhost"])
def test_an_address_or_a_name_is_a_host(host: str) -> None:
    assert Settings.load({"host": host}, {}).host == host


def test_listed_hosts_are_names_addresses_and_the_sign_for_any() -> None:
    settings = Settings(allowed_hosts="gate, gate_1.example.,, ::1, *")
    assert settings.listed_hosts == ("gate", "gate_1.example.", "::1", "*")


def test_every_setting_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    Settings.add_flags(parser)
    options = parser.parse_args(["--models", "elsewhere", "--max-pixels", "5"])
    settings = Settings.load(vars(options), {})
    assert (settings.models, settings.max_pixels) == (Path("elsewhere"), 5)
    assert set(vars(options)) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("settings", "band"),
    [
        (Settings(), Band(0.3, 0.7)),
        (Settings(band_low=0.2), Band(0.2, 0.7)),
        (Settings(band_low=0.45, band_high=0.5), Band(0.45, 0.5)),
    ],
)
def test_the_operator_overrides_the_cards_band(settings: Settings, band: Band) -> None:
    assert settings.band(CardBand(low=0.3, high=0.7)) == band


def test_an_override_that_leaves_no_band_is_refused() -> None:
    with pytest.raises(SettingsError, match="over the model's card"):
        Settings(band_low=0.8).band(CardBand(low=0.3, high=0.7))
