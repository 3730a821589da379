"""Streams: order, read-ahead limit, and termination without loss."""

import asyncio
import io
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import (
    Ask,
    AsyncGate,
    DeadlineExceeded,
    Decision,
    Gate,
    GateError,
    ImageFailed,
    ServiceFault,
    Unauthorized,
)
from lensgate_client._stream import async_stream
from PIL import Image

from tests.client.support import FILE, PIXELS, URL, Make, ScriptedGate, accepted, accepted_tensor, problem, read_head
from tests.support.images import encode


def counts(scripted: ScriptedGate) -> list[int]:
    """Return the number of images of each pixel request."""
    heads = [read_head(request) for request in scripted.seen if request.url.path.endswith("/infer")]
    return [head["inputs"][0]["shape"][0] for head in heads]


def names(outcomes: Any) -> list[str]:
    return [outcome.id for outcome in outcomes]


def test_images_fill_requests_and_batches_are_split(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    assert len(asking.decide_many([PIXELS] * 70)) == 70
    assert sorted(counts(scripted)) == [6, 32, 32]
    scripted.seen.clear()
    assert len(asking.decide_many(np.stack([PIXELS] * 70))) == 70
    assert sorted(counts(scripted)) == [6, 32, 32]
    scripted.seen.clear()
    asking.decide_many([np.stack([PIXELS] * 20), np.stack([PIXELS] * 20)])
    assert counts(scripted) == [20, 20]


def test_files_and_failures_do_not_split_pixel_requests(script: Make) -> None:
    scripted = ScriptedGate()
    images: list[Any] = [FILE, PIXELS, "missing", PIXELS, FILE, PIXELS[:50], PIXELS]
    outcomes = script(scripted).decide_many(images)
    assert [outcome.accepted for outcome in outcomes] == [True, True, False, True, True, False, True]
    assert counts(scripted) == [3]
    assert len({outcome.id.partition(".")[0] for outcome in (outcomes[1], outcomes[3], outcomes[6])}) == 1


def test_image_with_an_id_is_sent_alone(script: Make) -> None:
    scripted = ScriptedGate()
    images: list[Any] = [
        PIXELS,
        Ask(PIXELS, id="mine"),
        PIXELS,
        Ask(PIXELS[None], "glasses", "yours"),
        Ask(FILE, id="x"),
    ]
    outcomes = script(scripted).decide_many(images)
    assert sorted(counts(scripted)) == [1, 1, 2]
    assert [names(outcomes)[place] for place in (1, 3, 4)] == ["mine", "yours", "x"]


def test_pixels_of_different_sizes_are_not_mixed(script: Make) -> None:
    scripted = ScriptedGate()

    def images() -> Iterator[Any]:
        yield PIXELS
        scripted.size, scripted.version = 16, "8"
        for _ in range(40):
            yield PIXELS

    assert all(outcome.accepted for outcome in script(scripted, batch_size=8).stream(images()))
    sizes = {read_head(request)["inputs"][0]["shape"][1] for request in scripted.seen if "infer" in request.url.path}
    assert sizes == {32, 16}


def test_empty_input_has_no_outcomes(script: Make) -> None:
    asking = script(ScriptedGate())
    assert asking.decide_many([]) == []
    assert asking.decide_many(np.zeros((0, 64, 64, 3), np.uint8)) == []
    assert list(asking.stream(iter(()))) == []


@pytest.mark.parametrize("image", [FILE, "face.png", Ask(FILE)])
def test_single_image_instead_of_an_iterable_raises_type_error(script: Make, image: Any) -> None:
    asking = script(ScriptedGate())
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
def test_endless_iterable_is_read_only_as_outcomes_are_taken(
    script: Make, *, image: Any, each: int, packed: int, ahead: int | None, requests: int
) -> None:
    made = 0

    def images() -> Iterator[Any]:
        nonlocal made
        while True:
            made += each
            yield image

    stream = script(ScriptedGate(), concurrency=2, batch_size=8).stream(images(), ahead=ahead)
    for taken in range(1, 100):
        next(stream)
        # Complete requests, one that is being packed, and one whose outcomes are being taken.
        assert made - taken < (requests + 2) * packed
    stream.close()  # type: ignore[attr-defined]


def test_partial_request_is_sent_when_the_stream_is_idle() -> None:
    arrived = threading.Semaphore(0)
    scripted = ScriptedGate()

    def infer(request: httpx.Request) -> httpx.Response:
        arrived.release()
        return accepted_tensor(request)

    def images() -> Iterator[Any]:
        for _ in range(5):
            yield PIXELS
            assert arrived.acquire(timeout=60)

    scripted.infer = infer
    with Gate(URL, transport=httpx.MockTransport(scripted)) as gate:
        assert len(list(gate.decide_stream(images()))) == 5
    assert counts(scripted) == [1] * 5


def test_image_is_read_before_the_next_is_requested(script: Make) -> None:
    buffer = np.zeros((64, 64, 3), np.uint8)
    sent: list[int] = []
    scripted = ScriptedGate()

    def infer(request: httpx.Request) -> httpx.Response:
        head = read_head(request)
        count = head["inputs"][0]["shape"][0]
        pixels = np.frombuffer(request.content[-count * 32 * 32 * 3 :], np.uint8).reshape(count, -1)
        sent.extend(pixels[:, 0].tolist())
        return accepted_tensor(request)

    scripted.infer = infer

    def images() -> Iterator[Any]:
        for level in range(50):
            buffer[:] = level
            yield buffer

    assert len(list(script(scripted, concurrency=1).stream(images()))) == 50
    assert sent == list(range(50))


def test_error_of_the_iterable_is_raised_after_earlier_outcomes(script: Make) -> None:
    def images() -> Iterator[Any]:
        yield from [FILE, PIXELS, "missing"]
        raise OSError("the disk is gone")

    taken: list[Any] = []
    with pytest.raises(OSError, match="the disk is gone"):
        for outcome in script(ScriptedGate()).stream(images()):
            taken.append(outcome)
    assert [outcome.accepted for outcome in taken] == [True, True, False]


def test_error_of_the_gate_is_raised_after_earlier_outcomes(script: Make) -> None:
    scripted = ScriptedGate()
    scripted.decide = lambda request: (
        problem(401, "unauthorized") if request.url.params["id"] == "bad" else accepted(request)
    )
    taken: list[Any] = []
    images = [*[FILE] * 20, Ask(FILE, id="bad"), *[FILE] * 20]
    with pytest.raises(Unauthorized) as caught:
        for outcome in script(scripted).stream(images):
            taken.append(outcome)
    assert len(taken) == 20
    (note,) = caught.value.__notes__
    assert "numbers 21 to " in note
    with pytest.raises(Unauthorized):
        script(scripted).decide_many(images)


def test_failed_model_request_is_raised_after_earlier_files(script: Make) -> None:
    scripted = ScriptedGate()
    taken: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        return problem(401, "unauthorized") if request.url.path == "/v1/model" else scripted(request)

    with pytest.raises(Unauthorized) as caught:
        for outcome in script(answer).stream([FILE, FILE, np.stack([PIXELS] * 5), FILE]):
            taken.append(outcome)
    assert len(taken) == 2
    assert caught.value.__notes__ == ["lensgate: of the images passed so far, numbers 3 to 7 have no outcome"]


def test_the_note_on_an_error_counts_a_whole_batch(script: Make) -> None:
    scripted = ScriptedGate()
    scripted.infer = lambda _: problem(401, "unauthorized")
    with pytest.raises(Unauthorized) as caught:
        list(script(scripted).stream([np.stack([PIXELS] * 300)]))
    assert caught.value.__notes__ == ["lensgate: of the images passed so far, numbers 1 to 300 have no outcome"]


def test_internal_error_affects_its_image_only(script: Make) -> None:
    scripted = ScriptedGate()
    scripted.decide = lambda request: problem(500, "internal") if request.content == b"poison" else accepted(request)
    outcomes = script(scripted).decide_many([FILE, b"poison", FILE])
    assert [outcome.accepted for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], ImageFailed)
    assert (outcomes[1].code, outcomes[1].detail) == ("internal", "it is internal")
    assert outcomes[1].error.request_id == "r1"
    scripted.decide = lambda _: httpx.Response(507, text="a proxy")
    with pytest.raises(ServiceFault):
        script(scripted).decide_many([FILE])


