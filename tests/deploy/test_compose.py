import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from .dockerfile import read_stages
from .tools import ROOT, output

BASE = ("docker-compose.yml",)
GPU = ("docker-compose.yml", "docker-compose.gpu.yml")


@cache
def merged(files: tuple[str, ...]) -> dict[str, Any]:
    flags = [word for file in files for word in ("-f", file)]
    model: dict[str, Any] = yaml.safe_load(output("docker-compose", *flags, "config"))
    return model


def written(file: str) -> dict[str, Any]:
    model: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return model


@pytest.mark.parametrize("files", [BASE, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("name", ["gate", "prometheus", "grafana"])
def test_every_service_is_hardened(files: tuple[str, ...], name: str) -> None:
    service = merged(files)["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service
    assert "user" not in service, "the images name a user who is not root; nothing here may change that"


@pytest.mark.parametrize("name", ["gate", "prometheus", "grafana"])
def test_nothing_listens_beyond_this_machine(name: str) -> None:
    ports = written("docker-compose.yml")["services"][name]["ports"]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_images_of_others_are_pinned(name: str) -> None:
    image = written("docker-compose.yml")["services"][name]["image"]
    assert re.search(r":v?\d+\.\d+\.\d+$", image)


@pytest.mark.parametrize(("files", "target"), [(BASE, "cpu"), (GPU, "gpu")])
def test_the_gate_is_built_from_a_stage_that_exists(files: tuple[str, ...], target: str) -> None:
    gate = merged(files)["services"]["gate"]
    context = Path(gate["build"]["context"])
    dockerfile = context / gate["build"]["dockerfile"]
    assert (context.resolve(), dockerfile) == (ROOT, ROOT / "deploy/Dockerfile")
    assert gate["build"]["target"] == target
    assert gate["image"] == f"lensgate:{target}"
    assert target in {stage.name for stage in read_stages(dockerfile)}


def test_the_gate_has_time_to_drain() -> None:
    grace = merged(BASE)["services"]["gate"]["stop_grace_period"]
    assert int(re.fullmatch(r"(\d+)s", grace)[1]) > 30  # type: ignore[index]


def test_the_gate_keeps_the_health_check_of_its_image() -> None:
    assert "healthcheck" not in merged(BASE)["services"]["gate"]


def test_the_gpu_override_asks_for_a_gpu_and_for_nothing_less() -> None:
    gate = merged(GPU)["services"]["gate"]
    assert gate["environment"]["LENSGATE_DEVICE"] == "cuda"
    (device,) = gate["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], int(device["count"]), device["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_without_the_override_no_gpu_is_asked_for() -> None:
    assert "deploy" not in merged(BASE)["services"]["gate"]


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_is_mounted_exists_and_cannot_be_written(name: str) -> None:
    model = written("docker-compose.yml")
    for volume in model["services"][name]["volumes"]:
        source, _, rest = volume.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert rest.endswith(":ro"), volume
        else:
            assert source in model["volumes"]
