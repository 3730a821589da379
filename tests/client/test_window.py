"""What is between being asked about and being answered."""

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest
from lensgate_client._protocol.payloads import Block, File, Part
from lensgate_client._stream.window import Batch, Window
from lensgate_client.errors import BadImage
from lensgate_client.models import ImageFailed, Outcome

Ticket = Future[list[Outcome]]


@dataclass
class Limits:
    concurrency: int = 1
    batch_size: int = 4


def block(count: int, size: int = 8) -> Block:
    return Block(np.zeros((count, size, size, 3), np.uint8), (None,) * count)


def answer(batch: Batch[Ticket]) -> list[str]:
    """Send it and answer it with failures under the names of its images."""
    names = list(batch.work.names)
    ticket = Ticket()
    batch.send(ticket)
    outcomes: list[Outcome] = [ImageFailed(name, BadImage("no")) for name in names]
    ticket.set_result(outcomes)
    batch.settle(batch.sent.result())
    return names


def test_outcomes_leave_in_the_order_in_which_their_images_came() -> None:
    window = Window[Ticket](Limits())
    parts: list[Part | ImageFailed] = [block(1), File(b"", None), ImageFailed("bad", BadImage("")), block(2)]
    sent = [batch for part in parts for batch in window.add(part)]
    (packed,) = window.flush()
    (file,) = answer(sent[0])
    first, *others = answer(packed)
    assert [window.pop().id for _ in range(5)] == [first, file, "bad", *others]
    assert not window
    assert not window.tickets


def test_nothing_is_popped_before_its_outcome_is_there() -> None:
    window = Window[Ticket](Limits())
    (batch,) = window.add(File(b"", None))
    with pytest.raises(LookupError, match="waits for more images"):
        _ = batch.sent
    window = Window[Ticket](Limits())
    window.add(File(b"", None))
    with pytest.raises(LookupError, match="no outcome yet"):
        window.pop()


def test_a_request_that_is_being_packed_does_not_count_before_it_is_full() -> None:
    window = Window[Ticket](Limits(), ahead=2)
    full = [window.is_full]
    for _ in range(8):
        window.add(block(1))
        full.append(window.is_full)
    assert full == [False] * 8 + [True]
    assert not window.flush()


def test_failures_alone_fill_it_too() -> None:
    window = Window[Ticket](Limits(), ahead=2)
    while not window.is_full:
        window.add(ImageFailed("bad", BadImage("")))
    assert len(window) == 8


def test_what_does_not_fit_into_one_request_begins_the_next() -> None:
    window = Window[Ticket](Limits())
    assert window.add(block(3)) == []
    (first,) = window.add(block(2))
    assert len(first.work.names) == 3
    (second,) = window.add(block(2))
    assert len(second.work.names) == 4
    (alone,) = window.add(block(9))
    assert len(alone.work.names) == 9
    assert window.add(block(1, size=8)) == []
    (other,) = window.add(block(1, size=16))
    assert other.work.names == other.work.names[:1]
