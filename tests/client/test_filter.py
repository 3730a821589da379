"""`GateFilter` and `AsyncGateFilter`."""

import asyncio
import copy
import dataclasses
import itertools
import json
import math
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import (
    Ask,
    AsyncGate,
    AsyncGateFilter,
    Gate,
    GateError,
    GateFilter,
    GateUnreachable,
    GaveUp,
    NotReady,
    Retries,
    Unauthorized,
    to_uint8,
)
from lensgate_client._stream.filter_run import FilterStats

from tests.client.support import NO_TLS, URL, ScriptedGate, free_port, problem
from tests.support.images import Pixels, encode, flat, portrait
from tests.support.servers import Running

GLASSES, BARE, UNCERTAIN = flat(250), flat(5), flat(128)
"""The fake model returns the brightness as the probability."""


class Runner:
    """Runs a filter of a gate."""

    kinds: tuple[Any, Any, Any]

    def __init__(self, url: str, *, gate: dict[str, Any] | None = None, **options: Any) -> None:
        gate_kind, filter_kind, transport = self.kinds
        self._gate = gate_kind(url, **{"transport": transport(verify=NO_TLS), **(gate or {})})
        self._filter = filter_kind(self._gate, **options)

    @property
    def stats(self) -> FilterStats:
        found: FilterStats = self._filter.stats
        return found

    def take(self, *arguments: Any, **options: Any) -> list[Any]:
        return self.run("take", *arguments, **options)

    def run(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        raise NotImplementedError


class Blocking(Runner):
    """Runs a `GateFilter`."""

    kinds = (Gate, GateFilter, httpx.HTTPTransport)

    def run(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        with self._gate:
            return list(getattr(self._filter, method)(*arguments, **options))


class OnLoop(Runner):
    """Runs an `AsyncGateFilter` on an event loop."""

    kinds = (AsyncGate, AsyncGateFilter, httpx.AsyncHTTPTransport)

    def run(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        async def run() -> list[Any]:
            async with self._gate, aclosing(getattr(self._filter, method)(*arguments, **options)) as images:
                return [image async for image in images]

        return asyncio.run(run())


class Rows:
    """A map-style data set of PyTorch: a sequence without `__iter__`."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __getitem__(self, index: int) -> Any:
        return self._rows[index]


class Batch(Rows):
    """A caller's own batch, with a length."""

    def __len__(self) -> int:
        return len(self._rows)


Make = Callable[..., Blocking | OnLoop]


@pytest.fixture(params=[Blocking, OnLoop], ids=["GateFilter", "AsyncGateFilter"])
def make(request: pytest.FixtureRequest) -> Make:
    kind: Make = request.param
    return kind


def test_filter_yields_accepted_images_until_the_count(make: Make, service: Running) -> None:
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


def test_sort_yields_both_streams_with_their_outcomes_and_counts(make: Make, service: Running) -> None:
    kept = make(service.url)
    found = kept.run("sort", itertools.cycle([GLASSES, UNCERTAIN, b"text", BARE]), 2, expected="glasses")
    assert [one.accepted for one in found] == [True, False, False, False, True]
    assert [one.image is image for one, image in zip(found, [GLASSES, UNCERTAIN, b"text", BARE], strict=False)]
    assert [getattr(one.outcome, "reason", one.outcome.__class__.__name__) for one in found] == [
        "confident",
        "uncertain",
        "ImageFailed",
        "contradicted",
        "confident",
    ]
    assert found[2].outcome.code == "unsupported_image"
    assert (kept.stats.accepted, kept.stats.discarded, kept.stats.errors) == (
        2,
        {"uncertain": 1, "contradicted": 1},
        {"unsupported_image": 1},
    )


def test_rejected_orders_are_generated_again_up_to_the_cap(make: Make, service: Running) -> None:
    made: list[tuple[str, int]] = []

    def generate(order: str, attempt: int) -> Any:
        made.append((order, attempt))
        needed = {"at once": 0, "third": 2, "never": 99}[order]
        return Ask(GLASSES if attempt >= needed else UNCERTAIN, expected="glasses")

    kept = make(service.url, max_reject_ratio=1.0)
    found = kept.run("regenerate", ["never", "at once", "third"], generate, max_attempts=3)
    assert {(one.order, one.accepted, one.attempts) for one in found} == {
        ("at once", True, 1),
        ("third", True, 3),
        ("never", False, 3),
    }
    assert found[0].order == "at once"
    (never,) = (one for one in found if one.order == "never")
    assert never.image is UNCERTAIN
    assert never.outcome.reason == "uncertain"
    assert sorted(made) == [("at once", 0), *((order, number) for order in ("never", "third") for number in range(3))]
    assert (kept.stats.seen, kept.stats.accepted) == (7, 2)


def test_many_orders_are_all_finished_and_counted(make: Make, service: Running) -> None:
    kept = make(service.url)
    found = kept.run("regenerate", range(100), lambda order, attempt: flat(250 if attempt == order % 3 else 128, 32))
    assert sorted(one.order for one in found) == list(range(100))
    assert all(one.accepted and one.attempts == one.order % 3 + 1 for one in found)
    assert kept.stats.seen == sum(one.attempts for one in found)


def test_an_asynchronous_generator_of_orders_is_awaited(service: Running) -> None:
    async def generate(_order: int, _attempt: int) -> Pixels:
        await asyncio.sleep(0)
        return GLASSES

    assert [one.order for one in OnLoop(service.url).run("regenerate", [1, 2], generate)] == [1, 2]


def test_regenerating_ends_with_the_limits_of_the_filter_and_with_wrong_arguments(make: Make, service: Running) -> None:
    with pytest.raises(GaveUp, match="max_samples is 5"):
        make(service.url, max_samples=5).run("regenerate", itertools.count(), lambda *_: UNCERTAIN)
    for limit in (0, 1.5, math.inf):
        with pytest.raises(ValueError, match="max_attempts must be an integer >= 1"):
            make(service.url).run("regenerate", [1], lambda *_: UNCERTAIN, max_attempts=limit)
    with pytest.raises(ValueError, match="one order has one image, but 2 were generated"):
        make(service.url).run("regenerate", [1], lambda *_: np.stack([GLASSES, BARE]))


def test_an_error_names_the_orders_that_were_begun(make: Make) -> None:
    """Also those whose rejected image was to be generated again; a stream for each round numbers its images anew."""
    scripted = ScriptedGate()
    scripted.decide = lambda _: problem(422, "empty_image")
    scripted.infer = lambda _: problem(401, "unauthorized")
    kept = make(URL, gate={"transport": httpx.MockTransport(scripted)}, max_reject_ratio=1.0)
    with pytest.raises(Unauthorized) as caught:
        kept.run("regenerate", ["bad", "file"], lambda order, _: b"" if order == "bad" else GLASSES, max_attempts=999)
    (note,) = caught.value.__notes__
    head, _, orders = note.partition(": ")[2].partition(": ")
    assert (head, set(orders.split(", "))) == ("orders that were begun and not finished (2)", {"'bad'", "'file'"})


@pytest.mark.parametrize("method", ["take", "sort", "regenerate"])
def test_a_gate_that_is_down_is_an_error_before_anything_is_generated(make: Make, method: str) -> None:
    made: list[object] = []
    source = (made.append, [1]) if method == "regenerate" else (lambda: made.append(1),)
    gate = {"retries": Retries(longest_outage=0.0)}
    with pytest.raises(
        GateUnreachable, match=r"cannot connect to the gate at http://127\.0\.0\.1:\d+, is it running\?"
    ):
        make(f"http://127.0.0.1:{free_port()}", gate=gate).run(method, *reversed(source))
    scripted = ScriptedGate()
    scripted.ready = lambda _: problem(503, "not_ready")
    kind = httpx.MockTransport(scripted)
    with pytest.raises(NotReady, match="the gate would be down for more than 0 s"):
        make(URL, gate={**gate, "transport": kind}).run(method, *reversed(source))
    assert made == []


def test_filter_yields_views_of_batches(make: Make, service: Running) -> None:
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


def test_samples_may_be_lists_and_objects_with_an_image(make: Make, service: Running) -> None:
    samples = [{"latent": number, "image": image} for number, image in enumerate([GLASSES, UNCERTAIN, BARE, GLASSES])]
    kept = make(service.url, pixels=lambda sample: sample["image"])
    assert [sample["latent"] for sample in kept.take([samples[:3], samples[3:]])] == [0, 2, 3]
    rows = make(service.url, pixels=lambda sample: sample["image"]).take(Rows(samples))
    assert [sample["latent"] for sample in rows] == [0, 2, 3]
    tensors = np.stack([np.full((3, 64, 64), value, np.float32) for value in (-1.0, 0.0, 1.0)])
    (bare, bright) = make(service.url, pixels=to_uint8).take([tensors])
    assert bare.dtype == np.float32
    assert (bare.min(), bright.max()) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("collate", "refusal"),
    [
        (lambda images: {"image": images, "label": [1, 0]}, "a batch of 2 images for one sample, a dict"),
        (lambda images: (images, [1, 0]), "a batch of 2 images for one sample, a tuple"),
        (lambda images: [images, [1, 0]], "one image for one sample, a tensor of 2 rows"),
        (lambda images: np.stack([images] * 3), "a batch of 2 images for one sample, a tensor of 3 rows"),
    ],
    ids=["dict", "tuple", "list", "tensor"],
)
def test_a_batch_needs_a_row_for_each_image(
    make: Make, service: Running, collate: Callable[[Pixels], Any], refusal: str
) -> None:
    """The members of a tuple that a loader collates are not the samples of its images."""
    collated = collate(np.stack([GLASSES, BARE]))
    kept = make(service.url, pixels=lambda sample: sample["image"] if isinstance(sample, dict) else sample[0])
    with pytest.raises(ValueError, match=f"pixels returned {refusal}: generate a batch"):
        kept.take([collated])


def test_the_samples_of_pixels_may_have_other_shapes(make: Make, service: Running) -> None:
    latents = np.array([[0.5], [1.0]])
    kept = make(service.url, pixels=lambda rows: np.stack([flat(250) if row < 1 else BARE for row in rows]))
    assert [row.tolist() for row in kept.take([latents])] == [[0.5], [1.0]]
    one = make(service.url, pixels=lambda _: GLASSES)
    assert [image.shape for image in one.take([np.zeros((1, 4, 8, 8)), np.zeros((4, 8, 8)), np.zeros(())])] == [
        (1, 4, 8, 8),
        (4, 8, 8),
        (),
    ]


def test_sample_may_have_its_own_expected_label(make: Make, service: Running) -> None:
    samples = [(GLASSES, "glasses"), (GLASSES, "no_glasses"), (BARE, "no_glasses"), (BARE, "glasses")]
    kept = make(service.url, pixels=lambda sample: Ask(*sample))
    assert [label for _, label in kept.take(samples)] == ["glasses", "no_glasses"]
    assert make(service.url).take([Ask(np.stack([BARE, GLASSES]), "glasses")])[0] is not None


def test_the_image_that_pixels_takes_out_of_an_ask_keeps_its_order(make: Make, service: Running) -> None:
    """It was decided without the label, so that images without glasses were kept as glasses."""
    samples = [Ask(BARE, "glasses", "first"), Ask(BARE, "no_glasses", "second"), Ask(BARE, "no_glasses", "third")]
    found = make(service.url, pixels=lambda ask: Ask(ask.image, id="other") if ask.id == "third" else ask.image).run(
        "sort", samples
    )
    assert [(one.outcome.id, one.accepted) for one in found] == [("first", False), ("second", True), ("other", True)]


def test_overwritten_image_is_detected(make: Make, service: Running) -> None:
    buffer = flat(0)

    def overwrite() -> Iterator[Pixels]:
        for _ in range(100):
            for level in (GLASSES, BARE):
                buffer[:] = level
                yield buffer

    with pytest.raises(ValueError, match="allocate new memory for each image"):
        make(service.url).take(overwrite(), 100)


def test_an_overwritten_file_is_detected(make: Make, service: Running, tmp_path: Path) -> None:
    files = [encode(GLASSES), encode(portrait(64))]
    assert len(files[0]) != len(files[1])
    path, buffer = tmp_path / "face.png", bytearray()

    def overwrite(*, path_type: Callable[[Path], Any] | None) -> Iterator[Any]:
        for file in files * 50:
            path.write_bytes(file)
            buffer[:] = file
            yield buffer if path_type is None else path_type(path)

    for path_type in (str, Path, None):
        with pytest.raises(ValueError, match="each image, or write a new file"):
            make(service.url).take(overwrite(path_type=path_type))

    def write() -> Iterator[Path]:
        for number in range(40):
            (tmp_path / f"{number}.png").write_bytes(files[0])
            yield tmp_path / f"{number}.png"

    assert len(make(service.url).take(write())) == 40


def test_pixels_may_write_each_image_to_the_same_file_or_buffer(make: Make, service: Running, tmp_path: Path) -> None:
    files, path, buffer = [encode(GLASSES), encode(portrait(64))], tmp_path / "face.png", bytearray()

    def write(sample: dict[str, int]) -> Path:
        path.write_bytes(files[sample["seed"] % 2])
        return path

    def fill(sample: dict[str, int]) -> bytearray:
        buffer[:] = files[sample["seed"] % 2]
        return buffer

    samples = [{"seed": number} for number in range(80)]
    for pixels in (write, fill):
        kept = make(service.url, pixels=pixels)
        kept.take(samples)
        assert kept.stats.seen == len(samples)


def test_rows_of_the_caller_s_own_batch_are_returned(make: Make, service: Running) -> None:
    """Its batch is not a tensor, but has a length and an index."""
    samples = [{"latent": number, "image": image} for number, image in enumerate([GLASSES, UNCERTAIN, BARE, GLASSES])]
    kept = make(service.url, pixels=lambda batch: np.stack([row["image"] for row in batch]))
    assert [row["latent"] for row in kept.take([Batch(samples)])] == [0, 2, 3]
    with pytest.raises(ValueError, match="a batch of 1 images for one sample, a Batch"):
        make(service.url, pixels=lambda batch: np.stack([batch[0]["image"]])).take([Batch(samples)])


def test_invalid_images_are_counted_and_skipped(make: Make, service: Running) -> None:
    kept = make(service.url)
    images = kept.take([GLASSES, "missing.png", GLASSES[:40], np.zeros((2, 64, 64, 3), np.float32), BARE])
    assert len(images) == 2
    assert kept.stats.errors == {"unreadable_file": 1, "not_square": 1, "unsupported_image": 2}
    assert (kept.stats.seen, kept.stats.discarded) == (6, {})


def test_filter_gives_up_above_the_reject_ratio(make: Make, service: Running) -> None:
    kept = make(service.url, max_reject_ratio=0.75, min_samples=20)
    with pytest.raises(GaveUp) as caught:
        kept.take(itertools.cycle([GLASSES, *[UNCERTAIN] * 4]), 1000)
    assert kept.stats.seen == 20
    assert "4 of 20 images accepted (16 uncertain): the reject ratio 80.0% exceeds 75.0%" in caught.value.detail
    fine = make(service.url, max_reject_ratio=0.8, min_samples=20)
    assert len(fine.take(itertools.cycle([GLASSES, *[UNCERTAIN] * 4]), 10)) == 10


def test_filter_gives_up_on_invalid_images(make: Make, service: Running) -> None:
    with pytest.raises(
        GaveUp, match=r"30 unsupported_image\): the reject ratio 100.0% exceeds.*with lensgate_client.to_uint8"
    ):
        make(service.url, min_samples=30).take(lambda: np.zeros((64, 64, 3), np.float32), 5)


def test_a_few_samples_of_which_none_is_an_image_are_an_error(make: Make, service: Running) -> None:
    """There was no image and no word, as if the gate had discarded all of them."""
    samples = [np.zeros((2, 64, 64, 3), np.float32)]
    with pytest.raises(GaveUp, match=r"\(2 unsupported_image\): no sample could be judged\. .*to_uint8"):
        make(service.url).take(samples)
    with pytest.raises(GaveUp, match=r"1 unreadable_file\): no sample could be judged\. .*'missing.png'"):
        make(service.url).take([*samples, "missing.png"])
    assert make(service.url).take([UNCERTAIN, *samples]) == []
    assert len(make(service.url).run("sort", samples)) == 2


def test_filter_gives_up_after_max_samples(make: Make, service: Running) -> None:
    kept = make(service.url, max_samples=10)
    with pytest.raises(GaveUp, match=r"5 of 10 images accepted .*: max_samples is 10$"):
        kept.take(itertools.cycle([BARE, UNCERTAIN]), 6)
    assert len(make(service.url, max_samples=10).take(itertools.cycle([BARE, UNCERTAIN]), 5)) == 5


def test_filter_gives_up_if_the_samples_end_too_early(make: Make, service: Running) -> None:
    with pytest.raises(GaveUp, match=r"2 of 3 images accepted .*: the samples ended before 3 images were accepted$"):
        make(service.url).take([GLASSES, UNCERTAIN, BARE], 3)
    assert len(make(service.url).take([GLASSES, UNCERTAIN, BARE])) == 2
    assert make(service.url).take([]) == []


def test_empty_samples_end_the_filter(make: Make, service: Running) -> None:
    made = itertools.chain([GLASSES, [], np.zeros((0, 64, 64, 3), np.uint8)] * 2, itertools.repeat([]))
    kept = make(service.url)
    with pytest.raises(GaveUp, match="2 of 2 images accepted: the samples ended"):
        kept.take(lambda: next(made), 3)


def test_a_function_that_raises_stop_iteration_has_ended(make: Make, service: Running) -> None:
    assert len(make(service.url).take(iter([GLASSES, UNCERTAIN, BARE]).__next__)) == 2
    with pytest.raises(GaveUp, match="1 of 1 images accepted: the samples ended before 2 images"):
        make(service.url).take(iter([GLASSES]).__next__, 2)

    async def images() -> AsyncIterator[Pixels]:
        yield GLASSES

    assert len(OnLoop(service.url).take(images().__anext__)) == 1


def test_a_function_that_makes_the_source_is_told_to_be_called(make: Make, service: Running) -> None:
    def generate() -> Iterator[Pixels]:
        yield GLASSES

    with pytest.raises(GaveUp, match=r"not a generator\. Pass it in place of the function that returns it"):
        make(service.url).take(generate, 1)


def test_a_source_that_must_be_awaited_is_told_where(service: Running) -> None:
    image = asyncio.Future[Pixels](loop=asyncio.new_event_loop())
    with pytest.raises(GaveUp, match=r"not a Future\. Await it, or use AsyncGateFilter"):
        Blocking(service.url).take(lambda: image, 1)
    image.get_loop().close()


def test_error_of_generator_or_gate_ends_the_filter(make: Make) -> None:
    scripted = ScriptedGate()
    kept = make(URL, gate={"transport": httpx.MockTransport(scripted)})

    def generate() -> Iterator[Pixels]:
        yield BARE
        raise ArithmeticError("the network diverged")

    with pytest.raises(ArithmeticError):
        kept.take(generate())
    assert kept.stats.accepted == 1
    scripted.infer = lambda _: problem(401, "unauthorized")
    with pytest.raises(Unauthorized):
        make(URL, gate={"transport": httpx.MockTransport(scripted)}).take(lambda: BARE, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"max_reject_ratio": 1.5},
        {"max_reject_ratio": -0.1},
        {"max_reject_ratio": None},
        {"min_samples": 0},
        {"max_samples": 0},
    ],
)
def test_invalid_limits_are_rejected(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1|must be >= 1"):
        make(URL, **options)


def test_invalid_take_is_rejected(make: Make) -> None:
    for count in (0, 2.5, math.nan):
        with pytest.raises(ValueError, match="count must be an integer >= 1"):
            make(URL).take([], count)
    with pytest.raises(ValueError, match="count must be an integer >= 1 or None, not 'glasses'"):
        make(URL).take([], "glasses")
    with pytest.raises(ValueError, match="expected must be one of"):
        make(URL).take([], 1, expected="hat")


@pytest.mark.parametrize("image", ["faces/1.png", Path("faces/1.png"), b"\x89PNG", Ask(GLASSES)])
def test_one_image_is_no_source(make: Make, image: Any) -> None:
    """The letters of a path were images that cannot be read, and there was no image and no word."""
    for method in ("take", "sort"):
        with pytest.raises(TypeError, match="expected a source of samples, not one image: pass a list"):
            make(URL).run(method, image)


def test_a_gate_of_the_other_kind_is_refused() -> None:
    with Gate(URL) as gate, pytest.raises(TypeError, match="AsyncGateFilter takes AsyncGate, not Gate"):
        AsyncGateFilter(gate)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="GateFilter takes Gate, not AsyncGate"):
        GateFilter(AsyncGate(URL))  # type: ignore[arg-type]


