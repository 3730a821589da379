"""The token file: its format, and reloads."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.access.principal import Scope
from service.access.tokens import TokenFile, hash_token, make_token, parse_tokens, read_tokens
from service.errors import SettingsError
from service.metrics.access import AccessMetrics
from tests.service.access.keys import token_of, write_tokens

HASH = "a" * 64


def entry(**changes: str) -> str:
    fields = {"name": '"gen"', "sha256": f'"{HASH}"', "scopes": '["decide"]', **changes}
    return "[[token]]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def open_file(path: Path, registry: CollectorRegistry) -> TokenFile:
    return TokenFile(path, AccessMetrics(registry))


def test_an_entry_is_read_with_all_it_may_say() -> None:
    (token,) = parse_tokens(
        entry(requests_per_second="2.5", burst="10", expires="2027-01-01T00:00:00Z"), source="tokens.toml"
    )
    assert (token.name, set(token.scopes), token.requests_per_second, token.capacity) == (
        "gen",
        {Scope.DECIDE},
        2.5,
        10.0,
    )
    assert token.expires == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_rate_without_a_burst_lets_one_seconds_requests_come_at_once() -> None:
    fast, slow = (parse_tokens(entry(requests_per_second=rate), source="x")[0] for rate in ("20.0", "0.1"))
    assert (fast.capacity, slow.capacity) == (20.0, 1.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[token]", "tokens.toml"),
        ("lensgate_abc", r"holds \[\[token\]\] tables, which `lensgate tokens add` writes"),
        ("[tokens]\nname = 1", "tokens"),
        ("[token]\nname = 'x'", "only \\[\\[token"),
        ("token = [1]", "token 1"),
        (entry() + entry(sha256='"ABC"'), r"token 2 \('gen'\): sha256"),
        (entry(sha256=f'"{HASH.upper()}"'), "sha256"),
        (entry(name='"two words"'), "name"),
        (entry(name='"anonymous"'), "anonymous is reserved"),
        (entry(scopes='["everything"]'), "scopes"),
        (entry(scopes='"decide"'), "scopes must be a list"),
        (entry(colour='"red"'), "colour"),
        (entry(requests_per_second="0"), "requests_per_second"),
        (entry(requests_per_second="inf"), "requests_per_second"),
        (entry(requests_per_second="5e-324"), "requests_per_second"),
        (entry(requests_per_second="1", burst=f"1{'0' * 400}"), "burst"),
        (entry(requests_per_second="1", burst="1" * 5000), "tokens.toml"),
        (f"x = {'[' * 5000}", "tokens.toml"),
        (entry(requests_per_second='"5"'), "requests_per_second"),
        (entry(burst="5"), "burst needs requests_per_second"),
        (entry(requests_per_second="1", burst="0"), "burst"),
        (entry(expires="2027-01-01T00:00:00"), "expires must be a time with its zone"),
        (entry(expires="20270101"), r"expires must be a time with its zone, .*, not a number"),
        ('[[token]]\nname = "gen"\nscopes = []', "sha256 is required"),
        (entry() + entry(sha256=f'"{"b" * 64}"'), "there is a token 'gen' already"),
        (entry() + entry(name='"other"'), "the tokens 'gen' and 'other' have the same sha256"),
    ],
)
def test_what_does_not_fit_is_named_with_its_entry(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        parse_tokens(text, source="tokens.toml")


def test_error_does_not_quote_a_token_given_in_place_of_its_hash() -> None:
    with pytest.raises(SettingsError) as error:
        parse_tokens(entry(sha256='"lensgate_very-secret"'), source="tokens.toml")
    assert "very-secret" not in str(error.value)


@pytest.mark.parametrize("text", ["", "\n", "# Nothing here.\n", "token = []\n", "\ufeff"])
def test_a_service_does_not_start_with_a_file_without_tokens(
    text: str, tmp_path: Path, registry: CollectorRegistry
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"tokens\.toml"):
        open_file(path, registry)


def test_truncated_or_replaced_file_keeps_the_previous_tokens(tmp_path: Path, registry: CollectorRegistry) -> None:
    path = write_tokens(tmp_path / "tokens.toml", {"gen": 'scopes = ["decide"]'})
    whole = path.read_bytes()
    tokens = open_file(path, registry)
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        tokens.watch.look()
        assert tokens.find(token_of("gen")), whole[:end]
    assert registry.get_sample_value("lensgate_tokens_load_failed") == 1.0
    path.unlink()
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", path):
        path.symlink_to(other)
        tokens.watch.look()
        assert tokens.find(token_of("gen"))
        path.unlink()
    path.write_bytes(whole)
    tokens.watch.look()
    assert tokens.find(token_of("gen"))
    assert registry.get_sample_value("lensgate_tokens_load_failed") == 0.0


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="absent"):
        read_tokens(tmp_path / "absent.toml")


def test_byte_order_mark_and_line_ends_of_windows_are_not_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    text = f'[[token]]\nname = "a"\nsha256 = "{hash_token("x")}"\nscopes = []\n'
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert [token.name for token in read_tokens(path)] == ["a"]


def test_fifo_directory_or_oversized_file_is_an_error(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (2**20 + 1))
    for path, named in ((pipe, "not a regular"), (tmp_path, "Is a directory"), (large, "at most 1,048,576")):
        with pytest.raises(SettingsError, match=named):
            read_tokens(path)


def test_token_is_found_by_its_exact_secret(tmp_path: Path, registry: CollectorRegistry) -> None:
    path = write_tokens(tmp_path / "tokens.toml", {"gen": "scopes = []", "eva": "scopes = []"})
    tokens = open_file(path, registry)
    found = tokens.find(token_of("eva"))
    assert found is not None
    assert found.name == "eva"
    for wrong in ("", "x", token_of("eva")[:-1], token_of("eva") + "x", hash_token(token_of("eva")), "\ud800"):
        assert tokens.find(wrong) is None


def test_expired_token_is_not_found(tmp_path: Path, registry: CollectorRegistry) -> None:
    path = write_tokens(tmp_path / "tokens.toml", {"gen": "scopes = []\nexpires = 1970-01-01T00:01:40Z"})
    now = [99.9]
    tokens = TokenFile(path, AccessMetrics(registry), now=lambda: now[0])
    assert tokens.find(token_of("gen"))
    now[0] = 100.0
    assert tokens.find(token_of("gen")) is None
    assert tokens.named("gen") is None


def test_made_tokens_are_long_and_distinct() -> None:
    made = {make_token() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 50


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(
    tmp_path: Path, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tokens(tmp_path / "tokens.toml", {"gen": "scopes = []"})
    tokens = open_file(path, registry)
    write_tokens(path, {"eva": "scopes = []"})
    tokens.watch.look()
    assert (tokens.find(token_of("gen")), registry.get_sample_value("lensgate_tokens_load_failed")) == (None, 0.0)
    path.write_text("[[token]]")
    with caplog.at_level(logging.ERROR):
        tokens.watch.look()
        tokens.watch.look()
    assert tokens.find(token_of("eva"))
    assert registry.get_sample_value("lensgate_tokens_load_failed") == 1.0
    assert len([line for line in caplog.messages if "stay in force" in line]) == 1
    path.unlink()
    tokens.watch.look()
    assert tokens.find(token_of("eva"))
    write_tokens(path, {"gen": "scopes = []"})
    tokens.watch.look()
    assert tokens.find(token_of("gen"))
    assert registry.get_sample_value("lensgate_tokens_load_failed") == 0.0


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tokens(tmp_path / "tokens.toml", {})
    with caplog.at_level(logging.WARNING):
        read_tokens(path)
        assert not caplog.messages
        path.chmod(0o644)
        read_tokens(path)
    assert "can read" in caplog.text
