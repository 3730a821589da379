"""Bad requests over gRPC: each is refused with a status and a code that say whose fault it is."""

import json
import logging
import math
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.v2.served_model import ServedModel
from service.errors import BodyTooLarge, MalformedRequest
from service.grpc_server.messages import ModelInferResponse
from service.grpc_server.requests import read_infer_request
from tests.service.grpc_server.calls import (
    EDGE,
    Caller,
    Refused,
    Request,
    calling,
    encoded,
    pixels_request,
    read_answer,
)
from tests.support.images import encode, flat
from tests.support.servers import Running, running_service, wait_until

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
BYTES = EDGE * EDGE * 3
SERVED = ServedModel(name="glasses", version="1", size=EDGE, outputs=("glasses_probability", "decision"), max_images=8)


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running_service(grpc_port=0, grpc_max_message_bytes=2**20, max_inflight_images=8) as running:
        yield running
        wait_until(lambda: running.inflight == 0 and running.runtime.admission.bytes == 0)


@pytest.fixture(scope="module")
def caller(served: Running) -> Iterator[Caller]:
    with calling(served, **{"grpc.max_send_message_length": -1}) as made:
        yield made


def changed(change: Callable[[Any], object]) -> bytes:
    request = pixels_request()
    change(request)
    return encoded(request)


def files_request(*files: bytes, count: int | None = None) -> Any:
    request = Request(model_name="glasses")
    request.inputs.add(name="encoded_image", datatype="BYTES", shape=[len(files) if count is None else count])
    request.raw_input_contents.append(b"".join(len(file).to_bytes(4, "little") + file for file in files))
    return request


def check(answer: bytes | Refused, status: grpc.StatusCode, code: str, text: str) -> None:
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code) == (status, code), answer
    assert text in answer.detail
    assert answer.metadata["x-request-id"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: r.inputs[0].shape.append(3), "shape"),
        (lambda r: r.inputs[0].shape.__delitem__(0), "shape"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 0), "shape"),
        (lambda r: r.inputs[0].shape.__setitem__(0, -1), "shape"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 2**62), "shape"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 2), "bytes"),
        (lambda r: r.inputs[0].shape.extend([1] * 100_000), "shape"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP32"), "UINT8"),
        (lambda r: setattr(r.inputs[0], "datatype", ""), "UINT8"),
        (lambda r: setattr(r.inputs[0], "name", "hat"), "unknown input"),
        (lambda r: r.inputs.add(name="image", datatype="UINT8", shape=[1]), "raw_input_contents"),
        (lambda r: r.raw_input_contents.append(b""), "raw_input_contents"),
        (lambda r: r.raw_input_contents.__setitem__(0, bytes(BYTES - 1)), "bytes"),
        (lambda r: r.inputs[0].contents.uint_contents.append(1), "contents beside"),
        (lambda r: r.ClearField("raw_input_contents"), "bytes"),
        (lambda r: r.ClearField("inputs"), "raw_input_contents"),
        (lambda r: setattr(r, "id", "a\nb"), "id"),
        (lambda r: setattr(r, "id", "x" * 129), "id"),
        (lambda r: setattr(r.parameters["expectd"], "string_param", "glasses"), "did you mean 'expected'"),
        (lambda r: setattr(r.parameters["expected"], "string_param", "hat"), "expected"),
        (lambda r: setattr(r.parameters["expected"], "int64_param", 1), "expected"),
        (lambda r: setattr(r.parameters["timeout"], "int64_param", -1), "timeout"),
        (lambda r: setattr(r.parameters["timeout"], "double_param", math.nan), "timeout"),
        (lambda r: setattr(r.parameters["sequence_id"], "int64_param", 4), "stateless"),
        (lambda r: setattr(r.inputs[0].parameters["binary_data_size"], "int64_param", 4), "another binary_data_size"),
        (lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "a"), "shared memory"),
        (lambda r: [r.inputs[0].parameters[str(n)].SetInParent() for n in range(100)], "parameters"),
        (lambda r: r.outputs.add(name="hat"), "unknown output"),
        (lambda r: [r.outputs.add(name="reason") for _ in range(2)], "repeated"),
    ],
)
def test_a_fault_of_the_request_is_named(caller: Caller, change: Callable[[Any], object], text: str) -> None:
    check(caller.ask(changed(change)), INVALID, "malformed_request", text)


