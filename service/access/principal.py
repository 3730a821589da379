"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a token may be for."""

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
        """Whether it has the scope; `admin` is every scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANONYMOUS_NAME = "anonymous"

ANYBODY = Principal(ANONYMOUS_NAME, frozenset(Scope), is_anonymous=True)
"""Everybody, where nobody is asked for a token."""

NOBODY = Principal(ANONYMOUS_NAME, frozenset(), is_anonymous=True)
"""Who asks for what is open to all, and was not asked for a token."""
