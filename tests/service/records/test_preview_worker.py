"""Hashes and small pictures, in the time that decisions leave."""

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from prometheus_client import CollectorRegistry

from service.inference.preprocess import Source
from service.metrics.records import RecordMetrics
from service.records.decision_record import DecisionRecord
from service.records.preview import bytes_to_detach, detach, digest, make_preview
from service.records.preview_worker import ACCEPTED_BYTES, BUSY_ACCEPTED_BYTES, MAX_BYTES, Preview, PreviewWorker
from tests.support.images import encode, flat, portrait
from tests.support.jpegs import lossless_jpeg, sampled_jpeg
from tests.support.servers import TIMEOUT, wait_until

from .stores import entry

BODY = encode(portrait(512))


@contextmanager
def examining(
    registry: CollectorRegistry,
    *,
    is_busy: bool = False,
    cores: int | None = None,
    burst_seconds: float = 0.0,
    sleep: Callable[[float], object] = lambda _: None,
) -> Iterator[tuple[PreviewWorker, list[Preview]]]:
    pictures: list[Preview] = []
    made = PreviewWorker(
        lambda _, picture: pictures.append(picture),
        RecordMetrics(registry),
        max_pixels=10**7,
        is_busy=lambda: is_busy,
        cores=cores,
        burst_seconds=burst_seconds,
        sleep=sleep,
    )
    made.start()
    try:
        yield made, pictures
    finally:
        made.close(timeout=TIMEOUT)


def fresh(name: str = "face", *, discarded: bool = False) -> DecisionRecord:
    return entry(name, discarded=discarded, sha256=None)


def dropped(registry: CollectorRegistry, what: str) -> float | None:
    return registry.get_sample_value(f"lensgate_record_{what}_total", {"result": "dropped"})


def test_hash_is_the_sha256_of_the_received_bytes() -> None:
    assert digest(BODY) == digest(bytearray(BODY)) == digest(memoryview(b"x" + BODY)[1:])
    assert digest(BODY) == hashlib.sha256(BODY).hexdigest()
    pixels = portrait(64)
    assert digest(pixels) == hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("size", "kept"), [(1024, 256), (600, 256), (256, 256), (100, 100)])
def test_a_picture_shows_what_the_file_shows(kind: str, size: int, kept: int) -> None:
    pixels = portrait(size)
    small = Image.open(io.BytesIO(make_preview(encode(pixels, kind), max_pixels=10**7)))
    assert (small.format, small.size, small.mode) == ("JPEG", (kept, kept), "RGB")
    expected = np.asarray(Image.fromarray(pixels).resize((kept, kept), Image.Resampling.BOX), np.float64)
    assert np.abs(np.asarray(small, np.float64) - expected).mean() < 6


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lossless_jpeg(1024), id="lossless"),
        pytest.param(encode(Image.fromarray(flat(128, 512)).convert("CMYK"), "JPEG"), id="CMYK"),
        pytest.param(encode(flat(128, 512), "JPEG", subsampling="4:2:2"), id="4:2:2"),
        pytest.param(sampled_jpeg([flat(128, 512)[:, :, 0]] * 3, ((3, 1), (1, 1), (1, 1))), id="3x1"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x07JFIF\x00" + encode(flat(128, 512), "JPEG")[2:], id="JFIF, cut"),
    ],
)
def test_every_kind_of_jpeg_has_a_picture(data: bytes) -> None:
    small = Image.open(io.BytesIO(make_preview(data, max_pixels=10**7)))
    assert small.size == (256, 256)
    assert np.abs(np.asarray(small, np.int64) - 128).max() <= 2


