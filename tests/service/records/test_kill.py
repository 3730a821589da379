"""Killed under load, the service loses at most the last second of decisions."""

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx

from service.records.recorder import FLUSH_SECONDS, HASH_SECONDS
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Process, read_metric, running_process, wait_until

GREY = encode(flat(128))


class Sender:
    """Posts until the service is gone, and records the time of each response."""

    def __init__(self, url: str) -> None:
        self.answered: dict[str, float] = {}
        self._url = url
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _send(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT, trust_env=False) as client:
            for count in range(10_000):
                try:
                    name = f"{number}-{count}"
                    client.post("/v1/decisions", content=GREY, params={"id": name}).raise_for_status()
                except httpx.TransportError:
                    return
                self.answered[name] = time.time()


def test_acknowledged_records_survive_a_kill(tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    file = tmp_path / "records.db"
    environment = {
        **os.environ,
        "LENSGATE_MODELS": str(tmp_path / "models"),
        "LENSGATE_RECORDS_URL": f"sqlite:///{file}",
    }
    with running_process(tmp_path / "log", environment) as process:
        sender = Sender(process.url)
        wait_until(lambda: acknowledged(process) > 200)
        written = acknowledged(process)
        process.process.send_signal(signal.SIGKILL)
        killed = time.time()
        process.process.wait(TIMEOUT)
        sender.join()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = {name for (name,) in connection.execute("SELECT id FROM decisions")}
    assert len(kept) >= written
    lost = [killed - moment for name, moment in sender.answered.items() if name not in kept]
    # The rest covers the transaction and a busy machine.
    assert max(lost, default=0.0) < HASH_SECONDS + FLUSH_SECONDS + 3.0


def acknowledged(process: Process) -> float:
    with httpx.Client(base_url=process.url, timeout=TIMEOUT, trust_env=False) as client:
        return read_metric(client, "lensgate_records_total", result="written")
