"""The window of images in flight."""

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest
from lensgate_client._protocol.payloads import FilePayload, Payload, PixelPayload
from lensgate_client._stream.window import InFlightWindow, RequestBatch
from lensgate_client.errors import BadImage
from lensgate_client.models import ImageFailed, Outcome

OutcomeFuture = Future[list[Outcome]]


@dataclass
class Limits:
    concurrency: int = 1
    batch_size: int = 4


def pixels(count: int, size: int = 8) -> PixelPayload:
    return PixelPayload(np.zeros((count, size, size, 3), np.uint8), (None,) * count)


def complete(batch: RequestBatch[OutcomeFuture]) -> list[str]:
    """Send the request and complete it with a failure for each of its images; return their ids."""
    ids = list(batch.payload.image_ids)
    future = OutcomeFuture()
    batch.mark_sent(future)
    outcomes: list[Outcome] = [ImageFailed(image_id, BadImage("no")) for image_id in ids]
    future.set_result(outcomes)
    batch.settle(batch.future.result())
    return ids


def test_outcomes_are_popped_in_the_order_of_their_images() -> None:
    window = InFlightWindow[OutcomeFuture](Limits())
    payloads: list[Payload | ImageFailed] = [
        pixels(1),
        FilePayload(b"", None),
        ImageFailed("bad", BadImage("")),
        pixels(2),
    ]
    sent = [batch for payload in payloads for batch in window.add(payload)]
    (packed,) = window.flush()
    (file,) = complete(sent[0])
    first, *others = complete(packed)
    assert [window.pop().id for _ in range(5)] == [first, file, "bad", *others]
    assert not window
    assert not window.futures


def test_pop_requires_an_outcome() -> None:
    window = InFlightWindow[OutcomeFuture](Limits())
    (batch,) = window.add(FilePayload(b"", None))
    with pytest.raises(LookupError, match="waits for more images"):
        _ = batch.future
    window = InFlightWindow[OutcomeFuture](Limits())
    window.add(FilePayload(b"", None))
    with pytest.raises(LookupError, match="no outcome yet"):
        window.pop()


def test_partial_request_does_not_count_towards_the_limit() -> None:
    window = InFlightWindow[OutcomeFuture](Limits(), ahead=2)
    full = [window.is_full]
    for _ in range(8):
        window.add(pixels(1))
        full.append(window.is_full)
    assert full == [False] * 8 + [True]
    assert not window.flush()


def test_failures_count_towards_the_limit() -> None:
    window = InFlightWindow[OutcomeFuture](Limits(), ahead=2)
    while not window.is_full:
        window.add(ImageFailed("bad", BadImage("")))
    assert len(window) == 8


def test_payload_without_room_in_the_request_starts_the_next_request() -> None:
    window = InFlightWindow[OutcomeFuture](Limits())
    assert window.add(pixels(3)) == []
    (first,) = window.add(pixels(2))
    assert len(first.payload.image_ids) == 3
    (second,) = window.add(pixels(2))
    assert len(second.payload.image_ids) == 4
    (alone,) = window.add(pixels(9))
    assert len(alone.payload.image_ids) == 9
    assert window.add(pixels(1, size=8)) == []
    (other,) = window.add(pixels(1, size=16))
    assert other.payload.image_ids == other.payload.image_ids[:1]
