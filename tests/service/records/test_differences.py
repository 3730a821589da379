"""Images about which a shadow differs: drawn for the audit, written after their decisions."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from gate import Action, Decision, Label, Reason
from gate.scorer import Score
from service.errors import RecordsUnavailable
from service.inference.request_context import ImageDecision
from service.records.audit_draws import Draw, DrawKind
from service.records.differences import PATIENCE_SECONDS, Differences
from service.records.query import Page, find_image, find_page
from service.records.store import Store
from service.records.tables import shadow_decisions
from tests.support.images import flat

from .stores import entry, put

PIXELS = flat(200, 32)
RUNNER: Any = SimpleNamespace(card=SimpleNamespace(version="2"))
SHADOW = ImageDecision(Score(0.1, None), Decision(Label.NO_GLASSES, Action.ACCEPT, Reason.CONFIDENT), RUNNER)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/records.db")
    yield store
    store.close()


def decided(store: Store, **changes: Any) -> ImageDecision:
    """A decision of the served version, in the store."""
    made = entry(**changes)
    (record,) = put(store, [made])
    return ImageDecision(made.score, made.decision, RUNNER, record)


def audited(store: Store) -> list[tuple[str, str, float, float]]:
    found, _ = find_page(store, Page(audit=True))
    return [(one["record"], one["draw"], one["draw_probability"], one["draw_weight"]) for one in found]


def recorded(store: Store) -> list[tuple[Any, ...]]:
    with store.begin() as connection:
        return [tuple(row) for row in connection.execute(select(shadow_decisions))]


def test_a_difference_on_an_accepted_image_is_audited_with_a_preview(store: Store) -> None:
    differences = Differences(0.001, rng=lambda: 0.05)
    answered = decided(store)
    differences.differs(answered, SHADOW, PIXELS)
    differences.write(store)
    assert audited(store) == [(answered.record, "shadow", 0.1, 0.0)]
    assert recorded(store) == [(answered.record, "2", 0.1, "no_glasses", "accept")]
    assert find_image(store, answered.record).startswith(b"\xff\xd8")


def test_a_tenth_of_the_differences_is_drawn_by_default(store: Store) -> None:
    differences = Differences(0.001, rng=lambda: 0.1)
    differences.differs(decided(store), SHADOW, PIXELS)
    differences.write(store)
    assert recorded(store) == []


def test_images_in_the_review_stay_as_they_were_drawn(store: Store) -> None:
    differences = Differences(1.0)
    drawn, discarded = decided(store, draw=Draw(DrawKind.UNIFORM, 0.1, 1.0)), decided(store, discarded=True)
    for answered in (drawn, discarded):
        differences.differs(answered, SHADOW, PIXELS)
    differences.write(store)
    assert audited(store) == [(drawn.record, "uniform", 0.1, 1.0)]
    assert sorted(row[0] for row in recorded(store)) == sorted([drawn.record, discarded.record])


def test_a_difference_waits_for_its_decision_for_a_while(store: Store) -> None:
    now = [0.0]
    differences = Differences(1.0, clock=lambda: now[0])
    made = entry()
    answered = ImageDecision(made.score, made.decision, RUNNER, "0" * 26)
    differences.differs(answered, SHADOW, PIXELS)
    differences.write(store)
    assert recorded(store) == []
    (record,) = put(store, [made])
    lost = ImageDecision(made.score, made.decision, RUNNER, "1" * 26)
    differences.differs(lost, SHADOW, PIXELS)
    differences.differs(ImageDecision(made.score, made.decision, RUNNER, record), SHADOW, PIXELS)
    differences.write(store)
    assert [row[0] for row in recorded(store)] == [record]
    now[0] = PATIENCE_SECONDS + 1
    differences.write(store)
    assert not differences.is_waiting


def test_a_failing_store_keeps_the_differences(store: Store) -> None:
    differences = Differences(1.0)
    answered = decided(store)
    differences.differs(answered, SHADOW, PIXELS)
    with store.engine.begin() as connection:
        shadow_decisions.drop(connection)
    with pytest.raises(RecordsUnavailable):
        differences.write(store)
    differences.write(store)  # The store makes missing tables again.
    assert [row[0] for row in recorded(store)] == [answered.record]
