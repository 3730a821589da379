"""The authenticated caller and its scopes."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """A permission of a token."""

    DECIDE = "decide"
    REVIEW = "review"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller that a token or a session names."""

    name: str
    scopes: frozenset[Scope]
    is_anonymous: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether it has the scope; `admin` includes every scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANONYMOUS_NAME = "anonymous"

UNRESTRICTED = Principal(ANONYMOUS_NAME, frozenset(Scope), is_anonymous=True)
"""Every caller while authentication is off."""

ANONYMOUS = Principal(ANONYMOUS_NAME, frozenset(), is_anonymous=True)
"""A caller of a path that is open to all."""
