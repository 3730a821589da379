"""Both client classes against the real service."""

import asyncio
import io
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from lensgate_client import Ask, AsyncGate, BadImage, Decision, Forbidden, ImageFailed, RateLimited, Unauthorized
from PIL import Image

from service.inference.model_runner import LoadedModel
from tests.client.support import NO_TLS, Make, free_port, service_at
from tests.service.access.keys import token_of, write_tokens
from tests.support.images import encode, flat, portrait
from tests.support.models import brightness_model
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

FACE = portrait(128)
FILE = encode(FACE)
BRIGHT = flat(250)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_service(records_url=f"sqlite:///{tmp_path_factory.mktemp('records') / 'records.db'}") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    slow = 'scopes = ["decide"]\nrequests_per_second = 0.001\nburst = 2'
    entries = {"gen": 'scopes = ["decide"]', "eva": 'scopes = ["review"]', "slow-sync": slow, "slow-async": slow}
    with running_service(tokens=write_tokens(tmp_path_factory.mktemp("tokens") / "tokens.toml", entries)) as running:
        yield running


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    with running_service(max_inflight_images=8) as running:
        yield running


def probability(outcome: Any) -> float:
    assert isinstance(outcome, Decision), outcome
    return outcome.glasses_probability


def test_image_types_have_the_decision_of_the_file(make: Make, service: Running, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(FILE)
    gate = make(service.url)
    wanted = service.post(FILE).json()["glasses_probability"]
    planes = np.ascontiguousarray(FACE.transpose(2, 0, 1))
    kinds: list[Any] = [FILE, bytearray(FILE), memoryview(FILE), path, str(path), Image.fromarray(FACE)]
    kinds += [Image.open(io.BytesIO(FILE)), FACE, planes, FACE[None], planes[None], np.stack([FACE, FACE])]
    for image in kinds[:-1]:
        assert probability(gate.decide(image)) == wanted
    assert [probability(outcome) for outcome in gate.decide_many(kinds)] == [wanted] * (len(kinds) + 1)
    odd = portrait(100)
    assert probability(gate.decide(odd)) == service.post(encode(odd)).json()["glasses_probability"]


def test_decision_equals_the_response_of_the_service(make: Make, service: Running) -> None:
    answered = service.post(FILE, id="face").json()
    found = make(service.url).decide(FILE, id="face")
    assert (found.id, found.label, found.decision, found.reason) == tuple(
        answered[key] for key in ("id", "label", "decision", "reason")
    )
    assert found.band is not None
    assert {"low": found.band.low, "high": found.band.high} == answered["band"]
    assert {"name": found.model_name, "version": found.model_version} == answered["model"]


def test_outcomes_are_in_order_beside_invalid_images(make: Make, service: Running) -> None:
    levels = [flat(level) for level in range(40)]
    images: list[Any] = [encode(level) if index % 3 else level for index, level in enumerate(levels)]
    faults = {
        2: b"",
        5: "missing.png",
        9: FACE[:100],
        17: encode(FACE[:100]),
        30: FACE.astype(np.float32),
        39: FILE[:99],
    }
    for place, image in faults.items():
        images[place] = image
    outcomes = make(service.url).decide_many(images)
    codes = {place: one.code for place, one in enumerate(outcomes) if isinstance(one, ImageFailed)}
    assert codes == {
        2: "empty_image",
        5: "unreadable_file",
        9: "not_square",
        17: "not_square",
        30: "unsupported_image",
        39: "corrupt_image",
    }
    for place, outcome in enumerate(outcomes):
        if place not in codes:
            assert probability(outcome) == pytest.approx(place / 255, abs=1e-6)


def test_invalid_batch_fails_for_each_image(make: Make, service: Running) -> None:
    outcomes = make(service.url).decide_many([BRIGHT, np.zeros((3, 64, 80, 3), np.uint8), BRIGHT])
    assert [outcome.accepted for outcome in outcomes] == [True, False, False, False, True]


def test_expected_label_applies_to_all_or_to_one_image(make: Make, service: Running) -> None:
    gate = make(service.url)
    images: list[Any] = [BRIGHT, encode(BRIGHT), Ask(BRIGHT, "glasses"), Ask(encode(BRIGHT), "glasses")]
    images += [Ask(np.stack([BRIGHT, BRIGHT]), "glasses"), BRIGHT]
    outcomes = gate.decide_many(images, "no_glasses")
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Decision)]
    assert reasons == ["contradicted"] * 2 + ["confident"] * 4 + ["contradicted"]
    assert gate.decide(BRIGHT, "glasses").accepted


