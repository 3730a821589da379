"""`tritonclient` as it is, against a real server around a fake model: each thing its HTTP client offers."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from gate import read_pixels
from service.api.v2.shared_memory import MAX_REGIONS
from service.inference.model_runner import LoadedModel
from tests.conftest import ROOT
from tests.support.images import encode, flat
from tests.support.models import brightness_model
from tests.support.servers import TIMEOUT, Process, Running, running_service, wait_until

LEVELS = (51, 255, 128)
PIXELS = np.stack([flat(level, 32) for level in LEVELS])
FILES = np.array([encode(flat(level)) for level in LEVELS], object)
PROBABILITIES = np.array([level / 255 for level in LEVELS], np.float32)
REASONS = [b"confident", b"confident", b"uncertain"]


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running_service(shared_memory=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[Any]:
    with triton.InferenceServerClient(address(served.url), concurrency=8) as client:
        yield client


def address(url: str) -> str:
    return urlsplit(url).netloc


def tensor(name: str, value: NDArray[Any], *, binary: bool = True) -> Any:
    datatype = "UINT8" if value.dtype == np.uint8 else "BYTES"
    return triton.InferInput(name, list(value.shape), datatype).set_data_from_numpy(value, binary_data=binary)


def texts(*values: str) -> NDArray[Any]:
    return np.array([value.encode() for value in values], object)


def refusal(status: int, call: Any, *given: Any, **options: Any) -> str:
    with pytest.raises(InferenceServerException) as raised:
        call(*given, **options)
    assert raised.value.status() == str(status)
    return str(raised.value.message())


def test_health_methods_of_the_client_are_true_for_the_served_version_only(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("glasses")
    assert client.is_model_ready("glasses", "1")
    assert not client.is_model_ready("glasses", "2")
    assert not client.is_model_ready("hats")


def test_metadata_names_what_there_is_and_nothing_else(client: Any) -> None:
    server = client.get_server_metadata()
    assert server["name"] == "lensgate"
    assert set(server["extensions"]) == {
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "parameters",
        "schedule_policy",
        "statistics",
        "system_shared_memory",
    }
    model = client.get_model_metadata("glasses", "1")
    assert (model["name"], model["versions"]) == ("glasses", ["1"])
    assert {each["name"]: (each["datatype"], each["shape"]) for each in model["inputs"]} == {
        "image": ("UINT8", [-1, -1, -1, 3]),
        "encoded_image": ("BYTES", [-1]),
        "expected": ("BYTES", [-1]),
    }
    # The fake model has no novelty.
    assert [each["name"] for each in model["outputs"]] == ["glasses_probability", "decision", "reason"]
    config = client.get_model_config("glasses")
    assert [each["name"] for each in config["output"]] == ["glasses_probability", "decision", "reason"]
    assert config["max_batch_size"] == 0
    assert client.get_model_repository_index() == [
        {"name": "glasses", "version": "1", "state": "READY", "reason": ""},
    ]


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("binary_outputs", [True, False, None])
@pytest.mark.parametrize(
    "given",
    [
        lambda: tensor("image", PIXELS),
        lambda: tensor("image", PIXELS, binary=False),
        lambda: tensor("image", PIXELS.repeat(2, axis=1).repeat(2, axis=2)),
        lambda: tensor("encoded_image", FILES),
    ],
    ids=["binary", "json", "larger", "files"],
)
def test_every_mixture_of_inputs_and_outputs(
    client: Any, given: Any, binary_outputs: bool | None, version: str
) -> None:
    names = ("reason", "glasses_probability", "decision")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_outputs) for name in names]
    chosen = None if binary_outputs is None else outputs
    result = client.infer("glasses", [given()], model_version=version, outputs=chosen, request_id="r-1")
    assert result.get_response()["id"] == "r-1"
    assert result.get_response()["model_version"] == "1"
    np.testing.assert_allclose(result.as_numpy("glasses_probability"), PROBABILITIES, atol=1e-6)
    assert as_bytes(result.as_numpy("reason")) == REASONS
    assert as_bytes(result.as_numpy("decision")) == [b"accept", b"accept", b"discard"]


def as_bytes(values: NDArray[Any]) -> list[bytes]:
    return [value if isinstance(value, bytes) else value.encode() for value in values]


def test_a_choice_of_outputs_keeps_its_order_and_its_form(client: Any) -> None:
    outputs = [
        triton.InferRequestedOutput("reason", binary_data=False),
        triton.InferRequestedOutput("glasses_probability"),
    ]
    found = client.infer("glasses", [tensor("image", PIXELS)], outputs=outputs).get_response()["outputs"]
    assert [output["name"] for output in found] == ["reason", "glasses_probability"]
    assert ["data" in output for output in found] == [True, False]


@pytest.mark.parametrize("binary", [True, False])
def test_what_was_asked_of_the_generator_may_be_said_of_each(client: Any, binary: bool) -> None:
    wishes = texts("glasses", "glasses", "no_glasses")
    given = [tensor("image", PIXELS), tensor("expected", wishes, binary=binary)]
    assert as_bytes(client.infer("glasses", given).as_numpy("reason")) == [b"contradicted", b"confident", b"uncertain"]


def test_what_was_asked_of_the_generator_may_be_said_of_all(client: Any) -> None:
    result = client.infer("glasses", [tensor("encoded_image", FILES)], parameters={"expected": "no_glasses"})
    assert as_bytes(result.as_numpy("reason")) == [b"confident", b"contradicted", b"uncertain"]


@pytest.mark.parametrize("response", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_compressed_requests_and_responses_give_every_probability(
    client: Any, request_: str | None, response: str | None
) -> None:
    many = PIXELS.repeat(40, axis=0)
    result = client.infer(
        "glasses",
        [tensor("image", many)],
        request_compression_algorithm=request_,
        response_compression_algorithm=response,
    )
    assert len(result.as_numpy("glasses_probability")) == 120


def test_only_long_answers_are_compressed(served: Running) -> None:
    for count, compressed in ((1, False), (120, True)):
        body, length = triton.InferenceServerClient.generate_request_body(
            [tensor("image", PIXELS[:1].repeat(count, axis=0))]
        )
        headers = {"Inference-Header-Content-Length": str(length), "Accept-Encoding": "br, gzip;q=0.5, deflate;q=0.2"}
        answer = served.client.post("/v2/models/glasses/infer", content=body, headers=headers)
        assert (answer.headers.get("content-encoding") == "gzip") == compressed


def test_bodies_that_are_made_and_parsed_by_hand(served: Running) -> None:
    body, length = triton.InferenceServerClient.generate_request_body(
        [tensor("image", PIXELS), tensor("expected", texts("no_glasses", "glasses", "glasses"))], request_id="by hand"
    )
    headers = {"Inference-Header-Content-Length": str(length), "Accept-Encoding": "identity"}
    answer = served.client.post("/v2/models/glasses/infer", content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    result = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )
    assert result.get_response()["id"] == "by hand"
    assert as_bytes(result.as_numpy("reason")) == REASONS


def test_many_requests_at_once_each_get_their_own_answer(client: Any) -> None:
    levels = [(7 * index) % 256 for index in range(60)]
    pending = [client.async_infer("glasses", [tensor("image", flat(level, 32)[np.newaxis])]) for level in levels]
    found = [request.get_result().as_numpy("glasses_probability")[0] for request in pending]
    assert found == pytest.approx([level / 255 for level in levels], abs=1e-6)


def test_asyncio_client_gets_the_answers_of_the_blocking_one(served: Running) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address(served.url)) as client:
            assert await client.is_model_ready("glasses")
            assert (await client.get_model_metadata("glasses"))["name"] == "glasses"
            asked = (client.infer("glasses", [tensor("encoded_image", FILES)]) for _ in range(8))
            for result in await asyncio.gather(*asked):
                np.testing.assert_allclose(result.as_numpy("glasses_probability"), PROBABILITIES, atol=1e-6)
            long = await client.infer("glasses", [tensor("image", PIXELS.repeat(40, axis=0))])
            assert len(long.as_numpy("reason")) == 120
            with pytest.raises(InferenceServerException, match="hats"):
                await client.infer("hats", [tensor("image", PIXELS)])

    asyncio.run(ask())


def test_request_with_headers_of_the_caller_is_answered(client: Any) -> None:
    headers = {"X-Request-ID": "abc"}
    assert client.infer("glasses", [tensor("image", PIXELS)], headers=headers).as_numpy("reason") is not None


def test_a_query_could_hold_an_order_and_is_refused_where_images_are_judged(client: Any) -> None:
    query = {"expected": "glasses"}
    assert client.is_server_ready(query_params=query)
    assert "'expected'" in refusal(400, client.infer, "glasses", [tensor("image", PIXELS)], query_params=query)
    assert "'expected'" in refusal(400, client.get_model_metadata, "glasses", query_params=query)


def test_a_model_or_a_version_that_is_not_served_is_a_404_that_says_which_is(client: Any) -> None:
    given = [tensor("image", PIXELS)]
    assert "'1'" in refusal(404, client.infer, "glasses", given, model_version="3")
    assert "'glasses'" in refusal(404, client.infer, "hats", given)
    assert "'1'" in refusal(404, client.get_model_metadata, "glasses", "3")
    assert "'1'" in refusal(404, client.get_inference_statistics, "glasses", "3")
    refusal(404, client.get_model_config, "hats")


def test_a_timeout_ends_the_wait_and_can_only_shorten(served: Running, client: Any) -> None:
    given = [tensor("image", PIXELS)]
    assert client.infer("glasses", given, timeout=10**12).as_numpy("reason") is not None
    assert client.infer("glasses", given, timeout=0, priority=2).as_numpy("reason") is not None
    served.scorer.go.clear()
    try:
        assert "50 ms" in refusal(504, client.infer, "glasses", given, timeout=50_000)
        refusal(504, client.infer, "glasses", given, timeout=1)
    finally:
        served.scorer.go.set()


def test_sequences_classification_and_unknown_outputs_are_400(client: Any) -> None:
    given = [tensor("image", PIXELS)]
    assert "stateless" in refusal(400, client.infer, "glasses", given, sequence_id=7, sequence_start=True)
    outputs = [triton.InferRequestedOutput("decision", class_count=2)]
    assert "class_count" in refusal(400, client.infer, "glasses", given, outputs=outputs)
    for name in ("novelty", "label"):
        assert name in refusal(400, client.infer, "glasses", given, outputs=[triton.InferRequestedOutput(name)])


def test_model_control_cuda_memory_trace_and_log_calls_are_400_with_the_reason(client: Any) -> None:
    assert "CURRENT" in refusal(400, client.load_model, "glasses")
    assert "CURRENT" in refusal(400, client.load_model, "glasses", config="{}", files=None)
    assert "CURRENT" in refusal(400, client.unload_model, "glasses")
    assert "CUDA" in refusal(400, client.get_cuda_shared_memory_status)
    assert "CUDA" in refusal(400, client.register_cuda_shared_memory, "r", b"aGFuZGxl".decode(), 0, 64)
    assert "CUDA" in refusal(400, client.unregister_cuda_shared_memory)
    assert "CUDA" in refusal(400, client.unregister_cuda_shared_memory, "r")
    for call in (client.get_trace_settings, client.update_trace_settings):
        assert "traces" in refusal(400, call)
        assert "traces" in refusal(400, call, "glasses")
    assert "LENSGATE_LOG_LEVEL" in refusal(400, client.get_log_settings)
    assert "LENSGATE_LOG_LEVEL" in refusal(400, client.update_log_settings, {"log_verbose_level": 1})


def test_a_file_that_cannot_be_judged_is_named_and_fails_the_request(client: Any) -> None:
    files = FILES.copy()
    files[1] = files[1][:60]
    text = refusal(422, client.infer, "glasses", [tensor("encoded_image", files)])
    assert text.startswith("encoded_image[1]: ")
    assert "damaged" in text


def test_statistics_count_requests_and_runs() -> None:
    with running_service() as service, triton.InferenceServerClient(address(service.url)) as client:
        client.infer("glasses", [tensor("image", PIXELS)])
        client.infer("glasses", [tensor("encoded_image", FILES)])
        refusal(400, client.infer, "glasses", [tensor("image", PIXELS.astype(np.uint8)[:, :16])])
        service.post(encode(flat(51)))
        for given in (("",), ("glasses",), ("glasses", "1")):
            (found,) = client.get_inference_statistics(*given)["model_stats"]
            assert (found["name"], found["version"]) == ("glasses", "1")
            assert (found["inference_count"], found["execution_count"]) == (7, 3)
            stats = found["inference_stats"]
            assert [stats[name]["count"] for name in ("success", "fail", "queue", "compute_infer")] == [2, 1, 2, 2]
            assert stats["success"]["ns"] > stats["compute_infer"]["ns"] > 0
            assert [(each["batch_size"], each["compute_infer"]["count"]) for each in found["batch_stats"]] == [
                (1, 1),
                (3, 2),
            ]
            assert found["last_inference"] > 1.7e12


def test_another_version_is_served_from_one_request_to_the_next() -> None:
    with running_service() as service, triton.InferenceServerClient(address(service.url)) as client:
        given = [tensor("image", PIXELS)]
        client.infer("glasses", given, model_version="1")
        service.runtime.pipeline.swap(LoadedModel(brightness_model("2").card, service.scorer, "fake"))
        assert client.infer("glasses", given).get_response()["model_version"] == "2"
        assert "'2'" in refusal(404, client.infer, "glasses", given, model_version="1")
        assert client.get_model_metadata("glasses")["versions"] == ["2"]
        (found,) = client.get_inference_statistics()["model_stats"]
        assert (found["version"], found["inference_count"]) == ("2", 3)
        assert found["inference_stats"]["success"]["count"] == 1


@pytest.fixture
def region() -> Iterator[shared_memory.SharedMemory]:
    memory = shared_memory.SharedMemory(f"lensgate-{uuid.uuid4().hex[:12]}", create=True, size=PIXELS.nbytes + 4096)
    try:
        yield memory
    finally:
        memory.close()
        memory.unlink()


def test_tensors_in_shared_memory_are_read_and_written_at_their_offsets(
    client: Any, region: shared_memory.SharedMemory
) -> None:
    assert region.buf is not None
    region.buf[64 : 64 + PIXELS.nbytes] = PIXELS.tobytes()
    client.register_system_shared_memory("in", region.name, PIXELS.nbytes, offset=64)
    client.register_system_shared_memory("out", f"/{region.name}", 1024, offset=64 + PIXELS.nbytes)
    assert client.get_system_shared_memory_status("in") == [
        {"name": "in", "key": region.name, "offset": 64, "byte_size": PIXELS.nbytes},
    ]
    assert [each["name"] for each in client.get_system_shared_memory_status()] == ["in", "out"]
    image = triton.InferInput("image", list(PIXELS.shape), "UINT8").set_shared_memory("in", PIXELS.nbytes)
    probability = triton.InferRequestedOutput("glasses_probability")
    probability.set_shared_memory("out", 12, offset=8)
    result = client.infer("glasses", [image], outputs=[probability, triton.InferRequestedOutput("reason")])
    assert as_bytes(result.as_numpy("reason")) == REASONS
    written = result.get_output("glasses_probability")
    assert written["parameters"] == {
        "shared_memory_region": "out",
        "shared_memory_byte_size": 12,
        "shared_memory_offset": 8,
    }
    start = 64 + PIXELS.nbytes + 8
    found = np.frombuffer(bytes(region.buf[start : start + 12]), np.float32)
    assert found.tolist() == pytest.approx(PROBABILITIES.tolist(), abs=1e-6)
    assert "already registered" in refusal(400, client.register_system_shared_memory, "in", region.name, 8)
    client.unregister_system_shared_memory("in")
    assert "registered" in refusal(400, client.infer, "glasses", [image])
    refusal(404, client.get_system_shared_memory_status, "in")
    client.unregister_system_shared_memory()
    assert client.get_system_shared_memory_status() == []


@pytest.mark.parametrize(
    ("key", "size", "offset"),
    [
        ("../etc/passwd", 8, 0),
        ("/../etc/passwd", 8, 0),
        ("a/b", 8, 0),
        ("..", 8, 0),
        ("", 8, 0),
        ("a\0b", 8, 0),
        ("lensgate-nothing-here", 8, 0),
        (None, 10**9, 0),
        (None, 8, 10**9),
        (None, 8, -1),
        (None, 0, 0),
        (None, -8, 16),
        (None, 10**30, 0),
    ],
)
def test_invalid_region_is_400(
    client: Any, region: shared_memory.SharedMemory, key: str | None, size: int, offset: int
) -> None:
    key = region.name if key is None else key
    refusal(400, client.register_system_shared_memory, "bad", key, size, offset=offset)
    assert client.get_system_shared_memory_status() == []


def test_regions_are_shared_memory_and_not_too_many(client: Any, region: shared_memory.SharedMemory) -> None:
    pipe = Path(f"/dev/shm/lensgate-{uuid.uuid4().hex[:12]}")  # noqa: S108
    os.mkfifo(pipe)
    try:
        assert "is not a shared memory object" in refusal(400, client.register_system_shared_memory, "r", pipe.name, 8)
    finally:
        pipe.unlink()
    for index in range(MAX_REGIONS):
        client.register_system_shared_memory(f"r{index}", region.name, 8)
    assert str(MAX_REGIONS) in refusal(400, client.register_system_shared_memory, "more", region.name, 8)
    client.unregister_system_shared_memory()


def test_shared_memory_counts_as_the_body_does(region: shared_memory.SharedMemory) -> None:
    with (
        running_service(shared_memory=True, max_tensor_bytes=PIXELS.nbytes - 1) as service,
        triton.InferenceServerClient(address(service.url)) as client,
    ):
        client.register_system_shared_memory("in", region.name, PIXELS.nbytes)
        image = triton.InferInput("image", list(PIXELS.shape), "UINT8").set_shared_memory("in", PIXELS.nbytes)
        assert "limit is" in refusal(413, client.infer, "glasses", [image])
        assert service.runtime.admission.bytes == 0
        client.unregister_system_shared_memory()


def test_parts_outside_their_region_and_regions_that_shrink_are_400s(
    client: Any, region: shared_memory.SharedMemory
) -> None:
    client.register_system_shared_memory("in", region.name, PIXELS.nbytes)

    def image(size: int, offset: int = 0) -> Any:
        return triton.InferInput("image", list(PIXELS.shape), "UINT8").set_shared_memory("in", size, offset=offset)

    for size, offset in ((PIXELS.nbytes, 1), (PIXELS.nbytes + 1, 0), (8, 10**9)):
        assert "outside" in refusal(400, client.infer, "glasses", [image(size, offset)])
    output = triton.InferRequestedOutput("reason")
    output.set_shared_memory("in", 4)
    assert "reason has" in refusal(400, client.infer, "glasses", [tensor("image", PIXELS)], outputs=[output])
    os.truncate(f"/dev/shm/{region.name}", 100)  # noqa: S108
    assert "shrunk" in refusal(400, client.infer, "glasses", [image(PIXELS.nbytes)])
    client.unregister_system_shared_memory()


def test_shared_memory_is_off_by_default() -> None:
    with running_service() as service, triton.InferenceServerClient(address(service.url)) as client:
        assert "system_shared_memory" not in client.get_server_metadata()["extensions"]
        for call in (
            client.get_system_shared_memory_status,
            client.unregister_system_shared_memory,
            lambda: client.register_system_shared_memory("in", "any", 8),
            lambda: client.infer(
                "glasses", [triton.InferInput("image", [1, 32, 32, 3], "UINT8").set_shared_memory("in", 3072)]
            ),
        ):
            assert "LENSGATE_SHARED_MEMORY" in refusal(400, call)


def test_disconnected_caller_releases_its_permits(served: Running) -> None:
    served.scorer.go.clear()
    try:
        with (
            httpx.Client(base_url=served.url, timeout=0.2, trust_env=False) as client,
            pytest.raises(httpx.ReadTimeout),
        ):
            body, length = triton.InferenceServerClient.generate_request_body([tensor("image", PIXELS)])
            headers = {"Inference-Header-Content-Length": str(length)}
            client.post("/v2/models/glasses/infer", content=body, headers=headers)
        wait_until(lambda: served.inflight == 0, timeout=TIMEOUT)
    finally:
        served.scorer.go.set()


def test_the_shipped_model_says_the_same_whichever_way_it_is_asked(live_service: Process) -> None:
    files = [path.read_bytes() for path in sorted((ROOT / "samples").glob("*.png"))]
    with (
        httpx.Client(base_url=live_service.url, timeout=TIMEOUT, trust_env=False) as http,
        triton.InferenceServerClient(address(live_service.url)) as client,
    ):
        size = http.get("/v1/model").json()["input"]["size"]
        posted = [http.post("/v1/decisions", content=file).json() for file in files]
        ways = {
            "encoded": tensor("encoded_image", np.array(files, object)),
            "small": tensor("image", np.stack([read_pixels(file, size) for file in files])),
            "whole": tensor("image", np.stack([read_pixels(file, 1024) for file in files])),
        }
        for way, given in ways.items():
            result = client.infer("glasses", [given])
            for name in ("glasses_probability", "novelty"):
                found = result.as_numpy(name).tolist()
                assert found == pytest.approx([each[name] for each in posted], abs=1e-5), way
            for name in ("decision", "reason"):
                assert as_bytes(result.as_numpy(name)) == [each[name].encode() for each in posted], way
        # One at a time, as they were posted, they agree to the last bit.
        alone = {"encoded": files[0], "small": read_pixels(files[0], size), "whole": read_pixels(files[0], 1024)}
        for way, given_alone in alone.items():
            name = "encoded_image" if way == "encoded" else "image"
            array = np.array([given_alone], object if way == "encoded" else np.uint8)
            result = client.infer("glasses", [tensor(name, array)], outputs=as_json("glasses_probability", "novelty"))
            for output in result.get_response()["outputs"]:
                assert output["data"] == [posted[0][output["name"]]], way


def as_json(*names: str) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=False) for name in names]
