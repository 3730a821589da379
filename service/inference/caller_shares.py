"""Bound the share of images, bytes and streams that one caller holds while its bodies arrive."""

from collections import Counter


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
