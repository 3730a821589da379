"""A requested label is honoured or refused: an unknown member of a request is an error."""

import string
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from common.identity import ID_PATTERN, is_identity
from gate import Label
from service.api.v2.request import InferenceRequest, parse_request
from service.api.v2.served_model import ServedModel
from service.errors import MalformedRequest, NotFound

MODEL = ServedModel(
    name="glasses", version="1", size=4, outputs=("glasses_probability", "decision", "reason"), max_images=8
)
PIXELS = np.zeros((1, 4, 4, 3), np.uint8).tobytes()
IMAGE = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3], "parameters": {"binary_data_size": 48}}


def parse(head: "dict[str, Any] | bytes", **options: Any) -> InferenceRequest:
    text = head if isinstance(head, bytes) else orjson.dumps(head)
    return parse_request(text + PIXELS, len(text), model=MODEL, read_shared=lambda _: b"", **options)


def order(**changes: Any) -> dict[str, Any]:
    """The input `expected` of one image, as JSON."""
    return {"name": "expected", "datatype": "BYTES", "shape": [1], "data": ["glasses"], **changes}


@pytest.mark.parametrize("head", [{"parameters": {"expected": "glasses"}}, {"inputs": [order(), IMAGE]}])
def test_expected_label_is_read_from_a_parameter_or_an_input(head: dict[str, Any]) -> None:
    assert parse({"inputs": [IMAGE], **head}).expected == [Label.GLASSES]


@pytest.mark.parametrize("value", ["", "x" * 129, "a\nb", 7, ["run"]])
def test_a_source_that_does_not_fit_is_an_error(value: Any) -> None:
    with pytest.raises(MalformedRequest, match="source"):
        parse({"parameters": {"source": value}, "inputs": [IMAGE]})
    assert parse({"parameters": {"source": None}, "inputs": [IMAGE]}).source is None


def misspelt(word: str) -> Iterator[str]:
    """Everything that one slip of the hand makes of a word."""
    for place, letter in enumerate(word):
        yield word[:place] + word[place + 1 :]
        yield word[:place] + letter.upper() + word[place + 1 :]
        yield word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
        yield from (word[:place] + other + word[place:] for other in (letter, " ", "_", "\u0435"))
        yield from (word[:place] + other + word[place + 1 :] for other in string.ascii_lowercase)
    yield from (word.upper(), word.title(), f" {word}", f"{word} ", f"{word}\n", f'"{word}"', f"{word}\0", "")


@pytest.mark.parametrize("name", sorted(set(misspelt("expected")) - {"expected"}))
def test_a_misspelt_name_is_an_error_wherever_it_stands(name: str) -> None:
    for head in (
        {"parameters": {name: "glasses"}},
        {name: "glasses"},
        {"inputs": [order(name=name), IMAGE]},
        {"inputs": [{**IMAGE, name: ["glasses"]}]},
        {"inputs": [{**IMAGE, "parameters": {"binary_data_size": 48, name: "glasses"}}]},
        {"outputs": [{"name": "reason", "parameters": {name: "glasses"}}]},
    ):
        with pytest.raises(MalformedRequest) as raised:
            parse({"inputs": [IMAGE], **head})
        assert "expected" in raised.value.detail or "accepted: " in raised.value.detail


def test_an_empty_value_asks_for_nothing_in_the_input_alone() -> None:
    assert parse({"inputs": [order(data=[""]), IMAGE]}).expected == [None]
    with pytest.raises(MalformedRequest, match="glasses"):
        parse({"parameters": {"expected": ""}, "inputs": [IMAGE]})


@pytest.mark.parametrize("value", sorted(set(misspelt("glasses")) - {"glasses", ""}))
def test_a_misspelt_value_is_an_error(value: str) -> None:
    for head in ({"parameters": {"expected": value}}, {"inputs": [order(data=[value]), IMAGE]}):
        with pytest.raises(MalformedRequest, match="glasses"):
            parse({"inputs": [IMAGE], **head})


@pytest.mark.parametrize(
    "given",
    [
        order(datatype="STRING"),
        order(datatype="bytes"),
        order(shape=[2]),
        order(shape=[2], data=["glasses"] * 2),
        order(shape=[1, 1]),
        order(data=[["glasses"]]),
        order(data=[1]),
        order(data=[None]),
        order(data=[]),
        order(data="glasses"),
    ],
)
def test_an_order_in_the_wrong_form_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest, match="expected"):
        parse({"inputs": [IMAGE, given]})


@pytest.mark.parametrize(
    "text",
    [
        b'{"inputs":[%s],"parameters":{"expected":"glasses"},"parameters":{}}',
        b'{"inputs":[%s],"parameters":{"expected":"glasses","expected":"no_glasses"}}',
        b'{"inputs":[%s],"parameters":{"\\u0065xpected":"glasses","expected":"no_glasses"}}',
        b'{"inputs":[%s],"parameters":{"\\u0065\\u0078pected":"glasses","e\\u0078pected":"no_glasses"}}',
        b'{"inputs":[%s],"parameters":{"\\u0065\\u0078pected" : "glasses"},"parameters" : {}}',
        b'{"inputs":[%s],"parameters":{"EXpected":"glasses"},"parameters":{}}',
        b'{"inputs":[%s],"parameters":{"order":"glasses"},"parameters":{}}',
        b'{"inputs":[{"name":"expected","datatype":"BYTES","shape":[1],"data":["glasses"]}],"inputs":[%s]}',
        b'{"id":"a","inputs":[%s],"id":"b"}',
        b'{"inputs":[%s],"outputs":[{"name":"reason","name":"decision"}]}',
    ],
)
def test_an_order_that_a_second_member_would_replace_is_an_error(text: bytes) -> None:
    with pytest.raises(MalformedRequest, match="repeated"):
        parse(text % orjson.dumps(IMAGE))


