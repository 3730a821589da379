import asyncio

import pytest

from service.errors import BodyTooLarge, Draining, Overloaded
from service.inference.admission import Admission
from service.inference.running_mean import RunningMean


def make_admission(*, images: int = 4, total: int = 100, body: int = 50, wait: float = 0.0) -> Admission:
    return Admission(
        max_images=images, max_bytes=total, max_body_bytes=body, predicted_wait=lambda: wait, max_streams=2
    )


def test_leaving_a_permit_releases_images_and_bytes() -> None:
    admission = make_admission()
    with admission.admit(30, 1.0) as permit:
        assert (admission.images, admission.bytes) == (1, 30)
        permit.release_bytes()
        assert (admission.images, admission.bytes) == (1, 0)
    assert (admission.images, admission.bytes) == (0, 0)


def test_exception_releases_images_and_bytes() -> None:
    admission = make_admission()
    with pytest.raises(ZeroDivisionError), admission.admit(None, 1.0) as permit:
        permit.receive(20)
        _ = 1 / 0
    assert (admission.images, admission.bytes) == (0, 0)


def test_image_beyond_the_limit_is_overloaded() -> None:
    admission = make_admission(images=2)
    admission.admit(1, 1.0)
    admission.admit(1, 1.0)
    with pytest.raises(Overloaded) as refused:
        admission.admit(1, 1.0)
    assert (refused.value.reason, refused.value.headers) == ("images", {"Retry-After": "1"})


def test_bytes_are_reserved_when_they_are_announced() -> None:
    admission = make_admission()
    admission.admit(50, 1.0)
    admission.admit(50, 1.0)
    with pytest.raises(Overloaded) as refused:
        admission.admit(1, 1.0)
    assert refused.value.reason == "bytes"
    assert admission.images == 2


def test_one_request_beyond_the_limits_is_admitted_into_an_idle_service_alone() -> None:
    admission = make_admission(images=2, total=40)
    with admission.admit(None, 1.0) as permit:
        permit.take_images(4)
        for _ in range(5):
            permit.receive(10)
        assert (admission.images, admission.bytes) == (5, 50)
        with pytest.raises(Overloaded):
            admission.admit(1, 1.0)
    with admission.admit(1, 1.0), pytest.raises(Overloaded):
        admission.admit(None, 1.0).receive(40)


def test_an_announced_body_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(BodyTooLarge, match="50"):
        make_admission().admit(51, 1.0)


def test_a_body_of_unknown_length_is_counted_as_it_comes() -> None:
    admission = make_admission()
    with admission.admit(None, 1.0) as permit:
        permit.receive(30)
        assert admission.bytes == 30
        permit.receive(20)
        with pytest.raises(BodyTooLarge):
            permit.receive(1)


def test_announced_bytes_are_counted_once() -> None:
    admission = make_admission()
    with admission.admit(30, 1.0) as permit:
        permit.receive(10)
        permit.receive(20)
        assert admission.bytes == 30


def test_a_wait_beyond_the_deadline_is_refused_with_the_time_to_come_back() -> None:
    admission = make_admission(wait=2.95)
    with pytest.raises(Overloaded) as refused:
        admission.admit(1, 2.9)
    assert (refused.value.reason, refused.value.headers) == ("deadline", {"Retry-After": "3"})
    admission.admit(1, 2.95)


def test_the_time_an_image_takes_is_a_running_mean() -> None:
    mean = RunningMean()
    assert mean.value == 0.0
    mean.update(1.0)
    assert mean.value == 1.0
    for _ in range(200):
        mean.update(3.0)
    assert mean.value == pytest.approx(3.0, abs=0.01)


def test_a_draining_service_admits_nothing() -> None:
    admission = make_admission()
    admission.drain()
    with pytest.raises(Draining):
        admission.admit(1, 1.0)


def test_waiting_images_are_admitted_in_order_once_there_is_room() -> None:
    async def run() -> None:
        admission = make_admission(total=80)
        first = await admission.wait(50)
        order: list[int] = []

        async def enter(size: int) -> None:
            with await admission.wait(size):
                order.append(size)
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(enter(size)) for size in (40, 30, 1)]
        await asyncio.sleep(0.01)
        assert order == []
        first.keep(20)
        await asyncio.gather(*tasks)
        assert order == [40, 30, 1]
        first.leave()
        first.leave()
        assert (admission.images, admission.bytes) == (0, 0)

    asyncio.run(run())


def test_waiting_images_leave_a_quarter_to_single_requests() -> None:
    async def run() -> None:
        admission = make_admission(images=4, total=1000)
        permits = [await admission.wait(1) for _ in range(3)]
        waiting = asyncio.create_task(admission.wait(1))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        with admission.admit(1, 1.0):
            assert admission.images == 4
        permits[0].leave()
        with await waiting:
            assert admission.images == 3

    asyncio.run(run())


def test_cancelled_wait_does_not_block_the_next() -> None:
    async def run() -> None:
        admission = make_admission(images=1)
        permit = await admission.wait(1)
        first, second = (asyncio.create_task(admission.wait(1)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        permit.leave()
        (await asyncio.wait_for(second, 60)).leave()
        assert (admission.images, admission.bytes) == (0, 0)

    asyncio.run(run())


def test_largest_allowed_image_is_admitted_into_an_idle_service() -> None:
    admission = make_admission(total=50, body=50)
    asyncio.run(admission.wait(50)).leave()
    with pytest.raises(BodyTooLarge):
        asyncio.run(admission.wait(51))


def test_a_drain_ends_every_wait() -> None:
    async def run() -> None:
        admission = make_admission(images=1)
        await admission.wait(1)
        waiting = [asyncio.create_task(admission.wait(1)) for _ in range(3)]
        await asyncio.sleep(0.01)
        admission.drain()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [Draining] * 3

    asyncio.run(run())


def test_streams_beyond_the_limit_are_overloaded() -> None:
    admission = make_admission()
    with admission.stream(), admission.stream():
        with pytest.raises(Overloaded) as refused, admission.stream():
            pass
        assert refused.value.reason == "streams"
    with admission.stream():
        assert admission.streams == 1