def test_a_jpeg_that_pillow_cannot_read_has_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow fails with arithmetic coding above 64 kB, which its encoder does not write."""

    def fail(_: object) -> None:
        raise OSError("broken data stream when reading image file")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", fail)
    data = encode(flat(128, 512), "JPEG")
    assert data[:3] == make_preview(data, max_pixels=10**7)[:3]


def test_a_jpeg_larger_than_pillows_own_limit_has_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    data = encode(flat(128, 512), "JPEG")
    assert data[:3] == make_preview(data, max_pixels=10**7)[:3]


def test_a_picture_of_pixels_is_theirs() -> None:
    small = Image.open(io.BytesIO(make_preview(flat(200, 512), max_pixels=10**7)))
    assert small.size == (256, 256)
    assert np.abs(np.asarray(small, np.int64) - 200).max() <= 2


def test_preview_applies_the_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees to the right.
    half = np.concatenate([np.zeros((512, 256, 3), np.uint8), np.full((512, 256, 3), 255, np.uint8)], axis=1)
    small = np.asarray(Image.open(io.BytesIO(make_preview(encode(half, "JPEG", exif=exif), max_pixels=10**7))))
    assert small[:100].mean() < 10
    assert small[-100:].mean() > 245


def test_discarded_images_are_processed_before_accepted_ones() -> None:
    first, accepted, urgent = fresh(), fresh(), fresh(discarded=True)
    go = threading.Event()
    seen: list[tuple[bool, bool]] = []

    def hold(_: float) -> None:
        seen.append((urgent.is_processed, accepted.is_processed))
        go.wait(TIMEOUT)

    with examining(CollectorRegistry(), is_busy=True, sleep=hold) as (examiner, _):
        examiner.submit(first, BODY)
        wait_until(lambda: first.is_processed)
        examiner.submit(accepted, BODY)
        examiner.submit(urgent, BODY)
        go.set()
        wait_until(lambda: len(seen) == 3)
    assert seen == [(False, False), (True, False), (True, True)]


def test_worker_is_throttled_while_images_wait_to_be_decoded() -> None:
    slept: list[float] = []
    with examining(CollectorRegistry(), is_busy=True, sleep=slept.append) as (examiner, _):
        made = fresh(discarded=True)
        examiner.submit(made, BODY)
        wait_until(lambda: slept)
    with examining(CollectorRegistry(), is_busy=False, sleep=slept.append) as (examiner, _):
        examiner.submit(fresh(), BODY)
    assert len(slept) == 1
    assert slept[0] > 0


def test_throttled_worker_processes_images_in_bursts() -> None:
    slept: list[float] = []
    images = [fresh() for _ in range(ACCEPTED_BYTES // 2**16)]
    with examining(CollectorRegistry(), is_busy=True, burst_seconds=0.002, sleep=slept.append) as (examiner, _):
        for image in images:
            wait_until(lambda: examiner.held < BUSY_ACCEPTED_BYTES)
            examiner.submit(image, bytes(2**16))
        wait_until(lambda: images[-1].is_processed)
    assert 1 <= len(slept) < len(images) / 2
    assert min(slept) > 0.002


def test_share_of_time_is_at_most_one_core() -> None:
    slept: list[float] = []
    with examining(CollectorRegistry(), is_busy=True, cores=128, sleep=slept.append) as (examiner, _):
        examiner.submit(fresh(), BODY)
        wait_until(lambda: slept)
    assert slept == [0.0]


def test_unexpected_exception_drops_one_image_and_the_worker_continues() -> None:
    registry = CollectorRegistry()
    with examining(registry) as (examiner, pictures):
        examiner.submit(fresh(discarded=True), [1, 2])  # type: ignore[arg-type]
        examiner.submit(fresh(discarded=True), BODY)
    assert len(pictures) == 1
    assert (dropped(registry, "hashes"), dropped(registry, "images")) == (1, 1)


@pytest.mark.parametrize(("discarded", "limit"), [(False, ACCEPTED_BYTES), (True, MAX_BYTES)])
def test_image_beyond_the_memory_limit_is_recorded_without_hash_and_preview(*, discarded: bool, limit: int) -> None:
    registry = CollectorRegistry()
    with examining(registry) as (examiner, pictures):
        made = fresh(discarded=discarded)
        examiner.submit(made, np.zeros((limit // 3 + 1, 1, 3), np.uint8))
        assert made.is_processed
        assert made.sha256 is None
    assert dropped(registry, "hashes") == 1
    assert dropped(registry, "images") == int(discarded)
    assert not pictures


def test_while_images_wait_to_be_decoded_few_are_held_for_their_hash_alone() -> None:
    go, held = threading.Event(), threading.Event()

    def hold(_: float) -> None:
        held.set()
        go.wait(TIMEOUT)

    with examining(CollectorRegistry(), is_busy=True, sleep=hold) as (examiner, _):
        examiner.submit(fresh(), BODY)
        assert held.wait(TIMEOUT)
        images = [fresh(), fresh(), fresh(), fresh(discarded=True)]
        for image in images:
            examiner.submit(image, bytes(BUSY_ACCEPTED_BYTES - 1))
        assert [image.is_processed for image in images] == [False, False, True, False]
        go.set()
    assert [image.sha256 is None for image in images] == [False, False, True, False]


def test_processed_image_releases_its_memory() -> None:
    registry = CollectorRegistry()
    with examining(registry) as (examiner, _):
        half = bytes(ACCEPTED_BYTES // 2 + 1)
        for _ in range(3):
            made = fresh()
            examiner.submit(made, half)
            wait_until(lambda made=made: made.is_processed)  # type: ignore[misc]
            wait_until(lambda: examiner.held == 0)
    assert dropped(registry, "hashes") == 0


def test_image_of_a_written_row_is_not_hashed() -> None:
    registry = CollectorRegistry()
    with examining(registry) as (examiner, _):
        made = fresh()
        made.is_written = True
        examiner.submit(made, BODY)
        wait_until(lambda: made.is_processed)
        assert made.sha256 is None
    assert dropped(registry, "hashes") == 1


@pytest.mark.parametrize("source", [BODY[:100], b"no image"])
def test_image_without_a_preview_is_counted_and_the_worker_continues(source: Source) -> None:
    registry = CollectorRegistry()
    with examining(registry) as (examiner, pictures):
        examiner.submit(fresh(discarded=True), source)
        examiner.submit(fresh(discarded=True), BODY)
    assert dropped(registry, "images") == 1
    assert [picture.sha256 for picture in pictures] == [digest(BODY)]


def test_only_parts_of_a_larger_body_are_copied() -> None:
    body = bytes(range(256)) * 48
    whole = np.frombuffer(body, np.uint8).reshape(1, 64, 64, 3)
    behind_a_head = np.frombuffer(memoryview(body)[192:], np.uint8)[: 63 * 64 * 3].reshape(1, 63, 64, 3)
    several = np.frombuffer(body, np.uint8).reshape(4, 32, 32, 3)
    for kept in (body, bytearray(body), memoryview(body), whole[0], behind_a_head[0], np.array(several[0])):
        assert detach(kept) is kept
        assert bytes_to_detach([kept]) == 0
    for part in (several[1], memoryview(body)[:100], memoryview(bytearray(body))[7:70]):
        copy = detach(part)
        assert copy is not part
        assert bytes(copy) == bytes(part)
        assert detach(copy) is copy
        assert bytes_to_detach([part, part]) == 2 * len(bytes(part))