def test_failure_does_not_reference_its_image(script: Make) -> None:
    images: list[Any] = ["missing", PIXELS[:40], FILE, Image.open(io.BytesIO(encode(PIXELS)[:50]))]
    scripted = ScriptedGate()
    scripted.decide = lambda _: problem(422, "corrupt_image")
    outcomes = script(scripted).decide_many(images)
    assert len(outcomes) == len(images)
    for outcome in outcomes:
        assert isinstance(outcome, ImageFailed)
        error = outcome.error
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_responses_are_reordered() -> None:
    first_may_go = threading.Event()
    scripted = ScriptedGate()

    def decide(request: httpx.Request) -> httpx.Response:
        if request.content == b"0":
            assert first_may_go.wait(60)
        elif request.content == b"3":
            first_may_go.set()
        return accepted(request)

    scripted.decide = decide
    with Gate(URL, transport=httpx.MockTransport(scripted), concurrency=2) as gate:
        images = [Ask(str(number).encode(), id=f"n{number}") for number in range(6)]
        assert names(gate.decide_stream(images)) == [f"n{number}" for number in range(6)]


def test_responses_are_reordered_on_an_event_loop() -> None:
    async def run() -> list[str]:
        first_may_go = asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.content == b"0":
                await asyncio.wait_for(first_may_go.wait(), 60)
            elif request.content == b"3":
                first_may_go.set()
            return accepted(request)

        async with AsyncGate(URL, transport=httpx.MockTransport(answer), concurrency=2) as gate:
            images = [Ask(str(number).encode(), id=f"n{number}") for number in range(6)]
            return [outcome.id async for outcome in gate.decide_stream(images)]

    assert asyncio.run(run()) == [f"n{number}" for number in range(6)]


