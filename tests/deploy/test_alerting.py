"""One alert end to end: images, a real service, Prometheus, Alertmanager, and the receiver.

The test changes only the scrape and evaluation intervals, Alertmanager's group wait and the addresses; the rules are
those of the project.
"""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import yaml

from gate.pixels import Pixels, read_pixels
from tests.support.servers import running_process

from .prometheus import Prometheus, project_config, running_alertmanager, running_prometheus
from .rules import FOLDER
from .tools import ROOT
from .webhook import running_webhook

ALERT = "LensgateRejectRateHigh"


def routed_to(url: str) -> dict[str, Any]:
    """The project's own routes, with each receiver at `url`/NAME."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    config["route"]["group_wait"] = "1s"
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": f"{url}/{receiver['name']}"}]
    return config


def decide(client: httpx.Client, image: Pixels, *, times: int) -> None:
    """Have one image decided so many times."""
    pixels = np.tile(image, (times, 1, 1, 1)).tobytes()
    tensor = {"name": "image", "datatype": "UINT8", "shape": [times, *image.shape]}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(pixels)}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = client.post("/v2/models/glasses/infer", content=head + pixels, headers=headers)
    assert answer.status_code == 200, answer.text


def decide_all(client: httpx.Client, prometheus: Prometheus, image: Pixels, *, images: int) -> None:
    """Have an image decided until Prometheus has seen so many more decisions than before."""
    (before,) = prometheus.wait_for("sum(lensgate_decisions_total)")
    for _ in range(images // 100):
        decide(client, image, times=100)
    prometheus.wait_for(f"sum(lensgate_decisions_total) >= {before.value + images}")


def test_a_jump_of_the_reject_rate_notifies_the_receiver(tmp_path: Path) -> None:
    face = read_pixels((ROOT / "samples/none-1.png").read_bytes(), 128)
    environment = os.environ | {"LENSGATE_MODELS": str(ROOT / "models")}
    with (
        running_webhook() as inbox,
        running_process(tmp_path / "service.log", environment) as service,
        httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client,
        running_alertmanager(routed_to(inbox.url), tmp_path) as alertmanager,
        running_prometheus(project_config(urlsplit(service.url).netloc, alertmanager=alertmanager), tmp_path) as prom,
    ):
        prom.wait_for("sum(lensgate_decisions_total) == 0")
        decide_all(client, prom, face, images=1000)
        prom.wait_for("job:lensgate_decisions:increase30m >= 500")
        prom.wait_for("job:lensgate_discards_per_decisions:ratio_rate30m == 0")
        assert prom.alerts(ALERT) == []

        decide_all(client, prom, np.zeros_like(face), images=1000)
        message = inbox.wait_for(ALERT, "/page")

    assert (message["receiver"], message["status"]) == ("page", "firing")
    (alert,) = message["alerts"]
    assert alert["labels"]["job"] == "lensgate"
    assert alert["annotations"]["runbook"] == f"docs/runbooks.md#{ALERT.lower()}"
    assert "expected at most" in alert["annotations"]["description"]
    share = float(alert["annotations"]["description"].partition("%")[0])
    assert 20 < share < 60, "the share at the evaluation that saw the jump"
