"""The fuzz targets over their known inputs, and that each notices a broken promise."""

import contextlib
import json
from collections import Counter
from typing import Any

import pytest

from gate.formats.png import chunks
from gate.header import ImageFormat, ImageHeader
from service.api.batch.upload_events import ImageEnd, ImageStart
from service.errors import MalformedRequest
from tests.fuzz import framing, header, multipart, png, tar, v2, v2_recipes
from tests.fuzz.recipes import recipe_in, recipes
from tests.fuzz.run import TARGETS, inputs_of, load
from tests.service.streams.uploads import BOUNDARY

INPUTS = {name: inputs_of(name) for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_passes_every_check(name: str) -> None:
    for data in INPUTS[name]:
        load(name).check(data)
        for length in range(0, len(data), max(1, len(data) // 8)):
            load(name).check(data[:length])


def test_most_recipes_of_pngs_are_read_by_both() -> None:
    recipes = [png.file_of(png.recipe_of(data)) for data in INPUTS["png"] if not data.startswith(b"\x89PNG") and data]
    assert sum(png.by_pillow(file) is not None for file in recipes) > len(recipes) // 3


def test_a_pixel_that_differs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    by_gate = png.by_gate

    def off_by_one(data: bytes, sizes: tuple[int, ...]) -> Any:
        found = by_gate(data, sizes)
        if found is not None:
            found[-1][-1, -1, -1] ^= 1
        return found

    (data,) = [data for data in INPUTS["png"] if data.startswith(bytes([1, 3, 7, 2, 0, 0]))]
    png.check(data)
    monkeypatch.setattr(png, "by_gate", off_by_one)
    with pytest.raises(AssertionError, match="the means differ"):
        png.check(data)
    monkeypatch.setattr(png, "by_gate", lambda *_: None)
    with pytest.raises(AssertionError, match="only Pillow reads"):
        png.check(data)
    monkeypatch.setattr(png, "by_gate", by_gate)
    monkeypatch.setattr(png, "by_pillow", lambda _: None)
    with pytest.raises(AssertionError, match="only the gate reads"):
        png.check(data)


def test_a_header_out_of_bounds_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "read_header", lambda _: ImageHeader(ImageFormat.PNG, 0, 1))
    with pytest.raises(AssertionError):
        header.check(b"")


@pytest.mark.parametrize("target", [header, multipart, tar, v2])
def test_an_answer_other_than_the_known_one_is_noticed(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read, answers = target.read, list[Any]()

    def read_once(*request: Any) -> Any:
        if not answers:
            answers.append(read(*request))
        return answers[0]

    monkeypatch.setattr(target, "read", read_once)
    first, *others = recipes(40)
    target.check(first)
    for data in others:
        with contextlib.suppress(AssertionError):
            target.check(data)
            answers.append(data)
    assert len(answers) < len(others) // 4


def test_a_checksum_that_is_not_verified_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "is_sound", lambda *_: True)
    with pytest.raises(AssertionError, match="a wrong checksum"):
        for data in INPUTS["png"]:
            png.check(data)


@pytest.mark.parametrize("target", [multipart, tar])
def test_results_that_depend_on_chunk_boundaries_are_found(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "read", lambda _, step: step)
    with pytest.raises(AssertionError, match="read differently"):
        target.check(b"\1--" + BOUNDARY)


@pytest.mark.parametrize(
    ("events", "match"),
    [
        ([ImageStart("a", 1), ImageStart("b", 1)], "within another"),
        ([ImageStart("a", 2), b"x", ImageEnd()], "size"),
        ([ImageEnd()], "not begun"),
        ([b"x"], "before an image"),
        ([ImageStart("a", 1)], "ends well within"),
    ],
)
def test_events_out_of_order_are_noticed(events: list[Any], match: str) -> None:
    class Parser:
        def feed(self, _: bytes) -> Any:
            yield from events

        def close(self) -> None: ...

    with pytest.raises(AssertionError, match=match):
        framing.images_of(Parser(), [b""], limit=9)


def test_a_request_of_too_many_images_and_a_text_that_repeats_it_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    (data, *_) = v2.seeds()
    request = v2.read(data[2:], None)
    assert request is not None
    request.expected = [None] * 9
    monkeypatch.setattr(v2, "read", lambda *_: request)
    with pytest.raises(AssertionError):
        v2.check(data)
    monkeypatch.undo()

    def refuse(*_: Any, **__: Any) -> Any:
        raise MalformedRequest("x" * 9_999)

    monkeypatch.setattr(v2, "parse_request", refuse)
    with pytest.raises(AssertionError, match="repeats"):
        v2.check(data)


def test_recipes_of_v2_reach_every_form_of_a_valid_request() -> None:
    found: Counter[str] = Counter()
    for data in recipes(200):
        draws = recipe_in(data)
        assert draws is not None
        body, length, known = v2_recipes.build(draws)
        if known is None:
            continue
        head = json.loads(body[:length])
        image = head["inputs"][0]
        data_given = image.get("data", [None])
        found["nested" if isinstance(data_given[0], list) else "flat"] += "data" in image
        found["file"] += image["name"] == "encoded_image"
        found["shared"] += "shared_memory_region" in image.get("parameters", {})
        found["binary"] += "binary_data_size" in image.get("parameters", {})
        found["id"] += known.identity is not None
        found["timeout"] += known.timeout is not None
        found["labels"] += any(known.expected)
        found["outputs"] += "outputs" in head
        found["several"] += len(known.images) > 1
    assert min(found.values()) >= 3, found
    assert len(found) == 10
