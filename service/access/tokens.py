"""The file of tokens: who may come in, what for and how often. It holds hashes, never a token."""

import hmac
import logging
import secrets
import stat
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from prometheus_client import CollectorRegistry
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gate.files import read_regular
from service.access.principal import ANONYMOUS_NAME, Principal, Scope
from service.errors import SettingsError
from service.file_watch import FileWatch
from service.metrics.access import AccessMetrics
from service.settings import Settings

log = logging.getLogger(__name__)

_MAX_BYTES = 2**20

NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
"""Names stand in logs, in cookies and beside verdicts."""


class Token(BaseModel):
    """One `[[token]]` of the file.

    The hash is plain SHA-256, without salt or stretching: those protect what people think up, and a token of ours has
    256 random bits, which nobody finds by trying.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=NAME)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    requests_per_second: Annotated[float, Field(strict=True, ge=1e-6, le=1e9)] | None = None
    burst: Annotated[int, Field(strict=True, ge=1, le=10**9)] | None = None
    expires: AwareDatetime | None = None

    @model_validator(mode="after")
    def _check(self) -> "Token":
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst needs requests_per_second")
        if self.name == ANONYMOUS_NAME:
            raise ValueError(f"the name {ANONYMOUS_NAME} is taken")
        return self

    @cached_property
    def principal(self) -> Principal:
        """Who comes with this token."""
        return Principal(self.name, self.scopes)

    @property
    def capacity(self) -> float:
        """Requests that may come at once, where there is a rate."""
        return float(self.burst or max(1.0, self.requests_per_second or 1.0))

    def is_expired(self, now: float) -> bool:
        """Whether its time, in seconds of the epoch, is over."""
        return self.expires is not None and self.expires.timestamp() <= now


def make_token() -> str:
    """A new token, of 256 random bits."""
    return f"lensgate_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """What the file holds of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse_tokens(text: str, *, source: str) -> tuple[Token, ...]:
    """The tokens in the text of a file.

    Raises:
        SettingsError: it does not hold tokens, or one does not fit; the text names `source` and the entry.
    """
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Numbers too long, or brackets too deep, are no TOMLDecodeError.
        raise SettingsError(f"{source}: {error}") from error
    entries = found.pop("token", [])
    if found or not isinstance(entries, list):
        raise SettingsError(f"{source}: it holds {_names(found) or 'token'}, and may only hold [[token]] tables")
    tokens = tuple(_parse_token(entry, f"{source}: token {place}") for place, entry in enumerate(entries, 1))
    for field in ("name", "sha256"):
        _check_unique([getattr(token, field) for token in tokens], f"{source}: {field}")
    return tokens


def _names(found: dict[str, Any]) -> str:
    return ", ".join(sorted(found))


def _parse_token(entry: object, place: str) -> Token:
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        place = f"{place} ({entry['name'][:64]!r})"
    try:
        return Token.model_validate(entry)
    except ValidationError as error:
        # Not the value: someone may have put a token where its hash belongs.
        faults = (f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in error.errors())
        raise SettingsError(f"{place}: {'; '.join(faults)}") from error


def _check_unique(values: list[str], what: str) -> None:
    seen: set[str] = set()
    for place, value in enumerate(values, 1):
        if value in seen:
            raise SettingsError(f"{what} of token {place} is that of another one: each is there once")
        seen.add(value)


def read_text(path: Path) -> str:
    """The text of a file of tokens.

    Raises:
        SettingsError: it cannot be read, or is no such file.
    """
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the tokens in {path} cannot be read: {error}") from error
    if mode & stat.S_IROTH:
        # A group may have to read it: that is how Kubernetes mounts a secret.
        log.warning("every user of this machine can read %s: sessions can be made of the hashes in it", path)
    return text


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens in a file.

    Raises:
        SettingsError: it cannot be read, or what it holds does not fit.
    """
    return parse_tokens(read_text(path), source=str(path))


def read_some_tokens(path: Path) -> tuple[Token, ...]:
    """Read the tokens of a file that a service goes by: at least one, since an emptied file is most likely a mistake.

    Raises:
        SettingsError: it cannot be read, what it holds does not fit, or it holds none.
    """
    tokens = read_tokens(path)
    if not tokens:
        raise SettingsError(f"{path} holds no token, so that nobody could come in: `lensgate tokens add` makes one")
    return tokens


class TokenFile:
    """The tokens in use: those of the file when it was last whole, and not empty. Safe in threads.

    Args:
        path: the file.
        metrics: are told what is loaded and who is not known.
        now: seconds of the epoch.

    Raises:
        SettingsError: the file cannot be used at the start.
    """

    def __init__(self, path: Path, metrics: AccessMetrics, *, now: Callable[[], float] = time.time) -> None:
        self.metrics = metrics
        self.now = now
        self._path = path
        self.watch = FileWatch([path], self.load)
        self.tokens = read_some_tokens(path)

    def load(self) -> None:
        """Read the file again; one that cannot be used leaves the tokens as they are."""
        try:
            self.tokens = read_some_tokens(self._path)
        except SettingsError as error:
            self.metrics.observe_load(failed=True)
            log.error("the tokens stay as they were: %s", error)
            return
        self.metrics.observe_load(failed=False)
        log.info("tokens loaded", extra={"fields": {"tokens": len(self.tokens)}})

    def find(self, secret: str) -> Token | None:
        """Whose token this is; None where it is nobody's, or its time is over."""
        given = hash_token(secret)
        found = None
        for token in self.tokens:  # To the end: how long it takes tells nothing of which one it was.
            if hmac.compare_digest(given, token.sha256):
                found = token
        return self._valid(found)

    def named(self, name: str) -> Token | None:
        """The token of this name; None where there is none, or its time is over."""
        return self._valid(next((token for token in self.tokens if token.name == name), None))

    def _valid(self, token: Token | None) -> Token | None:
        return None if token is None or token.is_expired(self.now()) else token


def open_tokens(settings: Settings, registry: CollectorRegistry) -> TokenFile | None:
    """The tokens that the settings name; None where nobody is asked for one.

    Raises:
        SettingsError: the file cannot be used.
    """
    metrics = AccessMetrics(registry)
    return TokenFile(settings.tokens, metrics) if settings.tokens else None


def describe_expiry(token: Token, now: datetime | None = None) -> str:
    """When a token ends, for people."""
    if token.expires is None:
        return "never"
    day = f"{token.expires.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    return f"{day} (over)" if token.is_expired((now or datetime.now(UTC)).timestamp()) else day