def test_concurrency_limits_requests_in_flight() -> None:
    in_flight, most = 0, 0
    lock = threading.Lock()
    together = threading.Barrier(3)

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        together.wait(60)
        with lock:
            in_flight -= 1
        return accepted(request)

    with Gate(URL, transport=httpx.MockTransport(answer), concurrency=3) as gate:
        assert len(gate.decide_many([FILE] * 12)) == 12
    assert most == 3


def test_outcomes_arrive_while_the_iterable_waits() -> None:
    async def run() -> list[str]:
        taken: list[str] = []
        go_on = asyncio.Event()

        async def images() -> AsyncIterator[Any]:
            for number in range(4):
                # Wait until the outcome of the previous image was taken.
                await asyncio.wait_for(go_on.wait(), 60)
                go_on.clear()
                yield Ask(FILE, id=f"n{number}") if number % 2 else PIXELS

        async with AsyncGate(URL, transport=httpx.MockTransport(ScriptedGate())) as gate:
            go_on.set()
            async for outcome in gate.decide_stream(images()):
                taken.append(outcome.id)
                go_on.set()
        return taken

    assert len(asyncio.run(run())) == 4


def test_closed_stream_leaves_no_tasks() -> None:
    async def run() -> None:
        closed = asyncio.Event()

        async def images() -> AsyncIterator[Any]:
            try:
                while True:
                    yield FILE
                    await asyncio.sleep(0)
            finally:
                closed.set()

        async with AsyncGate(URL, transport=httpx.MockTransport(ScriptedGate())) as gate:
            async with aclosing(gate.decide_stream(images())) as stream:
                async for _ in stream:
                    break
            await asyncio.wait_for(closed.wait(), 60)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_closed_stream_cancels_queued_requests() -> None:
    go = threading.Event()
    scripted = ScriptedGate()

    def decide(request: httpx.Request) -> httpx.Response:
        assert request.content == b"first" or go.wait(60)
        return accepted(request)

    scripted.decide = decide
    with Gate(URL, transport=httpx.MockTransport(scripted), concurrency=1) as gate:
        stream = gate.decide_stream(itertools.chain([b"first"], itertools.repeat(FILE)))
        next(stream)
        stream.close()
        go.set()
    assert len(scripted.seen) <= 2


