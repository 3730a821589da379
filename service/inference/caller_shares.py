"""Bound the share of a limit that one caller holds: images, bytes and streams whose bodies arrive, calls of gRPC."""

from collections import Counter


class Shares:
    """Counts what each caller holds of several kinds. Used only from the event loop.

    Args:
        share: largest share of each limit for one caller.
        limits: limit of each kind for all callers together.
    """

    def __init__(self, share: float, limits: dict[str, int]) -> None:
        self._limits = {kind: max(1, int(most * share)) for kind, most in limits.items()}
        self._held: Counter[tuple[str, str]] = Counter()

    def take(self, caller: str, kind: str, amount: int, *, own: int = 0) -> bool:
        """Count `amount`; return False above the caller's share. A single body, of `own` so far, may exceed it."""
        held = self._held[caller, kind]
        if held > own and held + amount > self._limits[kind]:
            return False
        self._held[caller, kind] = held + amount
        return True

    def give_back(self, caller: str, kind: str, amount: int) -> None:
        """Release `amount`."""
        self._held[caller, kind] -= amount
        if not self._held[caller, kind]:
            del self._held[caller, kind]
