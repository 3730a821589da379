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
PODS: dict[str, Any] = {
    "submitter": JOB["spec"]["submitterPodTemplate"],
    **{name: group["template"] for name, group in GROUPS.items()},
}

each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["spec"]["containers"]
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
    assert {container(pod)["image"] for pod in PODS.values()} == {"lensgate:ray"}


def test_actors_run_on_the_workers_and_fit_their_cores() -> None:
    head, *workers = GROUPS.values()
    assert head["rayStartParams"]["num-cpus"] == "0"
    for worker in workers:
        assert worker["rayStartParams"]["num-cpus"] == container(worker["template"])["resources"]["requests"]["cpu"]
        assert worker["minReplicas"] == worker["replicas"] == worker["maxReplicas"]


@each_pod
def test_the_pods_match_the_published_schemas_and_are_restricted(pod: dict[str, Any]) -> None:
    """As Kubernetes' Pod Security Standards say at the level `restricted`."""
    spec = pod["spec"]
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False, "no pod calls the Kubernetes API"
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    memory = container(pod)["resources"]
    assert memory["limits"]["memory"] == memory["requests"]["memory"]


def test_the_submitter_runs_the_command_that_kuberay_adds() -> None:
    spec = PODS["submitter"]["spec"]
    assert spec["restartPolicy"] == "Never", "what a Job takes"
    assert not {"command", "args"} & container(PODS["submitter"]).keys()
