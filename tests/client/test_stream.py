"""Streams: in order, no further ahead than said, and nothing lost where they end."""

import asyncio
import io
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import Ask, AsyncGate, Decision, Gate, GateError, ImageFailed, ServiceFault, Unauthorized
from PIL import Image

from tests.client.support import URL, Make, Site, accepted, judged, problem, read_head
from tests.support.images import encode, flat

FILE = b"a file"
PIXELS = flat(200)


def counts(site: Site) -> list[int]:
    """Images by request of pixels."""
    heads = [read_head(request) for request in site.seen if request.url.path.endswith("/infer")]
    return [head["inputs"][0]["shape"][0] for head in heads]


def names(outcomes: Any) -> list[str]:
    return [outcome.id for outcome in outcomes]


def test_images_are_packed_into_full_requests_and_batches_are_split(script: Make) -> None:
    site = Site()
    asking = script(site)
    assert len(asking.decide_many([PIXELS] * 70)) == 70
    assert sorted(counts(site)) == [6, 32, 32]
    site.seen.clear()
    assert len(asking.decide_many(np.stack([PIXELS] * 70))) == 70
    assert sorted(counts(site)) == [6, 32, 32]
    site.seen.clear()
    asking.decide_many([np.stack([PIXELS] * 20), np.stack([PIXELS] * 20)])
    assert counts(site) == [20, 20]


def test_files_and_failures_between_pixels_take_nothing_of_their_packing(script: Make) -> None:
    site = Site()
    images: list[Any] = [FILE, PIXELS, "missing", PIXELS, FILE, PIXELS[:50], PIXELS]
    outcomes = script(site).decide_many(images)
    assert [outcome.accepted for outcome in outcomes] == [True, True, False, True, True, False, True]
    assert counts(site) == [3]
    assert len({outcome.id.partition(".")[0] for outcome in (outcomes[1], outcomes[3], outcomes[6])}) == 1


def test_an_image_with_an_id_travels_alone_and_keeps_it(script: Make) -> None:
    site = Site()
    images: list[Any] = [
        PIXELS,
        Ask(PIXELS, id="mine"),
        PIXELS,
        Ask(PIXELS[None], "glasses", "yours"),
        Ask(FILE, id="x"),
    ]
    outcomes = script(site).decide_many(images)
    assert sorted(counts(site)) == [1, 1, 2]
    assert [names(outcomes)[place] for place in (1, 3, 4)] == ["mine", "yours", "x"]


def test_pixels_for_models_of_two_sizes_are_not_mixed(script: Make) -> None:
    site = Site()

    def images() -> Iterator[Any]:
        yield PIXELS
        site.size, site.version = 16, "8"
        for _ in range(40):
            yield PIXELS

    assert all(outcome.accepted for outcome in script(site, batch_size=8).stream(images()))
    sizes = {read_head(request)["inputs"][0]["shape"][1] for request in site.seen if "infer" in request.url.path}
    assert sizes == {32, 16}


def test_no_images_are_no_outcomes(script: Make) -> None:
    asking = script(Site())
    assert asking.decide_many([]) == []
    assert asking.decide_many(np.zeros((0, 64, 64, 3), np.uint8)) == []
    assert list(asking.stream(iter(()))) == []


@pytest.mark.parametrize("image", [FILE, "face.png", Ask(FILE)])
def test_one_image_where_many_should_be_is_a_fault_of_the_program(script: Make, image: Any) -> None:
    asking = script(Site())
    with pytest.raises(TypeError, match="an iterable of images"):
        asking.decide_many(image)
    with pytest.raises(TypeError, match="an iterable of images"):
        list(asking.stream(image))
    with pytest.raises(ValueError, match="expected must be one of"):
        asking.decide_many([FILE], "glases")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ahead must be >= 1"):
        list(asking.stream([FILE], ahead=0))


@pytest.mark.parametrize(
    ("image", "each", "packed", "ahead", "requests"),
    [(FILE, 1, 1, None, 4), (PIXELS, 1, 8, None, 4), (PIXELS, 1, 8, 1, 1), (np.stack([PIXELS] * 8), 8, 8, 3, 3)],
)
def test_an_iterable_without_end_is_pulled_from_only_as_outcomes_are_taken(
    script: Make, *, image: Any, each: int, packed: int, ahead: int | None, requests: int
) -> None:
    made = 0

    def images() -> Iterator[Any]:
        nonlocal made
        while True:
            made += each
            yield image

    stream = script(Site(), concurrency=2, batch_size=8).stream(images(), ahead=ahead)
    for taken in range(1, 100):
        next(stream)
        # Complete requests, one that is being packed, and the one that is taken from.
        assert made - taken < (requests + 2) * packed
    stream.close()  # type: ignore[attr-defined]


