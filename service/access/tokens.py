"""The token file: names, hashes, scopes, rates and expiry. It holds hashes, never a token."""

import hmac
import logging
import secrets
import stat
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from prometheus_client import CollectorRegistry
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gate.files import read_regular
from gate.validation import explain, is_number
from service.access.principal import ANONYMOUS_NAME, Principal, Scope
from service.concurrency.file_watch import FileWatch
from service.errors import SettingsError
from service.metrics.access import AccessMetrics
from service.settings import Settings

log = logging.getLogger(__name__)

_MAX_BYTES = 2**20

NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
"""Names appear in logs, cookies and verdicts."""


class Token(BaseModel):
    """One `[[token]]` of the file.

    The hash is plain SHA-256. Salt and stretching protect passwords that people choose; a token has 256 random bits,
    which a search cannot find.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=NAME)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    requests_per_second: Annotated[float, Field(strict=True, ge=1e-6, le=1e9)] | None = None
    burst: Annotated[int, Field(strict=True, ge=1, le=10**9)] | None = None
    expires: AwareDatetime | None = None

    @field_validator("expires", mode="before")
    @classmethod
    def _is_no_number(cls, value: object) -> object:
        if is_number(value):
            raise ValueError("must be a time with its zone, such as 2026-11-30T14:00:00Z, not a number")
        return value

    @model_validator(mode="after")
    def _check(self) -> "Token":
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst needs requests_per_second")
        if self.name == ANONYMOUS_NAME:
            raise ValueError(f"the name {ANONYMOUS_NAME} is reserved")
        return self

    @cached_property
    def principal(self) -> Principal:
        """The caller with this token."""
        return Principal(self.name, self.scopes)

    @property
    def capacity(self) -> float:
        """Size of the token bucket, in requests."""
        return float(self.burst or max(1.0, self.requests_per_second or 1.0))

    def is_expired(self, now: float) -> bool:
        """Whether it has expired at `now`, in seconds since the epoch."""
        return self.expires is not None and self.expires.timestamp() <= now


def make_token() -> str:
    """Make a token of 256 random bits."""
    return f"lensgate_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """Return the hash that the file holds."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse_tokens(text: str, *, source: str) -> tuple[Token, ...]:
    """Parse the text of a token file.

    Raises:
        SettingsError: the text is invalid; the message names `source` and the entry.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib raises them for long numbers and deep nesting.
        raise SettingsError(
            f"{source}: {error}: the file holds [[token]] tables, which `lensgate tokens add` writes"
        ) from error
    entries = document.pop("token", [])
    if document or not isinstance(entries, list):
        raise SettingsError(f"{source}: unexpected {_names(document) or 'token'}: only [[token]] tables are allowed")
    tokens = tuple(_parse_token(entry, f"{source}: token {place}") for place, entry in enumerate(entries, 1))
    if name := _repeated(token.name for token in tokens):
        raise SettingsError(
            f"{source}: there is a token {name!r} already: choose another name, or revoke that one first"
        )
    if digest := _repeated(token.sha256 for token in tokens):
        names = " and ".join(repr(token.name) for token in tokens if token.sha256 == digest)
        raise SettingsError(f"{source}: the tokens {names} have the same sha256: delete one of them")
    return tokens


def _names(members: dict[str, Any]) -> str:
    return ", ".join(sorted(members))


def _parse_token(entry: object, place: str) -> Token:
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        place = f"{place} ({entry['name'][:64]!r})"
    try:
        return Token.model_validate(entry)
    except ValidationError as error:
        # Omit the value: it may be a token in place of its hash.
        faults = error.errors(include_input=False)
        texts = (f"{'.'.join(map(str, fault['loc']))} {explain(fault)}".strip() for fault in faults)
        raise SettingsError(f"{place}: {'; '.join(texts)}") from error


def _repeated(values: Iterable[str]) -> str | None:
    return next((value for value, count in Counter(values).items() if count > 1), None)


def read_text(path: Path) -> str:
    """Read the text of a token file.

    Raises:
        SettingsError: the file is unreadable or not a regular file.
    """
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig")
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise SettingsError(f"{path} does not exist: `lensgate tokens add NAME --scopes decide` makes it") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SettingsError(f"cannot read the tokens in {path}: {reason}") from error
    if mode & stat.S_IROTH:
        # Group access is common: Kubernetes mounts secrets that way.
        log.warning("every user of this machine can read %s: the hashes in it suffice to forge sessions", path)
    return text


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read the tokens in a file.

    Raises:
        SettingsError: the file is unreadable or invalid.
    """
    return parse_tokens(read_text(path), source=str(path))


def read_some_tokens(path: Path) -> tuple[Token, ...]:
    """Read the tokens of a running service: at least one, since an emptied file is most likely a mistake.

    Raises:
        SettingsError: the file is unreadable, invalid or empty.
    """
    tokens = read_tokens(path)
    if not tokens:
        raise SettingsError(f"{path} holds no tokens: create one with `lensgate tokens add`")
    return tokens


class TokenFile:
    """The tokens in use: those of the last valid, non-empty version of the file. Thread-safe.

    Args:
        path: the file.
        metrics: receives loads and failed authentications.
        now: clock in seconds since the epoch.

    Raises:
        SettingsError: the file is unusable at startup.
    """

    def __init__(self, path: Path, metrics: AccessMetrics, *, now: Callable[[], float] = time.time) -> None:
        self.metrics = metrics
        self.now = now
        self._path = path
        self.watch = FileWatch([path], self.load)
        self.tokens = read_some_tokens(path)

    def load(self) -> None:
        """Reload the file; an unusable one keeps the previous tokens."""
        try:
            self.tokens = read_some_tokens(self._path)
        except SettingsError as error:
            self.metrics.observe_load(failed=True)
            log.error("tokens not reloaded, the previous ones stay in force: %s", error)
            return
        self.metrics.observe_load(failed=False)
        log.info("tokens loaded", extra={"fields": {"tokens": len(self.tokens)}})

    def find(self, secret: str) -> Token | None:
        """Find a token by its secret; None for an unknown or expired one."""
        digest = hash_token(secret)
        match = None
        for token in self.tokens:  # Always compare with all of them, so that the time reveals none.
            if hmac.compare_digest(digest, token.sha256):
                match = token
        return self._valid(match)

    def named(self, name: str) -> Token | None:
        """Find a token by its name; None for an unknown or expired one."""
        return self._valid(next((token for token in self.tokens if token.name == name), None))

    def _valid(self, token: Token | None) -> Token | None:
        return None if token is None or token.is_expired(self.now()) else token


def open_tokens(settings: Settings, registry: CollectorRegistry) -> TokenFile | None:
    """Open the configured token file; return None if authentication is off.

    Raises:
        SettingsError: the file is unusable.
    """
    metrics = AccessMetrics(registry)
    return TokenFile(settings.tokens, metrics) if settings.tokens else None


def describe_expiry(token: Token) -> str:
    """Format the expiry of a token for display."""
    if token.expires is None:
        return "never"
    day = f"{token.expires.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    return f"{day} (expired)" if token.is_expired(time.time()) else day
