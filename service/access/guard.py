"""Tokens and rates, shared by all ports: one token has one rate on all of them."""

from collections.abc import Callable

from service.access.limits import RateLimits
from service.access.policy import Need, Open
from service.access.principal import ANONYMOUS, UNRESTRICTED, Principal
from service.access.principal import Scope as Permission
from service.access.tokens import Token, TokenFile
from service.errors import Forbidden, RateLimited, Unauthorized
from service.http.scope_state import RequestState

MISSING = "authentication required: send Authorization: Bearer TOKEN"
"""The text for a request without a token."""

_UNKNOWN = "unknown or expired token: send Authorization: Bearer TOKEN"
_NOT_BEARER = (
    "the Authorization header holds no bearer token: send Authorization: Bearer TOKEN; a proxy that asks for passwords "
    'must not pass them on (in nginx: proxy_set_header Authorization "")'
)

_MAX_SECRET = 512


class Guard:
    """Finds the token of a request and checks its rate.

    Args:
        tokens: the accepted tokens; None turns authentication off.
        limits: of the rates of tokens.
        on_limit: called for each rate-limited request.
    """

    def __init__(self, tokens: TokenFile | None, *, limits: RateLimits, on_limit: Callable[[], None]) -> None:
        self.tokens = tokens
        self._on_limit = on_limit
        self._limits = limits

    def find_bearer(self, authorization: str, tokens: TokenFile) -> Token:
        """Return the token of an Authorization header.

        Raises:
            Unauthorized: it is unknown or expired, or the header holds none.
        """
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        is_bearer = scheme.lower() == "bearer" and secret != ""
        token = tokens.find(secret) if is_bearer and len(secret) <= _MAX_SECRET else None
        if token is None:
            tokens.metrics.observe_failure()
            raise Unauthorized(_UNKNOWN if is_bearer else _NOT_BEARER)
        return token

    def check_rate(self, token: Token, tokens: TokenFile) -> None:
        """Raise RateLimited if the token exceeds its rate."""
        try:
            self._limits.take(token, known=tokens.tokens)
        except RateLimited:
            self._on_limit()
            raise

    def admit_bearer(self, state: RequestState, authorization: str | None, *, need: Need, is_counted: bool) -> None:
        """Set the principal of a request that can only come with a bearer token.

        `is_counted` takes it from the token's rate.

        Raises:
            Unauthorized, Forbidden, RateLimited: the request is refused.
        """
        if self.tokens is None or need is Open.TO_ALL:
            state.principal = UNRESTRICTED if self.tokens is None else ANONYMOUS
            return
        if authorization is None:
            raise Unauthorized(MISSING)
        token = self.find_bearer(authorization, self.tokens)
        state.principal = token.principal
        if is_counted:
            self.check_rate(token, self.tokens)
        if isinstance(need, Permission) and not token.principal.may(need):
            raise Forbidden(missing_scope(token.principal, need))


def missing_scope(principal: Principal, need: Permission) -> str:
    """Describe why a request of a known token is refused."""
    text = f'token "{principal.name}" lacks the required scope "{need}"'
    return f"{text}, or the path does not exist with this method" if need is Permission.ADMIN else text