def test_an_image_is_sent_before_the_next_is_there_where_nothing_else_is_under_way() -> None:
    arrived = threading.Semaphore(0)
    site = Site()

    def infer(request: httpx.Request) -> httpx.Response:
        arrived.release()
        return judged(request)

    def images() -> Iterator[Any]:
        for _ in range(5):
            yield PIXELS
            assert arrived.acquire(timeout=10)

    site.infer = infer
    with Gate(URL, transport=httpx.MockTransport(site)) as gate:
        assert len(list(gate.decide_stream(images()))) == 5
    assert counts(site) == [1] * 5


def test_what_the_iterable_overwrites_was_read_before(script: Make) -> None:
    buffer = np.zeros((64, 64, 3), np.uint8)
    sent: list[int] = []
    site = Site()

    def infer(request: httpx.Request) -> httpx.Response:
        head = read_head(request)
        count = head["inputs"][0]["shape"][0]
        pixels = np.frombuffer(request.content[-count * 32 * 32 * 3 :], np.uint8).reshape(count, -1)
        sent.extend(pixels[:, 0].tolist())
        return judged(request)

    site.infer = infer

    def images() -> Iterator[Any]:
        for level in range(50):
            buffer[:] = level
            yield buffer

    assert len(list(script(site, concurrency=1).stream(images()))) == 50
    assert sent == list(range(50))


def test_an_error_of_the_iterable_comes_after_the_outcomes_of_what_came_before(script: Make) -> None:
    def images() -> Iterator[Any]:
        yield from [FILE, PIXELS, "missing"]
        raise OSError("the disk is gone")

    taken: list[Any] = []
    with pytest.raises(OSError, match="the disk is gone"):
        for outcome in script(Site()).stream(images()):
            taken.append(outcome)
    assert [outcome.accepted for outcome in taken] == [True, True, False]


def test_an_error_of_the_gate_comes_after_the_outcomes_of_what_came_before(script: Make) -> None:
    site = Site()
    site.decide = lambda request: (
        problem(401, "unauthorized") if request.url.params["id"] == "bad" else accepted(request)
    )
    taken: list[Any] = []
    images = [*[FILE] * 20, Ask(FILE, id="bad"), *[FILE] * 20]
    with pytest.raises(Unauthorized) as caught:
        for outcome in script(site).stream(images):
            taken.append(outcome)
    assert len(taken) == 20
    (note,) = caught.value.__notes__
    assert "numbers 21 to " in note
    with pytest.raises(Unauthorized):
        script(site).decide_many(images)


def test_a_gate_that_does_not_tell_its_model_ends_it_after_what_needs_none(script: Make) -> None:
    site = Site()
    taken: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        return problem(401, "unauthorized") if request.url.path == "/v1/model" else site(request)

    with pytest.raises(Unauthorized):
        for outcome in script(answer).stream([FILE, FILE, PIXELS, FILE]):
            taken.append(outcome)
    assert len(taken) == 2


def test_a_fault_of_the_service_about_one_image_harms_no_other(script: Make) -> None:
    site = Site()
    site.decide = lambda request: problem(500, "internal") if request.content == b"poison" else accepted(request)
    outcomes = script(site).decide_many([FILE, b"poison", FILE])
    assert [outcome.accepted for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], ImageFailed)
    assert (outcomes[1].code, outcomes[1].detail) == ("internal", "it is internal")
    assert outcomes[1].error.request_id == "r1"
    site.decide = lambda _: httpx.Response(520, text="a proxy")
    with pytest.raises(ServiceFault):
        script(site).decide_many([FILE])


def test_an_outcome_does_not_hold_its_image(script: Make) -> None:
    images: list[Any] = ["missing", PIXELS[:40], FILE, Image.open(io.BytesIO(encode(PIXELS)[:50]))]
    site = Site()
    site.decide = lambda _: problem(422, "corrupt_image")
    for outcome in script(site).decide_many(images):
        assert isinstance(outcome, ImageFailed)
        error = outcome.error
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_answers_that_overtake_each_other_are_put_in_order() -> None:
    first_may_go = threading.Event()
    site = Site()

    def decide(request: httpx.Request) -> httpx.Response:
        if request.content == b"0":
            assert first_may_go.wait(10)
        elif request.content == b"3":
            first_may_go.set()
        return accepted(request)

    site.decide = decide
    with Gate(URL, transport=httpx.MockTransport(site), concurrency=2) as gate:
        images = [Ask(str(number).encode(), id=f"n{number}") for number in range(6)]
        assert names(gate.decide_stream(images)) == [f"n{number}" for number in range(6)]