def record_of(service: Running, name: str) -> dict[str, Any]:
    wait_until(lambda: service.client.get(f"/v1/decisions/{name}").is_success)
    found: dict[str, Any] = service.client.get(f"/v1/decisions/{name}").json()
    return found


def recorded(service: Running, name: str) -> float:
    return float(record_of(service, name)["glasses_probability"])


def test_decisions_are_recorded_under_their_ids(make: Make, recording: Running) -> None:
    gate = make(recording.url)
    name = f"dim {type(gate).__name__}"
    images = [BRIGHT, Ask(flat(20), id=name), np.stack([flat(30), flat(40)]), encode(flat(50)), flat(60)]
    outcomes = gate.decide_many(images)
    assert outcomes[1].id == name
    assert len({outcome.id for outcome in outcomes}) == 6
    for outcome in outcomes:
        assert recorded(recording, outcome.id) == pytest.approx(probability(outcome))


def test_decisions_are_recorded_with_their_source(make: Make, recording: Running) -> None:
    gate = make(recording.url, source="run-7")
    pair = np.stack([flat(30), flat(40)])
    own = [Ask(image, source="run-8") for image in (BRIGHT, pair, FILE)]
    outcomes = gate.decide_many([BRIGHT, own[0], FILE, pair, *own[1:], BRIGHT])
    sources = ["run-7", "run-8", "run-7", "run-7", "run-7", "run-8", "run-8", "run-8", "run-7"]
    outcomes += [gate.decide(FILE), make(recording.url).decide(FILE), make(recording.url).decide(BRIGHT)]
    for outcome, source in zip(outcomes, [*sources, "run-7", None, None], strict=True):
        assert record_of(recording, outcome.id)["source"] == source


@pytest.mark.parametrize("source", ["", "x" * 129, "a\nb", "a\u2028b", 7])
def test_a_source_that_does_not_fit_is_refused(make: Make, source: Any) -> None:
    for call in (lambda: make("http://127.0.0.1:1", source=source), lambda: Ask(FILE, source=source)):
        with pytest.raises(ValueError, match="a source must be"):
            call()


def test_tokens_limit_access_and_rate(make: Make, guarded: Running) -> None:
    assert make(guarded.url, token=token_of("gen")).decide_many([BRIGHT, FILE])
    with pytest.raises(Unauthorized):
        make(guarded.url).decide(BRIGHT)
    with pytest.raises(Unauthorized):
        make(guarded.url, token="lensgate_unknown").decide(FILE)  # noqa: S106 - an unknown token
    with pytest.raises(Forbidden):
        make(guarded.url, token=token_of("eva")).decide(FILE)
    kind = make(guarded.url)
    slow = make(guarded.url, token=token_of(f"slow-{type(kind).__name__.lower()}"))
    assert slow.decide(BRIGHT).accepted
    with pytest.raises(RateLimited) as caught:
        slow.decide(BRIGHT)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 500