@pytest.mark.parametrize(
    ("message", "status", "code", "text"),
    [
        (b"", INVALID, "malformed_request", "inputs"),
        (b"\xff" * 40, INVALID, "malformed_request", "ModelInferRequest"),
        (encoded(pixels_request(id="abc")).replace(b"abc", b"a\xff\xfe"), INVALID, "malformed_request", "UTF-8"),
        (encoded(pixels_request())[:-1], INVALID, "malformed_request", "truncated"),
        (encoded(pixels_request(*[1] * 9)), EXHAUSTED, "body_too_large", "9 images"),
        (encoded(files_request(b"%PDF-1.7")), INVALID, "unsupported_image", "encoded_image[0]"),
        (encoded(files_request(encode(flat(1)), b"")), INVALID, "empty_image", "encoded_image[1]"),
        (encoded(files_request(encode(flat(1)), count=2)), INVALID, "malformed_request", "bytes of encoded_image"),
        (
            encoded(pixels_request(model_version="9")),
            grpc.StatusCode.NOT_FOUND,
            "not_found",
            "version '9' of 'glasses' is not served",
        ),
    ],
    ids=["empty", "noise", "not utf-8", "truncated", "many", "pdf", "empty file", "count", "version"],
)
def test_a_bad_message_is_refused(
    caller: Caller, message: bytes, status: grpc.StatusCode, code: str, text: str
) -> None:
    check(caller.ask(message), status, code, text)


@pytest.mark.parametrize("is_raw", [True, False])
def test_empty_files_without_number_are_refused_before_they_are_unpacked(caller: Caller, *, is_raw: bool) -> None:
    request = files_request(*[b""] * 200_000)
    if not is_raw:
        del request.raw_input_contents[:]
        request.inputs[0].contents.bytes_contents[:] = [b""] * 200_000
    message = encoded(request)
    asked = partial(read_infer_request, model=SERVED, read_shared=lambda _: b"", note_names=lambda _: None)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="200,000 images in one request: 8 are allowed"):
            asked(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A list of the elements would take fifty times the message.
    assert peak < 2 * len(message)
    check(caller.ask(message), EXHAUSTED, "body_too_large", "200,000 images")


def test_a_parameter_that_is_repeated_is_not_chosen_from(caller: Caller) -> None:
    both = [pixels_request(), pixels_request()]
    for request, label in zip(both, ("glasses", "no_glasses"), strict=True):
        request.parameters["expected"].string_param = label
    del both[1].inputs[:], both[1].raw_input_contents[:]
    check(caller.ask(encoded(both[0]) + encoded(both[1])), INVALID, "malformed_request", "repeated")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_above_the_limit_is_refused_by_its_real_size(
    caller: Caller, served: Running, compression: grpc.Compression
) -> None:
    route = "/inference.GRPCInferenceService/ModelInfer"
    before = served.metric("lensgate_requests_total", route=route, status="413")
    answer = caller.ask(bytes(40 * 2**20), compression=compression)
    assert isinstance(answer, Refused)
    assert answer.status is EXHAUSTED
    wait_until(lambda: served.metric("lensgate_requests_total", route=route, status="413") == before + 1)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady"])
def test_a_call_without_a_message_is_told_so(caller: Caller, method: str) -> None:
    check(caller.send([], method=method), EXHAUSTED, "body_too_large", "no whole message of at most 1,048,576 bytes")


def test_a_message_that_is_too_large_is_not_sent_again(served: Running) -> None:
    route = "/inference.GRPCInferenceService/ModelInfer"
    before = served.metric("lensgate_requests_total", route=route, status="413")
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.001s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    names = [{"service": "inference.GRPCInferenceService"}]
    config = json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})
    with calling(served, **{"grpc.service_config": config}) as caller:
        check(caller.ask(encoded(files_request(*[b""] * 9))), EXHAUSTED, "body_too_large", "9 images in one request")
    wait_until(lambda: served.metric("lensgate_requests_total", route=route, status="413") > before)
    assert served.metric("lensgate_requests_total", route=route, status="413") == before + 1


def test_the_limit_of_a_message_without_images_is_its_own(caller: Caller) -> None:
    answer = caller.ask(bytes(2**16 + 1), method="ModelMetadata")
    check(answer, EXHAUSTED, "body_too_large", "65,537 bytes: 65,536 are allowed")


def test_the_binary_data_size_that_kserves_client_sends_is_accepted(caller: Caller) -> None:
    request = pixels_request()
    request.inputs[0].parameters["binary_data_size"].int64_param = BYTES
    assert read_answer(caller.ask(encoded(request))).outputs


