"""A generator's images are filtered until there are enough, or it makes no sense to go on."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import Ask, AsyncGate, AsyncGateFilter, Gate, GateError, GateFilter, GaveUp, Unauthorized, to_uint8
from lensgate_client._stream.filter_run import FilterStats

from tests.client.support import NO_TLS, URL, Site, problem
from tests.support.images import Pixels, flat
from tests.support.servers import Running

GLASSES, BARE, UNCERTAIN = flat(250), flat(5), flat(128)
"""Brightness is the fake model's probability."""


class Blocking:
    """`GateFilter`."""

    def __init__(self, url: str, *, gate: dict[str, Any] | None = None, **options: Any) -> None:
        self._gate = Gate(url, **{"transport": httpx.HTTPTransport(verify=NO_TLS), **(gate or {})})
        self._filter = GateFilter(self._gate, **options)

    @property
    def stats(self) -> FilterStats:
        return self._filter.stats

    def take(self, source: Any, count: int | None = None, **options: Any) -> list[Any]:
        with self._gate:
            return list(self._filter.take(source, count, **options))


class OnLoop:
    """`AsyncGateFilter`."""

    def __init__(self, url: str, *, gate: dict[str, Any] | None = None, **options: Any) -> None:
        self._gate = AsyncGate(url, **{"transport": httpx.AsyncHTTPTransport(verify=NO_TLS), **(gate or {})})
        self._filter = AsyncGateFilter(self._gate, **options)

    @property
    def stats(self) -> FilterStats:
        return self._filter.stats

    def take(self, source: Any, count: int | None = None, **options: Any) -> list[Any]:
        async def run() -> list[Any]:
            async with self._gate, aclosing(self._filter.take(source, count, **options)) as images:
                return [image async for image in images]

        return asyncio.run(run())