def test_answers_that_overtake_each_other_are_put_in_order_on_an_event_loop() -> None:
    async def run() -> list[str]:
        first_may_go = asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.content == b"0":
                await asyncio.wait_for(first_may_go.wait(), 10)
            elif request.content == b"3":
                first_may_go.set()
            return accepted(request)

        async with AsyncGate(URL, transport=httpx.MockTransport(answer), concurrency=2) as gate:
            images = [Ask(str(number).encode(), id=f"n{number}") for number in range(6)]
            return [outcome.id async for outcome in gate.decide_stream(images)]

    assert asyncio.run(run()) == [f"n{number}" for number in range(6)]


def test_no_more_requests_are_under_way_than_may_be() -> None:
    under_way, most = 0, 0
    lock = threading.Lock()
    together = threading.Barrier(3)

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(10)
        with lock:
            under_way -= 1
        return accepted(request)

    with Gate(URL, transport=httpx.MockTransport(answer), concurrency=3) as gate:
        assert len(gate.decide_many([FILE] * 12)) == 12
    assert most == 3


def test_outcomes_come_while_an_asynchronous_iterable_is_waited_for() -> None:
    async def run() -> list[str]:
        taken: list[str] = []
        go_on = asyncio.Event()

        async def images() -> AsyncIterator[Any]:
            for number in range(4):
                # Not before the outcome of the one before was taken.
                await asyncio.wait_for(go_on.wait(), 10)
                go_on.clear()
                yield Ask(FILE, id=f"n{number}") if number % 2 else PIXELS

        async with AsyncGate(URL, transport=httpx.MockTransport(Site())) as gate:
            go_on.set()
            async for outcome in gate.decide_stream(images()):
                taken.append(outcome.id)
                go_on.set()
        return taken

    assert len(asyncio.run(run())) == 4


def test_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    async def run() -> None:
        closed = asyncio.Event()

        async def images() -> AsyncIterator[Any]:
            try:
                while True:
                    yield FILE
                    await asyncio.sleep(0)
            finally:
                closed.set()

        async with AsyncGate(URL, transport=httpx.MockTransport(Site())) as gate:
            async with aclosing(gate.decide_stream(images())) as stream:
                async for _ in stream:
                    break
            await asyncio.wait_for(closed.wait(), 10)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_stream_of_threads_that_is_left_early_sends_nothing_more() -> None:
    go = threading.Event()
    site = Site()

    def decide(request: httpx.Request) -> httpx.Response:
        assert request.content == b"first" or go.wait(10)
        return accepted(request)

    site.decide = decide
    with Gate(URL, transport=httpx.MockTransport(site), concurrency=1) as gate:
        stream = gate.decide_stream(itertools.chain([b"first"], itertools.repeat(FILE)))
        next(stream)
        stream.close()
        go.set()
    assert len(site.seen) <= 2


def test_a_stream_whose_gate_is_closed_hands_out_what_was_answered_and_says_so() -> None:
    entered, go = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        entered.set()
        assert go.wait(10)
        return accepted(request)

    gate = Gate(URL, transport=httpx.MockTransport(answer), concurrency=1)
    taken: list[Any] = []

    def take() -> None:
        for outcome in gate.decide_stream(itertools.repeat(FILE)):
            taken.append(outcome)

    with ThreadPoolExecutor(2) as pool:
        taking = pool.submit(take)
        assert entered.wait(10)
        closing = pool.submit(gate.close)
        go.set()
        with pytest.raises(GateError, match="closed"):
            taking.result(10)
        closing.result(10)
    assert taken


def test_a_cancelled_call_ends_what_it_began() -> None:
    async def run() -> None:
        entered = asyncio.Event()

        async def answer(_: httpx.Request) -> httpx.Response:
            entered.set()
            await asyncio.sleep(60)
            raise AssertionError("it was not cancelled")

        async with AsyncGate(URL, transport=httpx.MockTransport(answer)) as gate:
            call = asyncio.create_task(gate.decide_many([FILE] * 5))
            await asyncio.wait_for(entered.wait(), 10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_call_on_an_event_loop_ends_in_time_even_if_bytes_drip() -> None:
    async def run() -> None:
        async def answer(_: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError("it was not ended")

        async with AsyncGate(URL, transport=httpx.MockTransport(answer), timeout=0.05) as gate:
            with pytest.raises(Exception, match="did not respond in time"):
                await gate.decide(FILE)

    asyncio.run(run())


def test_threads_may_share_a_gate() -> None:
    site = Site()
    with Gate(URL, transport=httpx.MockTransport(site)) as gate, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: gate.decide(PIXELS, id=f"n{number}"), range(64)))
        many = list(pool.map(lambda _: gate.decide_many([PIXELS, FILE] * 10), range(8)))
    assert names(found) == [f"n{number}" for number in range(64)]
    assert all(isinstance(one, Decision) for outcomes in many for one in outcomes)
