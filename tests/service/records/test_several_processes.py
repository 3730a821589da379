"""Worker processes that share one store."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import running_process, wait_until

START = 120.0  # Longest wait for both workers, on a busy machine.


def test_workers_create_one_store_and_record_every_decision(store_url: str, tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models"), "LENSGATE_RECORDS_URL": store_url}
    body = encode(flat(128))
    with running_process(tmp_path / "log", environment, "--workers", "2") as process:

        def post(number: int) -> int:
            # A connection of its own, so that both workers get some.
            url = f"{process.url}/v1/decisions?id=face-{number}"
            return httpx.post(url, content=body, timeout=60, trust_env=False).status_code

        def recorded() -> set[str]:
            found = httpx.get(f"{process.url}/v1/decisions?limit=100", timeout=60, trust_env=False).json()
            return {record["id"] for record in found["decisions"]}

        wait_until(lambda: process.log.read_text().count('"running on') == 2, timeout=START)
        with ThreadPoolExecutor(4) as senders:
            assert set(senders.map(post, range(40))) == {200}
        wait_until(lambda: recorded() == {f"face-{number}" for number in range(40)})
    lines = map(json.loads, process.log.read_text().splitlines())
    assert [line for line in lines if line.get("level") in ("warning", "error", "critical")] == []
