"""`tritonclient.grpc` as it is, against a real server around a fake model."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from tests.service.grpc_server.calls import address
from tests.support.images import encode, flat, portrait
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

LEVELS = (51, 255, 128)
PIXELS = np.stack([flat(level, 32) for level in LEVELS])
FILES = np.array([encode(flat(level)) for level in LEVELS], object)


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running_service(grpc_port=0, sources="stylegan3-t") as running:
        yield running
        wait_until(lambda: running.inflight == 0 and running.runtime.admission.bytes == 0)


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[Any]:
    with triton.InferenceServerClient(address(served)) as client:
        yield client


def tensor(name: str, value: NDArray[Any], library: Any = triton) -> Any:
    made = library.InferInput(name, list(value.shape), "UINT8" if value.dtype == np.uint8 else "BYTES")
    made.set_data_from_numpy(value)
    return made


def test_health_methods_of_the_client_are_true_for_the_served_version_only(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("glasses")
    assert client.is_model_ready("glasses", "1")
    assert not client.is_model_ready("glasses", "2")
    assert not client.is_model_ready("hats")


def test_probes_of_kubernetes_and_envoy_are_answered_and_counted(served: Running) -> None:
    route = "/grpc.health.v1.Health/Check"
    with grpc.insecure_channel(address(served)) as channel:
        check = channel.unary_unary(route)
        for request in (b"", b"\x0a\x1einference.GRPCInferenceService"):
            assert check(request, timeout=TIMEOUT) == b"\x08\x01"
    assert served.metric("lensgate_requests_total", route=route, status="200") == 2


def test_metadata_is_that_of_http(client: Any, served: Running) -> None:
    server = client.get_server_metadata(as_json=True)
    assert (server["name"], server["extensions"]) == ("lensgate", ["parameters"])
    model = client.get_model_metadata("glasses", as_json=True)
    shapes = [{**each, "shape": list(map(int, each["shape"]))} for each in model["inputs"]]
    over_http = served.client.get("/v2/models/glasses").json()
    assert shapes == over_http["inputs"]
    assert [each["name"] for each in model["outputs"]] == [each["name"] for each in over_http["outputs"]]
    with pytest.raises(InferenceServerException, match="unknown model 'hats'"):
        client.get_model_metadata("hats")


@pytest.mark.parametrize("expected", [None, "glasses", "no_glasses"])
@pytest.mark.parametrize("name", ["image", "encoded_image"])
def test_decisions_are_those_of_http(client: Any, served: Running, name: str, expected: str | None) -> None:
    faces = [portrait(64, seed=seed) for seed in range(3)]
    files = [encode(face, kind) for face, kind in zip(faces, ("PNG", "JPEG", "WEBP"), strict=True)]
    given = [np.concatenate([PIXELS.repeat(2, axis=1).repeat(2, axis=2), np.stack(faces)])]
    if name == "encoded_image":
        given = [np.array([*FILES, *files], object)]
    parameters = {} if expected is None else {"expected": expected}
    result = client.infer("glasses", [tensor(name, given[0])], request_id="r-1", parameters=parameters)
    with triton_http.InferenceServerClient(served.url.removeprefix("http://")) as over_http:
        inputs = [tensor(name, given[0], triton_http)]
        wanted = over_http.infer("glasses", inputs, request_id="r-1", parameters=parameters or None)
    assert result.get_response().id == "r-1"
    assert result.get_response().model_version == "1"
    for output in ("glasses_probability", "decision", "reason"):
        np.testing.assert_array_equal(result.as_numpy(output), wanted.as_numpy(output), err_msg=output)


def test_orders_are_an_input_too_and_outputs_can_be_chosen(client: Any) -> None:
    orders = np.array(["no_glasses", "no_glasses", ""], object)
    outputs = [triton.InferRequestedOutput("reason"), triton.InferRequestedOutput("glasses_probability")]
    result = client.infer("glasses", [tensor("image", PIXELS), tensor("expected", orders)], outputs=outputs)
    assert [each.name for each in result.get_response().outputs] == ["reason", "glasses_probability"]
    assert list(result.as_numpy("reason")) == [b"confident", b"contradicted", b"uncertain"]
    assert result.as_numpy("decision") is None


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_messages_may_be_compressed(client: Any, algorithm: str) -> None:
    result = client.infer("glasses", [tensor("image", PIXELS)], compression_algorithm=algorithm)
    assert list(result.as_numpy("decision")) == [b"accept", b"accept", b"discard"]


def test_calls_in_flight_are_answered_by_callback(client: Any) -> None:
    found: list[Any] = []
    for _ in range(20):
        client.async_infer("glasses", [tensor("image", PIXELS)], lambda result, error: found.append((result, error)))
    wait_until(lambda: len(found) == 20)
    assert {error for _, error in found} == {None}


def test_a_stream_answers_in_order_and_goes_on_after_an_error(client: Any) -> None:
    found: list[tuple[Any, Any]] = []
    client.start_stream(lambda result, error: found.append((result, error)))
    for number in range(30):
        client.async_stream_infer(
            "hats" if number == 7 else "glasses", [tensor("image", PIXELS)], request_id=f"{number}"
        )
    client.stop_stream()
    errors = {number: error for number, (_, error) in enumerate(found) if error}
    assert list(errors) == [7]
    assert errors[7].message().startswith("not_found: unknown model 'hats'")
    answers = [result.get_response() for result, _ in found if result]
    assert [answer.id for answer in answers] == [f"{n}" for n in range(30) if n != 7]
    # Clients of models with any number of answers wait for it.
    assert all(answer.parameters["triton_final_response"].bool_param for answer in answers)


def test_a_cancelled_call_frees_its_place() -> None:
    with running_service(grpc_port=0) as service, triton.InferenceServerClient(address(service)) as client:
        service.scorer.go.clear()
        found: list[Any] = []
        call = client.async_infer("glasses", [tensor("image", PIXELS)], lambda *answer: found.append(answer))
        assert service.scorer.entered.wait(TIMEOUT)
        assert service.inflight == 3
        call.cancel()
        wait_until(lambda: service.inflight == 0 and service.runtime.admission.bytes == 0)
        service.scorer.go.set()
        route = "/inference.GRPCInferenceService/ModelInfer"
        wait_until(lambda: service.metric("lensgate_requests_total", route=route, status="499") == 1)


def test_each_image_of_a_request_has_its_source(client: Any, served: Running) -> None:
    labels = {"source": "stylegan3-t", "expected": "glasses", "reason": "confident"}
    before = served.metric("lensgate_source_decisions_total", **labels)
    parameters = {"source": "stylegan3-t", "expected": "glasses"}
    client.infer("glasses", [tensor("image", PIXELS[1:2].repeat(3, axis=0))], parameters=parameters)
    assert served.metric("lensgate_source_decisions_total", **labels) - before == 3
    with pytest.raises(InferenceServerException, match="source"):
        client.infer("glasses", [tensor("image", PIXELS)], parameters={"source": "a\nb"})