def test_overloaded_service_is_retried_after_its_delay(make: Make, small: Running) -> None:
    waits: list[float] = []
    small.scorer.entered.clear()
    small.scorer.go.clear()
    holding = small.client.build_request("POST", "/v1/decisions", content=FILE)

    def release(seconds: float) -> None:
        waits.append(seconds)
        small.scorer.go.set()
        wait_until(lambda: not small.inflight)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(small.client.send, holding)
        assert small.scorer.entered.wait(TIMEOUT)
        outcomes = make(small.url, on_sleep=release).decide_many(np.stack([BRIGHT] * 8))
        assert all(outcome.accepted for outcome in outcomes)
        assert held.result().status_code == 200
    assert len(waits) == 1
    assert waits[0] >= 1.0


def test_input_size_is_refreshed_after_a_model_change(
    make: Make, service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(service.scorer, "fault", lambda images: sizes.append(images.shape[1]))
    gate = make(service.url)
    assert gate.model().size == 32
    wanted = probability(gate.decide(FACE))
    serve(service, "2", size=64)
    assert gate.decide(FACE).model_version == "2"
    assert all(one.accepted for one in gate.decide_many([BRIGHT, np.stack([BRIGHT] * 40), encode(BRIGHT)]))
    assert gate.model().version == "2"
    serve(service, "3", size=32)
    assert [gate.decide(FACE).model_version for _ in range(2)] == ["3", "3"]
    assert (sizes[0], sizes[1], sizes[-1]) == (32, 64, 32)
    assert probability(gate.decide(FACE)) == wanted


def serve(service: Running, version: str, *, size: int) -> None:
    service.runtime.pipeline.swap(LoadedModel(brightness_model(version, size=size).card, service.scorer, "fake"))


def test_batch_above_the_service_limit_is_split(make: Make, small: Running) -> None:
    outcomes = make(small.url, concurrency=1).decide_many(np.stack([BRIGHT] * 70))
    assert [outcome.accepted for outcome in outcomes] == [True] * 70


def test_stream_survives_a_restart_without_repeated_images(make: Make) -> None:
    """The first service stops before its successor starts, while the client waits."""
    port = free_port()
    first, second = ExitStack(), ExitStack()
    scorers = [first.enter_context(service_at(port))]
    leaving = threading.Thread(target=first.close)
    one_at_a_time = threading.Lock()

    def succeed(_: float) -> None:
        with one_at_a_time:
            if len(scorers) == 1:
                leaving.join()
                scorers.append(second.enter_context(service_at(port)))

    def images() -> Iterator[Any]:
        for number in itertools.count():
            if number == 30:
                leaving.start()
            if number > 60 and len(scorers) == 2:
                return
            level = flat(number % 256)
            yield level if number % 2 else encode(level)

    with second:
        outcomes = list(make(f"http://127.0.0.1:{port}", on_sleep=succeed).stream(images()))
    assert [round(probability(outcome) * 255) for outcome in outcomes] == [n % 256 for n in range(len(outcomes))]
    assert all(scorer.batches for scorer in scorers)
    assert sum(sum(scorer.batches) for scorer in scorers) == len(outcomes)


def test_rejected_image_raises_bad_image(make: Make, service: Running) -> None:
    with pytest.raises(BadImage) as caught:
        make(service.url).decide(b"not an image")
    assert (caught.value.code, caught.value.status) == ("unsupported_image", 422)
    assert caught.value.request_id


def test_cancelled_requests_leave_no_connection(service: Running) -> None:
    async def take(gate: AsyncGate) -> None:
        async with aclosing(gate.decide_stream(itertools.repeat(flat(200)))) as stream:
            async for _ in stream:
                pass

    async def run() -> None:
        transport = httpx.AsyncHTTPTransport(verify=NO_TLS)
        async with AsyncGate(service.url, transport=transport) as gate:
            for number in range(60):
                # A scope of anyio, as of a request in Starlette, cancels each step of the cleanup.
                with anyio.move_on_after(number / 2_000):
                    await take(gate)
            await asyncio.sleep(0.05)
            assert [one for one in transport._pool.connections if not one.is_idle()] == []
            assert (await gate.decide(flat(200))).accepted

    asyncio.run(run())
