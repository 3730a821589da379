"""Name the caller of a request, and bound what one caller holds while its bodies are still on the way."""

from collections import Counter
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope


def name_caller(scope: Scope) -> str:
    """Return the name of the token, or the address where no token is asked for; of IPv6 its network of 64 bits."""
    principal = scope["state"].get("principal")
    if principal is not None and not principal.is_anonymous:
        return f"token {principal.name}"
    host = (scope.get("client") or ("",))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return f"address {host}"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"network {int(address) >> 64:x}"
    return f"address {host}"


class Shares:
    """Counts images, bytes and streams by caller. Used from the event loop alone.

    Args:
        share: of each limit, for one caller.
        limits: most of each kind, for all callers together.
    """

    def __init__(self, share: float, limits: dict[str, int]) -> None:
        self._limits = {kind: max(1, int(most * share)) for kind, most in limits.items()}
        self._held: Counter[tuple[str, str]] = Counter()

    def take(self, caller: str, kind: str, amount: int, *, own: int = 0) -> bool:
        """Count `amount`; False where the caller holds too much. One body, of `own` so far, may exceed it."""
        held = self._held[caller, kind]
        if held > own and held + amount > self._limits[kind]:
            return False
        self._held[caller, kind] = held + amount
        return True

    def give_back(self, caller: str, kind: str, amount: int) -> None:
        """Count them no longer."""
        self._held[caller, kind] -= amount
        if not self._held[caller, kind]:
            del self._held[caller, kind]
