"""Draw images for the audit on which the shadow decides differently, so that people judge the two versions."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from sqlalchemy import Connection, select, update

from gate import Action
from gate.pixels import Pixels
from service.inference.request_context import ImageDecision
from service.records.audit_draws import DrawKind
from service.records.store import Store, insert_into
from service.records.tables import decisions, images, shadow_decisions

FREQUENCY = 100
"""Multiple of the audit's ratio at which differences are drawn: they are rare, and a few hundred tell the versions
apart."""

MAX_WAITING = 500
"""Largest number of differences that wait to be written, about 25 MB; further ones are not drawn."""

PATIENCE_SECONDS = 60.0
"""How long a difference waits for the decision that it belongs to."""

_QUALITY = 85


@dataclass(frozen=True, slots=True)
class _Difference:
    answered: ImageDecision
    shadow: ImageDecision
    pixels: Pixels
    taken: float


class Differences:
    """Draws differences in the shadow's thread, and writes them in the recorder's.

    Args:
        ratio: of the audit.
        rng: returns a number uniform in [0, 1).
        clock: monotonic, in seconds.
    """

    def __init__(
        self, ratio: float, *, rng: Callable[[], float] = random.random, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share = min(1.0, FREQUENCY * ratio)
        self._rng = rng
        self._clock = clock
        self._waiting: deque[_Difference] = deque()

    def differs(self, answered: ImageDecision, shadow: ImageDecision, pixels: Pixels) -> None:
        """Draw one image, uint8 `[S, S, 3]`, about which the two versions differ."""
        if self._rng() < self._share and len(self._waiting) < MAX_WAITING:
            self._waiting.append(_Difference(answered, shadow, pixels.copy(), self._clock()))

    @property
    def is_waiting(self) -> bool:
        """Whether some are not written."""
        return bool(self._waiting)

    def write(self, store: Store) -> None:
        """Write the differences whose decisions are in the store; the others wait for these.

        Raises:
            RecordsUnavailable: the store is unavailable; all differences are kept.
        """
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        late = taken
        try:
            with store.begin_writing() as connection:
                names = [each.answered.record for each in taken]
                known = set(connection.scalars(select(decisions.c.record).where(decisions.c.record.in_(names))))
                self._insert(connection, [each for each in taken if each.answered.record in known])
            oldest = self._clock() - PATIENCE_SECONDS
            late = [each for each in taken if each.answered.record not in known and each.taken > oldest]
        finally:
            self._waiting.extendleft(reversed(late))

    def _insert(self, connection: Connection, differences: Sequence[_Difference]) -> None:
        for difference in differences:
            record, shadow = difference.answered.record, difference.shadow
            row = {
                "record": record,
                "version": shadow.runner.card.version,
                "probability": shadow.score.probability,
                "label": shadow.decision.label.value,
                "decision": shadow.decision.action.value,
            }
            connection.execute(insert_into(connection, shadow_decisions).values(row).on_conflict_do_nothing())
            if difference.answered.decision.action is Action.ACCEPT:
                self._audit(connection, difference)

    def _audit(self, connection: Connection, difference: _Difference) -> None:
        """Add an accepted image to the review; the weight of 0 keeps it out of the estimates of the served version."""
        record = difference.answered.record
        drawn = {"audit": True, "draw": DrawKind.SHADOW.value, "draw_probability": self._share, "draw_weight": 0.0}
        connection.execute(update(decisions).where(decisions.c.record == record, ~decisions.c.audit).values(drawn))
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(difference.pixels), quality=_QUALITY)
        preview = {"record": record, "bytes": len(jpeg), "jpeg": jpeg}
        connection.execute(insert_into(connection, images).values(preview).on_conflict_do_nothing())
