"""Decodes hold no more memory together than they may, wait their turn, and leave when they are cancelled."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from gate import DecodeBudget, read_pixels
from gate.decode_budget import DecodeCancelled, decoding_cost
from gate.header import read_header
from tests.support.images import encode, portrait
from tests.support.servers import wait_until


@contextmanager
def decodes(budget: DecodeBudget, *costs: int) -> Iterator[list[tuple[int, threading.Event, threading.Thread]]]:
    """Threads that hold `costs`, begun one after the other, each until its event is set."""
    begun: list[tuple[int, threading.Event, threading.Thread]] = []

    def hold(cost: int, end: threading.Event) -> None:
        with budget.hold(cost):
            end.wait()

    try:
        for cost in costs:
            end = threading.Event()
            thread = threading.Thread(target=hold, args=(cost, end))
            before = budget.waiting + budget.held
            thread.start()
            begun.append((cost, end, thread))
            wait_until(partial(_is_more, budget, before))
        yield begun
    finally:
        for _, end, _ in begun:
            end.set()
        for _, _, thread in begun:
            thread.join()


def _is_more(budget: DecodeBudget, than: int) -> bool:
    return budget.waiting + budget.held > than


def test_an_image_that_does_not_fit_waits_and_is_not_overtaken() -> None:
    budget = DecodeBudget(100)
    with decodes(budget, 60, 80, 10) as running:
        assert (budget.held, budget.waiting) == (60, 2)  # The third would fit, but does not overtake the second.
        running[0][1].set()
        wait_until(lambda: budget.held == 90)
        assert budget.waiting == 0
    assert (budget.held, budget.waiting) == (0, 0)


def test_an_image_larger_than_the_budget_runs_alone() -> None:
    budget = DecodeBudget(100)
    with decodes(budget, 1, 1000) as running:
        assert (budget.held, budget.waiting) == (1, 1)
        running[0][1].set()
        wait_until(lambda: budget.held == 100)


def test_a_cancelled_claim_leaves_the_queue() -> None:
    budget = DecodeBudget(100)
    claim = budget.claim()
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            with claim.hold(90):
                pass
        except DecodeCancelled as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    with decodes(budget, 60):
        waiting.start()
        wait_until(lambda: budget.waiting == 1)
        with decodes(budget, 40):
            assert budget.waiting == 2
            claim.cancel()
            wait_until(lambda: budget.held == 100)
        waiting.join(60)
    assert len(failed) == 1
    assert (budget.held, budget.waiting) == (0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_format_is_paid_for_and_given_back(kind: str) -> None:
    data = encode(portrait(64), kind)
    paid: list[int] = []

    class Counting(DecodeBudget):
        def hold(self, cost: int):  # type: ignore[no-untyped-def]
            paid.append(cost)
            return super().hold(cost)

    budget = Counting()
    for each in (data, data[:-300]):
        try:
            read_pixels(each, 32, budget=budget)
        except Exception:
            assert each != data
    assert budget.held == 0
    assert paid[0] == decoding_cost(read_header(data), len(data)) >= 64 * 64 * 4


def test_the_cost_of_the_largest_picture_is_far_below_the_default_budget() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        header = read_header(encode(portrait(64), kind))
        whole = type(header)(header.format, 4096, 4096)
        assert 2**26 <= decoding_cost(whole, 0) <= 200 * 2**20
