"""The KubeRay manifest: its command is valid, its Ray version is the tested one, and its pods match the schemas."""

import argparse
import importlib.metadata
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from bulk.cli import add_options
from bulk.settings import Settings

JOB: dict[str, Any] = yaml.safe_load(
    Path(__file__).parents[2].joinpath("deploy/kubernetes/bulk/rayjob.yaml").read_text()
)
CLUSTER: dict[str, Any] = JOB["spec"]["rayClusterSpec"]
GROUPS: dict[str, Any] = {
    "head": CLUSTER["headGroupSpec"],
    **{group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]},
}

each_group = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def container(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    return dict(found)


def test_its_command_is_valid() -> None:
    program, command, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    assert (program, command) == ("lensgate", "bulk")
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = vars(parser.parse_args(arguments))
    settings = Settings.load({name: given[name] for name in Settings.model_fields}, {})
    # The address comes from the environment that Ray gives to jobs.
    assert (settings.engine, settings.ray_address) == ("ray", None)


def test_its_ray_version_is_the_tested_one() -> None:
    assert CLUSTER["rayVersion"] == importlib.metadata.version("ray")


def test_all_nodes_have_one_image() -> None:
    assert {container(group)["image"] for group in GROUPS.values()} == {"lensgate:ray"}


def test_actors_run_on_the_workers_and_fit_their_cores() -> None:
    head, *workers = GROUPS.values()
    assert head["rayStartParams"]["num-cpus"] == "0"
    for worker in workers:
        assert worker["rayStartParams"]["num-cpus"] == container(worker)["resources"]["requests"]["cpu"]
        assert worker["minReplicas"] == worker["replicas"] == worker["maxReplicas"]


@each_group
def test_the_pods_match_the_published_schemas_and_are_restricted(group: dict[str, Any]) -> None:
    spec = group["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container(group)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    memory = container(group)["resources"]
    assert memory["limits"]["memory"] == memory["requests"]["memory"]