class Rows:
    """What PyTorch calls a map-style data set: a sequence without `__iter__`."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __getitem__(self, index: int) -> Any:
        return self._rows[index]


Make = Callable[..., Blocking | OnLoop]


@pytest.fixture(params=[Blocking, OnLoop], ids=["GateFilter", "AsyncGateFilter"])
def make(request: pytest.FixtureRequest) -> Make:
    kind: Make = request.param
    return kind


def test_only_accepted_images_come_out_until_there_are_enough(make: Make, service: Running) -> None:
    made = itertools.cycle([GLASSES, UNCERTAIN, BARE])
    kept = make(service.url)
    images = kept.take(made, 7, expected="glasses")
    assert len(images) == 7
    assert all(image is GLASSES for image in images)
    stats = kept.stats
    assert (stats.seen, stats.accepted) == (19, 7)
    assert stats.discarded == {"uncertain": 6, "contradicted": 6}
    assert stats.errors == {}
    assert stats.reject_ratio == pytest.approx(12 / 19)
    assert str(stats) == "7 of 19 images accepted (6 uncertain, 6 contradicted)"


def test_of_batches_the_images_come_out_as_they_are_in_them(make: Make, service: Running) -> None:
    batches: list[Pixels] = []

    def generate() -> Pixels:
        batches.append(np.stack([GLASSES, UNCERTAIN, BARE, UNCERTAIN]))
        return batches[-1]

    images = make(service.url).take(generate, 9)
    assert len(images) == 9
    places = [(number, index) for number in range(5) for index in (0, 2)]
    for image, (number, index) in zip(images, places, strict=False):
        assert np.shares_memory(image, batches[number])
        assert np.array_equal(image, batches[number][index])
    assert len(batches) <= 5 + 2 + 16


def test_a_list_is_several_samples_and_a_sample_may_be_anything_with_an_image(make: Make, service: Running) -> None:
    samples = [{"latent": number, "image": image} for number, image in enumerate([GLASSES, UNCERTAIN, BARE, GLASSES])]
    kept = make(service.url, pixels=lambda sample: sample["image"])
    assert [sample["latent"] for sample in kept.take([samples[:3], samples[3:]])] == [0, 2, 3]
    rows = make(service.url, pixels=lambda sample: sample["image"]).take(Rows(samples))
    assert [sample["latent"] for sample in rows] == [0, 2, 3]
    tensors = np.stack([np.full((3, 64, 64), value, np.float32) for value in (-1.0, 0.0, 1.0)])
    (bare, bright) = make(service.url, pixels=to_uint8).take([tensors])
    assert bare.dtype == np.float32
    assert (bare.min(), bright.max()) == (-1.0, 1.0)


def test_each_sample_may_say_what_it_was_expected_to_be(make: Make, service: Running) -> None:
    samples = [(GLASSES, "glasses"), (GLASSES, "no_glasses"), (BARE, "no_glasses"), (BARE, "glasses")]
    kept = make(service.url, pixels=lambda sample: Ask(*sample))
    assert [label for _, label in kept.take(samples)] == ["glasses", "no_glasses"]
    assert make(service.url).take([Ask(np.stack([BARE, GLASSES]), "glasses")])[0] is not None


def test_an_image_that_was_overwritten_is_not_handed_out_for_the_one_that_was_judged(
    make: Make, service: Running
) -> None:
    buffer = flat(0)

    def overwrite() -> Iterator[Pixels]:
        for _ in range(100):
            for level in (GLASSES, BARE):
                buffer[:] = level
                yield buffer

    with pytest.raises(ValueError, match="allocate new memory for each image"):
        make(service.url).take(overwrite(), 100)


def test_what_cannot_be_judged_is_counted_and_left_out(make: Make, service: Running) -> None:
    kept = make(service.url)
    images = kept.take([GLASSES, "missing.png", GLASSES[:40], np.zeros((2, 64, 64, 3), np.float32), BARE])
    assert len(images) == 2
    assert kept.stats.errors == {"unreadable_file": 1, "not_square": 1, "unsupported_image": 2}
    assert (kept.stats.seen, kept.stats.discarded) == (6, {})


def test_it_gives_up_where_too_much_is_rejected(make: Make, service: Running) -> None:
    kept = make(service.url, max_reject_ratio=0.75, min_samples=20)
    with pytest.raises(GaveUp) as caught:
        kept.take(itertools.cycle([GLASSES, *[UNCERTAIN] * 4]), 1000)
    assert kept.stats.seen == 20
    assert "4 of 20 images accepted (16 uncertain): the reject ratio 80.0% exceeds 75.0%" in caught.value.detail
    fine = make(service.url, max_reject_ratio=0.8, min_samples=20)
    assert len(fine.take(itertools.cycle([GLASSES, *[UNCERTAIN] * 4]), 10)) == 10


def test_what_only_fails_is_given_up_too(make: Make, service: Running) -> None:
    with pytest.raises(
        GaveUp, match=r"30 unsupported_image\): the reject ratio 100.0% exceeds.*with lensgate_client.to_uint8"
    ):
        make(service.url, min_samples=30).take(lambda: np.zeros((64, 64, 3), np.float32), 5)


def test_it_looks_at_no_more_than_it_may(make: Make, service: Running) -> None:
    kept = make(service.url, max_samples=10)
    with pytest.raises(GaveUp, match=r"5 of 10 images accepted .*: max_samples is 10$"):
        kept.take(itertools.cycle([BARE, UNCERTAIN]), 6)
    assert len(make(service.url, max_samples=10).take(itertools.cycle([BARE, UNCERTAIN]), 5)) == 5


def test_a_generator_that_ends_too_early_is_no_success(make: Make, service: Running) -> None:
    with pytest.raises(GaveUp, match=r"2 of 3 images accepted .*: the samples ended before 3 images were accepted$"):
        make(service.url).take([GLASSES, UNCERTAIN, BARE], 3)
    assert len(make(service.url).take([GLASSES, UNCERTAIN, BARE])) == 2
    assert make(service.url).take([]) == []


def test_a_generator_that_makes_nothing_any_more_is_not_asked_for_ever(make: Make, service: Running) -> None:
    made = itertools.chain([GLASSES, [], np.zeros((0, 64, 64, 3), np.uint8)] * 2, itertools.repeat([]))
    kept = make(service.url)
    with pytest.raises(GaveUp, match="2 of 2 images accepted: the samples ended"):
        kept.take(lambda: next(made), 3)


def test_an_error_of_generator_or_gate_ends_it(make: Make) -> None:
    site = Site()
    kept = make(URL, gate={"transport": httpx.MockTransport(site)})

    def generate() -> Iterator[Pixels]:
        yield BARE
        raise ArithmeticError("the network diverged")

    with pytest.raises(ArithmeticError):
        kept.take(generate())
    assert kept.stats.accepted == 1
    site.infer = lambda _: problem(401, "unauthorized")
    with pytest.raises(Unauthorized):
        make(URL, gate={"transport": httpx.MockTransport(site)}).take(lambda: BARE, 1)


@pytest.mark.parametrize(
    "options",
    [{"max_reject_ratio": 1.5}, {"max_reject_ratio": -0.1}, {"min_samples": 0}, {"max_samples": 0}],
)
def test_limits_that_make_no_sense_are_refused(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1|must be >= 1"):
        make(URL, **options)


def test_a_take_that_makes_no_sense_is_refused_at_once(make: Make) -> None:
    with pytest.raises(ValueError, match="count must be >= 1"):
        make(URL).take([], 0)
    with pytest.raises(ValueError, match="expected must be one of"):
        make(URL).take([], 1, expected="hat")


def test_the_generator_makes_the_next_batch_while_the_gate_judges_and_no_more() -> None:
    made = 0
    second = threading.Event()
    site = Site()
    answer = site.infer

    def infer(request: httpx.Request) -> httpx.Response:
        # The first batch is not answered before the second is being made.
        assert second.wait(10)
        return answer(request)

    def generate() -> Pixels:
        nonlocal made
        made += 1
        if made == 2:
            second.set()
        return np.stack([BARE] * 32)

    site.infer = infer
    with Gate(URL, transport=httpx.MockTransport(site)) as gate:
        kept = GateFilter(gate)
        for number, _ in enumerate(kept.take(generate, 320), 1):
            assert made <= (number - 1) // 32 + 1 + 2
    assert kept.stats.accepted == 320


def test_an_asynchronous_generator_is_filtered_too(service: Running) -> None:
    async def generate() -> Pixels:
        await asyncio.sleep(0)
        return BARE

    async def images() -> AsyncIterator[Pixels]:
        for image in (GLASSES, UNCERTAIN, BARE):
            yield image

    assert len(OnLoop(service.url).take(images())) == 2
    assert len(OnLoop(service.url).take(generate, 3)) == 3


def test_giving_up_is_an_error_of_this_package() -> None:
    assert issubclass(GaveUp, GateError)
    assert str(FilterStats()) == "0 of 0 images accepted"
    assert FilterStats().reject_ratio == 0.0