def test_colons_in_values_are_not_taken_for_members() -> None:
    head = {"id": "run:7:a", "inputs": [IMAGE], "parameters": {"source": "gan:7", "headers": {"a": {"b": 1}}}}
    assert parse(head).identity == "run:7:a"


@pytest.mark.parametrize("rest", [b'{"a":' * 1000 + b"1" + b"}" * 1000, b'{"a":' + b"1" * 5000 + b"}"])
def test_a_request_that_only_one_parser_reads_is_an_error(rest: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(b'{"inputs":[%s],"parameters":{"expected":"glasses","headers":%s}}' % (orjson.dumps(IMAGE), rest))


def test_what_other_clients_send_by_themselves_is_taken() -> None:
    hints: dict[str, Any] = {"content_type": "np", "headers": {"Accept": "*/*"}}
    head: dict[str, Any] = {
        "id": "",
        "model_name": "glasses",
        "model_version": "1",
        "inputs": [{**IMAGE, "parameters": {"binary_data_size": 48, **hints}}],
        "outputs": [{"name": "reason", "parameters": {"binary_data": True, "classification": 0}}],
        "parameters": {"triton_enable_empty_final_response": True, "priority": 0, "sequence_id": 0, **hints},
    }
    assert parse(head).count == 1


@pytest.mark.parametrize("member", ["model_name", "model_version"])
def test_a_model_that_is_not_served_is_an_error_in_the_body_as_in_the_path(member: str) -> None:
    with pytest.raises(NotFound, match="'other'"):
        parse({"inputs": [IMAGE], member: "other"})
    with pytest.raises(MalformedRequest, match=member):
        parse({"inputs": [IMAGE], member: 9})
    assert parse({"inputs": [IMAGE], member: ""}).count == 1


def test_the_text_names_what_may_have_been_meant() -> None:
    with pytest.raises(MalformedRequest, match=r"'Expcted', did you mean 'expected'\? accepted: .*timeout"):
        parse({"inputs": [IMAGE], "parameters": {"Expcted": "glasses"}})


@pytest.mark.parametrize(
    "identity", ["a\nb", "\x1b[2J", "a\x7f", "\x85", "\u2028", "\u202egnp.exe", " \u3000", "\ufeff\u200b", "a" * 129]
)
def test_an_id_that_could_forge_a_line_is_refused(identity: str) -> None:
    assert not is_identity(identity)
    with pytest.raises(MalformedRequest, match="id: must be 1 to 128 characters"):
        parse({"id": identity, "inputs": [IMAGE]})


@pytest.mark.parametrize("identity", ["a", "Zoë 1.png", "../x", "👩\u200d🔬", "a" * 128])
def test_an_id_may_be_any_name(identity: str) -> None:
    assert parse({"id": identity, "inputs": [IMAGE]}).identity == identity
    assert ID_PATTERN.startswith("^")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"id": "mine", "parameters": {"source": "gan-7", "odd": 1}}, {"id": "mine", "source": "gan-7"}),
        ({"id": "mine", "parameters": 7}, {"id": "mine"}),
        ({"id": "a\nb", "parameters": {"source": ["gan-7"]}}, {}),
    ],
)
def test_the_names_are_noted_before_anything_is_found_at_fault(given: dict[str, Any], names: dict[str, str]) -> None:
    noted: list[dict[str, str]] = []
    with pytest.raises(MalformedRequest):
        parse({**given, "inputs": 7, "outputs": [7]}, note_names=noted.append)
    assert noted == [names]


def test_a_repeated_head_is_answered_and_noted_like_the_first_one() -> None:
    given = {"id": "face-7", "inputs": [IMAGE], "parameters": {"source": "run-3", "expected": "glasses"}}
    noted: list[dict[str, Any]] = []
    first, second = (parse(given, note_names=noted.append) for _ in range(2))
    assert noted == [{"id": "face-7", "source": "run-3"}] * 2
    assert second.expected == first.expected == [Label.GLASSES]
    assert (second.identity, second.source, second.outputs) == (first.identity, first.source, first.outputs)
    assert first.take_pixels() is not None
    assert second.take_pixels() is not None


def test_a_repeated_head_at_fault_is_refused_in_the_same_words_and_noted_each_time() -> None:
    noted: list[dict[str, Any]] = []
    texts = []
    for _ in range(2):
        with pytest.raises(MalformedRequest) as refused:
            parse({"id": "face-7", "inputs": [IMAGE], "expects": "glasses"}, note_names=noted.append)
        texts.append(refused.value.detail)
    assert texts[0] == texts[1]
    assert "expects" in texts[0]
    assert noted == [{"id": "face-7"}] * 2


def test_heads_that_differ_in_one_member_are_not_mixed_up() -> None:
    for number in range(200):
        given = {"id": f"face-{number}", "inputs": [IMAGE], "parameters": {"timeout": number + 1}}
        asked = parse(given)
        assert (asked.identity, asked.timeout) == (f"face-{number}", (number + 1) / 1e6)