def test_stream_of_a_closed_gate_object_yields_completed_outcomes() -> None:
    entered, go = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        entered.set()
        assert go.wait(60)
        return accepted(request)

    gate = Gate(URL, transport=httpx.MockTransport(answer), concurrency=1)
    taken: list[Any] = []

    def take() -> None:
        for outcome in gate.decide_stream(itertools.repeat(FILE)):
            taken.append(outcome)

    with ThreadPoolExecutor(2) as pool:
        taking = pool.submit(take)
        assert entered.wait(60)
        closing = pool.submit(gate.close)
        go.set()
        with pytest.raises(GateError, match="closed"):
            taking.result(60)
        closing.result(60)
    assert taken


def test_cancelled_call_cancels_its_requests() -> None:
    async def run() -> None:
        entered = asyncio.Event()

        async def answer(_: httpx.Request) -> httpx.Response:
            entered.set()
            await asyncio.sleep(60)
            raise AssertionError("the request was not cancelled")

        async with AsyncGate(URL, transport=httpx.MockTransport(answer)) as gate:
            call = asyncio.create_task(gate.decide_many([FILE] * 5))
            await asyncio.wait_for(entered.wait(), 60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_asynchronous_call_ends_at_the_deadline() -> None:
    async def run() -> None:
        async def answer(_: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError("the request did not end")

        async with AsyncGate(URL, transport=httpx.MockTransport(answer), timeout=0.05) as gate:
            with pytest.raises(DeadlineExceeded, match="did not respond in time"):
                await gate.decide(FILE)

    asyncio.run(run())


def test_many_tasks_that_decide_at_once_take_few_connections() -> None:
    async def run() -> None:
        entered, go = asyncio.Semaphore(0), asyncio.Event()
        busy, most = 0, 0

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            entered.release()
            await go.wait()
            busy -= 1
            return accepted(request)

        async with AsyncGate(URL, transport=httpx.MockTransport(answer)) as gate:
            decisions = asyncio.gather(*(gate.decide(FILE, id=f"n{number}") for number in range(200)))
            for _ in range(64):
                await asyncio.wait_for(entered.acquire(), 60)
            go.set()
            assert names(await decisions) == [f"n{number}" for number in range(200)]
        assert most == 64

    asyncio.run(run())


def test_a_task_waits_for_others_until_its_own_deadline() -> None:
    async def run() -> None:
        entered, go = asyncio.Semaphore(0), asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            entered.release()
            await go.wait()
            return accepted(request)

        async with AsyncGate(URL, transport=httpx.MockTransport(answer)) as gate:
            calls = [asyncio.create_task(gate.decide(FILE)) for _ in range(64)]
            for _ in calls:
                await asyncio.wait_for(entered.acquire(), 60)
            with pytest.raises(DeadlineExceeded, match="waited for 64 others: decide_many and decide_stream send any"):
                await gate.decide(FILE, timeout=0.05)
            go.set()
            assert all(decision.accepted for decision in await asyncio.gather(*calls))
            assert (await gate.decide(FILE)).accepted

    asyncio.run(run())


def test_threads_may_share_a_gate_object() -> None:
    scripted = ScriptedGate()
    with Gate(URL, transport=httpx.MockTransport(scripted)) as gate, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: gate.decide(PIXELS, id=f"n{number}"), range(64)))
        many = list(pool.map(lambda _: gate.decide_many([PIXELS, FILE] * 10), range(8)))
    assert names(found) == [f"n{number}" for number in range(64)]
    assert all(isinstance(one, Decision) for outcomes in many for one in outcomes)


def test_requests_make_progress_while_a_source_blocks_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request had a few turns of the loop for each step of the source, and timed out as if the gate was at fault."""
    monkeypatch.setattr(async_stream, "_BLOCKED_SECONDS", 0.05)
    answered, found = 0, []

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal answered
        for _ in range(300):
            await asyncio.sleep(0)
        answered += 1
        return accepted(request)

    def generate() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.06)
            found.append(answered)
            yield FILE

    async def run() -> None:
        async with AsyncGate(URL, transport=httpx.MockTransport(answer)) as gate:
            assert len([outcome async for outcome in gate.decide_stream(generate(), ahead=10)]) == 4

    asyncio.run(run())
    assert found[-1] > 0
