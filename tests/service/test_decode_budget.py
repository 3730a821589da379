"""Images wait for decode memory: those that fit are answered, and abandoned ones leave the queue."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from gate import MAX_DECODE_BYTES
from service.settings import Settings
from tests.support.images import encode, flat
from tests.support.pngs import any_png
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

WHITE = encode(flat(255))
FORMATS = {
    "png": WHITE,
    "deep png": any_png(np.full((64, 64, 4), 65535), colour="rgba", depth=16),
    "jpeg": encode(flat(255), "JPEG"),
    "webp": encode(flat(255), "WEBP"),
}


def encoded_image(service: Running, body: bytes) -> httpx.Response:
    name = {"name": "encoded_image", "datatype": "BYTES", "shape": [1]}
    head = json.dumps({"inputs": [{**name, "parameters": {"binary_data_size": len(body) + 4}}]}).encode()
    return service.client.post(
        "/v2/models/glasses/infer",
        content=head + len(body).to_bytes(4, "little") + body,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )


def test_images_of_every_format_wait_for_memory_and_are_answered() -> None:
    with running_service(max_decode_bytes=1, decode_threads=2) as service, ThreadPoolExecutor(1) as pool:
        for body in FORMATS.values():
            for send in (service.post, lambda body: encoded_image(service, body)):
                with service.runtime.decode_pool.budget.hold(1):
                    answer = pool.submit(send, body)
                    wait_until(lambda: service.runtime.decode_pool.budget.waiting == 1)
                    assert not answer.done()
                assert answer.result(TIMEOUT).status_code == 200, answer.result().text
        assert service.runtime.decode_pool.budget.held == 0


def test_an_image_whose_deadline_passes_leaves_the_queue_and_its_thread() -> None:
    with running_service(max_decode_bytes=1, decode_threads=1) as service:
        with service.runtime.decode_pool.budget.hold(1):
            assert service.post(WHITE, timeout_ms=100).status_code == 504
            wait_until(lambda: service.runtime.decode_pool.budget.waiting == 0)
            wait_until(lambda: service.runtime.decode_pool.busy == 0)
        assert service.post(WHITE).status_code == 200


def test_the_limit_is_a_setting() -> None:
    assert Settings.load({}, {"LENSGATE_MAX_DECODE_BYTES": "1000"}).max_decode_bytes == 1000
    assert Settings().max_decode_bytes == MAX_DECODE_BYTES