def test_typed_contents_equal_raw_contents(caller: Caller) -> None:
    request = Request(model_name="glasses")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, EDGE, EDGE, 3]).contents.uint_contents[:] = [
        51
    ] * BYTES
    expected = request.inputs.add(name="expected", datatype="BYTES", shape=[1])
    expected.contents.bytes_contents.append(b"glasses")
    answer = read_answer(caller.ask(encoded(request)))
    assert answer.raw_output_contents[2][4:] == b"contradicted"
    request.inputs[0].contents.uint_contents[0] = 256
    check(caller.ask(encoded(request)), INVALID, "malformed_request", "0 to 255")
    files = Request(model_name="glasses")
    files.inputs.add(name="encoded_image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(encode(flat(51)))
    assert read_answer(caller.ask(encoded(files))).raw_output_contents[0] == answer.raw_output_contents[0]


def test_a_failed_image_is_logged_with_its_names(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    request = files_request(b"no image")
    request.id = "mine"
    request.parameters["source"].string_param = "gan-7"
    with caplog.at_level(logging.INFO, "service.access"):
        assert isinstance(caller.ask(encoded(request)), Refused)
        wait_until(lambda: any(record.name == "service.access" for record in caplog.records))
    (line,) = (record.__dict__["fields"] for record in caplog.records if record.name == "service.access")
    assert (line["status"], line["code"], line["id"], line["source"]) == (422, "unsupported_image", "mine", "gan-7")


def test_names_are_noted_before_the_inputs_are_found_at_fault() -> None:
    request = pixels_request()
    request.id = "mine"
    request.raw_input_contents.append(b"")
    noted: list[dict[str, str | int]] = []
    with pytest.raises(MalformedRequest):
        read_infer_request(encoded(request), model=SERVED, read_shared=lambda _: b"", note_names=noted.append)
    assert noted == [{"id": "mine"}]


def test_failed_requests_of_a_call_and_of_a_stream_are_recorded(tmp_path: Path) -> None:
    records = f"sqlite:///{tmp_path}/records.db"
    with running_service(grpc_port=0, records_url=records) as recording, calling(recording) as asking:
        bad = encoded(files_request(b"no image"))
        assert isinstance(asking.ask(bad), Refused)
        assert len(list(asking.stream([bad]))) == 1

        def paths() -> set[str]:
            found = recording.client.get("/v1/failures").json()["failures"]
            return {each["path"].rpartition("/")[2] for each in found if each["code"] == "unsupported_image"}

        wait_until(lambda: paths() == {"ModelInfer", "ModelStreamInfer"})


def test_unexpected_exception_is_internal_without_details() -> None:
    with running_service(grpc_port=0) as broken, calling(broken) as asking:
        broken.scorer.fault = lambda _: RuntimeError("a secret detail")
        answer = asking.ask(encoded(pixels_request()))
        check(answer, grpc.StatusCode.INTERNAL, "internal", "request_id")


def test_an_unknown_method_is_unimplemented(caller: Caller) -> None:
    answer = caller.ask(b"", method="ModelConfig")
    assert isinstance(answer, Refused)
    assert answer.status is grpc.StatusCode.UNIMPLEMENTED


def test_a_browser_is_refused(caller: Caller) -> None:
    answer = caller.ask(encoded(pixels_request()), metadata=[("origin", "https://elsewhere.example")])
    check(answer, grpc.StatusCode.PERMISSION_DENIED, "forbidden", "browsers")


PARAMETER = st.sampled_from(["bool_param", "int64_param", "string_param", "double_param", "uint64_param"])
VALUES = {
    "bool_param": True,
    "int64_param": -(2**63),
    "string_param": "glasses",
    "double_param": math.inf,
    "uint64_param": 2**64 - 1,
}
NAMES = st.sampled_from(["expected", "timeout", "priority", "sequence_id", "headers", "binary_data", "triton_x", ""])
INPUT = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["image", "encoded_image", "expected", "", "x"]),
        "datatype": st.sampled_from(["UINT8", "BYTES", "FP32", ""]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, EDGE, -1, 2**31, 2**63 - 1]), max_size=5),
        "contents": st.none() | st.binary(max_size=20),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    inputs=st.lists(INPUT, max_size=4),
    raw=st.lists(st.binary(max_size=30) | st.just(bytes(BYTES)), max_size=4),
    parameters=st.dictionaries(NAMES, PARAMETER, max_size=3),
    version=st.sampled_from(["", "1", "9"]),
    cut=st.none() | st.integers(0, 200),
)
def test_no_message_is_an_unknown_or_internal_error(
    caller: Caller, *, inputs: list[Any], raw: list[bytes], parameters: dict[str, str], version: str, cut: int | None
) -> None:
    request = Request(model_name="glasses", model_version=version, raw_input_contents=raw)
    for each in inputs:
        made = request.inputs.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
        if each["contents"] is not None:
            made.contents.bytes_contents.append(each["contents"])
    for name, kind in parameters.items():
        setattr(request.parameters[name], kind, VALUES[kind])
    answer = caller.ask(encoded(request)[:cut])
    if isinstance(answer, Refused):
        assert answer.code
        assert answer.status in (INVALID, EXHAUSTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DEADLINE_EXCEEDED)
    else:
        assert ModelInferResponse.FromString(answer).raw_output_contents
