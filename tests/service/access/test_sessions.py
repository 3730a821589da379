"""The session cookie: its token, and the changes that invalidate it."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.access.sessions import SECONDS, find_session, open_session, set_cookie
from service.access.tokens import TokenFile
from service.metrics.access import AccessMetrics
from tests.service.access.keys import token_of, write_tokens

NOW = 1_000_000.0


def tokens_at(path: Path, now: float = NOW) -> TokenFile:
    return TokenFile(path, AccessMetrics(CollectorRegistry()), now=lambda: now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tokens(tmp_path / "tokens.toml", {"eva": "scopes = ['review']", "adam": "scopes = ['admin']"})


@pytest.fixture
def cookie(path: Path) -> str:
    tokens = tokens_at(path)
    token = tokens.find(token_of("eva"))
    assert token
    return f"lensgate_session={open_session(token, now=NOW).cookie}"


def test_a_cookie_names_its_token_on_every_replica(path: Path, cookie: str) -> None:
    session = find_session(cookie, tokens_at(path), host="gate")
    assert session
    assert session.token.name == "eva"


def test_session_expires_after_twelve_hours(path: Path, cookie: str) -> None:
    assert find_session(cookie, tokens_at(path, NOW + SECONDS - 1), host="gate")
    assert find_session(cookie, tokens_at(path, NOW + SECONDS), host="gate") is None


def test_one_opened_by_a_clock_that_ran_ahead_ends_when_it_is_set_right(path: Path, cookie: str) -> None:
    assert find_session(cookie, tokens_at(path, NOW - 60), host="gate")
    assert find_session(cookie, tokens_at(path, NOW - 2 * SECONDS), host="gate") is None


def test_session_ends_with_its_token(path: Path, cookie: str) -> None:
    write_tokens(path, {"adam": "scopes = ['admin']"})
    assert find_session(cookie, tokens_at(path), host="gate") is None
    write_tokens(path, {"eva": "scopes = ['review']\nexpires = 1970-01-02T00:00:00Z"})
    assert find_session(cookie, tokens_at(path), host="gate") is None
    path.write_text(path.read_text().replace("expires = 1970-01-02T00:00:00Z", ""))
    assert find_session(cookie, tokens_at(path), host="gate")


def test_another_token_of_the_same_name_is_another_key(path: Path, cookie: str) -> None:
    before = tokens_at(path).named("eva")
    assert before
    path.write_text(path.read_text().replace(before.sha256, "0" * 64))
    assert find_session(cookie, tokens_at(path), host="gate") is None


def test_altered_cookie_is_rejected(path: Path, cookie: str) -> None:
    tokens = tokens_at(path)
    name, _, value = cookie.partition("=")
    who, expires, nonce, signature = value.split(":")
    for changed in (
        f"adam:{expires}:{nonce}:{signature}",
        f"{who}:{int(expires) + 1}:{nonce}:{signature}",
        f"{who}:{expires}:{nonce[:-1]}:{signature}",
        f"{who}:{expires}:{nonce}:{signature[:-1]}",
        f"{who}:{expires}:{nonce}:",
        f"{who}:{expires}:{nonce}:{signature}:",
        f"{who}:0{expires}:{nonce}:{signature}",
        f"{who}:{expires}",
        f"{who}:-1:{nonce}:{signature}",
        f"{who}:²:{nonce}:{signature}",
        f"{who}:{'9' * 400}:{nonce}:{signature}",
        "",
        "\xff",
    ):
        assert find_session(f"{name}={changed}", tokens, host="gate") is None, changed


def test_invalid_cookie_does_not_hide_a_valid_one(path: Path, cookie: str) -> None:
    assert find_session(f"a=b; lensgate_session=x; {cookie}; c", tokens_at(path), host="gate")
    assert find_session("a=b; other_lensgate_session=x", tokens_at(path), host="gate") is None


def test_two_services_on_ports_of_one_host_keep_their_sessions(path: Path) -> None:
    """Browsers keep cookies by host, so one name would let each login end the session at the other port."""
    tokens = tokens_at(path)
    kept: dict[str, str] = {}
    for host, name in {"gate": "adam", "gate:8000": "eva", "[::1]:8001": "adam", "[::1]": "eva"}.items():
        token = tokens.named(name)
        assert token
        cookie = set_cookie(open_session(token, now=NOW), host=host, is_secure=False).partition(";")[0]
        kept[cookie.partition("=")[0]] = cookie
        session = find_session("; ".join(kept.values()), tokens, host=host)
        assert session
        assert session.token.name == name
    assert set(kept) == {"lensgate_session", "lensgate_session_8000", "lensgate_session_8001"}


def test_two_sessions_of_one_token_are_different(path: Path) -> None:
    token = tokens_at(path).named("eva")
    assert token
    one, other = open_session(token, now=NOW), open_session(token, now=NOW)
    assert one.cookie != other.cookie
    assert one.csrf != other.csrf
    assert one.csrf not in one.cookie


def test_the_cookie_is_for_this_site_alone_and_for_no_script(path: Path) -> None:
    token = tokens_at(path).named("eva")
    assert token
    session = open_session(token, now=NOW)
    plain, secure = (set_cookie(session, host="gate", is_secure=is_secure) for is_secure in (False, True))
    assert plain.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax")
    assert secure.endswith("; SameSite=Lax; Secure")