def test_generator_runs_at_most_two_requests_ahead() -> None:
    made = 0
    second = threading.Event()
    scripted = ScriptedGate()
    answer = scripted.infer

    def infer(request: httpx.Request) -> httpx.Response:
        # Respond to the first batch only after the second is generated.
        assert second.wait(60)
        return answer(request)

    def generate() -> Pixels:
        nonlocal made
        made += 1
        if made == 2:
            second.set()
        return np.stack([BARE] * 32)

    scripted.infer = infer
    with Gate(URL, transport=httpx.MockTransport(scripted)) as gate:
        kept = GateFilter(gate)
        for number, _ in enumerate(kept.take(generate, 320), 1):
            assert made <= (number - 1) // 32 + 1 + 2
    assert kept.stats.accepted == 320


def test_asynchronous_generator_is_filtered(service: Running) -> None:
    async def generate() -> Pixels:
        await asyncio.sleep(0)
        return BARE

    async def images() -> AsyncIterator[Pixels]:
        for image in (GLASSES, UNCERTAIN, BARE):
            yield image

    assert len(OnLoop(service.url).take(images())) == 2
    assert len(OnLoop(service.url).take(generate, 3)) == 3


def test_counts_are_copied_for_logs() -> None:
    """`dataclasses.asdict` made pairs of names and numbers the keys of a `Counter`, each counted once."""
    stats = FilterStats(seen=3)
    stats.discarded["uncertain"] += 2
    stats.errors["not_square"] += 1
    logged = json.loads(json.dumps(dataclasses.asdict(stats)))
    assert (logged["discarded"], logged["errors"]) == ({"uncertain": 2}, {"not_square": 1})
    for copied in (copy.deepcopy(stats), pickle.loads(pickle.dumps(stats))):  # noqa: S301 - the test's own bytes
        assert (copied, str(copied)) == (stats, "0 of 3 images accepted (2 uncertain, 1 not_square)")


def test_gave_up_is_a_gate_error() -> None:
    assert issubclass(GaveUp, GateError)
    assert str(FilterStats()) == "0 of 0 images accepted"
    assert FilterStats().reject_ratio == 0.0
