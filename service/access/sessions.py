"""Browser sessions: a signed cookie that every replica can verify without shared state."""

import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from service.access.tokens import Token, TokenFile

_COOKIE = "lensgate_session"
SECONDS = 12 * 3600
"""How long a session lasts."""


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a browser that logged in with a token.

    The signing keys derive from the token's hash: a session ends with its token and survives a restart.
    """

    token: Token
    expires: int
    nonce: str

    @property
    def cookie(self) -> str:
        """The cookie's value."""
        return f"{self._text}:{self._sign('session')}"

    @property
    def csrf(self) -> str:
        """The value that pages send with unsafe requests; pages of other sites cannot read it."""
        return self._sign("csrf")

    @property
    def _text(self) -> str:
        return f"{self.token.name}:{self.expires}:{self.nonce}"

    def _sign(self, purpose: str) -> str:
        return hmac.digest(bytes.fromhex(self.token.sha256), f"{purpose}:{self._text}".encode(), "sha256").hex()


def open_session(token: Token, *, now: float) -> Session:
    """Open a new session for the token."""
    return Session(token, int(now) + SECONDS, secrets.token_hex(16))


def find_session(header: str, tokens: TokenFile, *, host: str) -> Session | None:
    """Return the session of `host`, the Host header, in a Cookie header; None for a missing or expired one."""
    for value in _cookies(header, host):
        if session := _read(value, tokens):
            return session
    return None


def has_cookie(header: str, *, host: str) -> bool:
    """Whether a Cookie header holds a session of `host`, valid or expired."""
    return next(_cookies(header, host), None) is not None


def set_cookie(session: Session, *, host: str, is_secure: bool) -> str:
    """Return the Set-Cookie header that starts a session of `host`."""
    return _set_cookie(session.cookie, host, seconds=SECONDS, is_secure=is_secure)


def clear_cookie(*, host: str, is_secure: bool) -> str:
    """Return the Set-Cookie header that ends a session of `host`."""
    return _set_cookie("", host, seconds=0, is_secure=is_secure)


def _set_cookie(value: str, host: str, *, seconds: int, is_secure: bool) -> str:
    secure = "; Secure" if is_secure else ""
    # With Strict, a link from a chat or an alert leads to the login. Unsafe requests also need origin and CSRF value.
    return f"{_name(host)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _name(host: str) -> str:
    """Return the cookie's name, with the port: browsers send the cookies of all ports of a host to each of them."""
    port = host.rpartition(":")[2]
    return f"{_COOKIE}_{port}" if port.isdecimal() and port.isascii() else _COOKIE


def _cookies(header: str, host: str) -> Iterator[str]:
    ours = _name(host)
    # Another site of this domain may set a cookie of the same name, so all of them are tried.
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == ours:
            yield value


def _read(value: str, tokens: TokenFile) -> Session | None:
    name, _, rest = value.partition(":")
    expires, _, rest = rest.partition(":")
    nonce = rest.partition(":")[0]
    token = tokens.named(name)
    if token is None or not expires.isascii() or not expires.isdigit() or len(expires) > 12:
        return None
    session = Session(token, int(expires), nonce)
    is_ours = hmac.compare_digest(session.cookie.encode(), value.encode("latin-1"))
    # One that ends much later than any opened now was opened by a clock that ran ahead.
    return session if is_ours and 0 < session.expires - tokens.now() < 2 * SECONDS else None
