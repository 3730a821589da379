"""Training on Kubernetes: the manifests against the published schemas, the command they run, and each other."""

import argparse
import re
import shlex
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from common.storage import StoragePath
from lensgate import cli

from .kustomize import build
from .tools import ROOT

KUBERNETES = ROOT / "deploy/kubernetes"
GUIDE = (ROOT / "docs/guides/training-at-scale.md").read_text()
BUILT = build(KUBERNETES / "training")
CHIEF, WORKERS = "lensgate-tune-chief", "lensgate-tune-workers"
# The oldest release that has all that is used by default (`successPolicy`), and the newest that is known.
VERSIONS = ("1.31", kubernetes_validate.latest_version())

each_job = pytest.mark.parametrize("name", [CHIEF, WORKERS])


def job(name: str) -> dict[str, Any]:
    found: dict[str, Any] = BUILT.one("Job", name)["spec"]
    return found


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = job(name)["template"]["spec"]
    return found


def labels(name: str) -> dict[str, str]:
    found: dict[str, str] = job(name)["template"]["metadata"]["labels"]
    return found


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    assert isinstance(found, dict)
    return found


def environment(name: str, index: int = 0) -> dict[str, str]:
    """The variables as the kubelet resolves them in the pod with this index."""
    found = dict[str, str]()
    for entry in container(name)["env"]:
        value = entry["value"] if "value" in entry else str(index)
        found[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
    return found


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command's own options."""
    return cli.parse(arguments)


def blocks(language: str = "") -> list[str]:
    """Commands that the guide tells to copy."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[list[str]]:
    for block in blocks():
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("lensgate "):
                yield shlex.split(line)[1:]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_match_the_published_schemas_strictly(version: str) -> None:
    assert len(BUILT.all) == 6
    for item in BUILT.all:
        kubernetes_validate.validate(item, version, strict=True)


def test_the_chief_and_its_workers_run_the_same_command() -> None:
    assert container(CHIEF)["args"] == container(WORKERS)["args"]
    options = parsed(container(CHIEF)["args"])
    assert options.step == "tune"
    assert (options.target, options.records) == ("architecture", StoragePath("s3://BUCKET/records"))
    assert isinstance(options.out, StoragePath), "what is kept in a pod goes with it"


def test_every_command_of_the_guide_is_one() -> None:
    found = list(commands())
    assert len(found) == 4
    for arguments in found:
        assert parsed(arguments).command_line == shlex.join(["lensgate", *arguments])


def test_the_overlay_of_the_guide_gives_both_jobs_a_command() -> None:
    (text,) = blocks("yaml")
    overlay = yaml.safe_load(text)
    assert [ROOT / path for path in overlay["resources"]] == [KUBERNETES / "training"]
    (image,) = overlay["images"]
    assert all(container(name)["image"].partition(":")[0] == image["name"] for name in (CHIEF, WORKERS))
    command, account = ((one["target"], *yaml.safe_load(one["patch"])) for one in overlay["patches"])
    assert command[0] == {"kind": "Job"}
    assert (command[1]["op"], command[1]["path"]) == ("replace", "/spec/template/spec/containers/0/args")
    options = parsed(command[1]["value"])
    assert (options.step, options.trials) == ("tune", 20)
    assert account[0] == {"kind": "ServiceAccount"}
    assert (account[1]["op"], account[1]["path"]) == ("add", "/metadata/annotations")
    assert "annotations" not in BUILT.one("ServiceAccount", "lensgate-training")["metadata"], "they would be replaced"


def test_workers_find_the_chief_where_it_listens() -> None:
    chief, worker = environment(CHIEF), environment(WORKERS)
    service = BUILT.one("Service", worker["KERASTUNER_ORACLE_IP"])
    (port,) = service["spec"]["ports"]
    (listens,) = container(CHIEF)["ports"]
    assert (port["targetPort"], str(port["port"])) == (listens["name"], worker["KERASTUNER_ORACLE_PORT"])
    assert str(listens["containerPort"]) == chief["KERASTUNER_ORACLE_PORT"]
    assert service["spec"]["selector"].items() <= labels(CHIEF).items()
    assert not service["spec"]["selector"].items() <= labels(WORKERS).items()
    # Keras Tuner treats every worker with that word in its name as the chief.
    assert [("chief" in given["KERASTUNER_TUNER_ID"]) for given in (chief, worker)] == [True, False]


def test_every_worker_has_a_name_which_the_pod_that_replaces_it_keeps() -> None:
    (index,) = (entry for entry in container(WORKERS)["env"] if "value" not in entry)
    path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
    assert index["valueFrom"] == {"fieldRef": {"fieldPath": path}}
    spec = job(WORKERS)
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", spec["parallelism"])
    names = {environment(WORKERS, one)["KERASTUNER_TUNER_ID"] for one in range(spec["completions"])}
    assert len(names) == spec["completions"]
    assert spec["podReplacementPolicy"] == job(CHIEF)["podReplacementPolicy"] == "Failed", "never two of one name"


def test_the_workers_are_done_when_one_is_told_so() -> None:
    assert job(WORKERS)["successPolicy"] == {"rules": [{"succeededCount": 1}]}


@each_job
def test_a_pod_that_fails_is_replaced_but_not_for_wrong_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    failing, moving = job(name)["podFailurePolicy"]["rules"]
    with pytest.raises(SystemExit) as wrong:
        cli.main(["train", "tune", "nonsense"])
    assert "invalid choice" in capsys.readouterr().err
    assert (failing["action"], failing["onExitCodes"]["values"]) == ("FailJob", [wrong.value.code])
    assert failing["onExitCodes"]["containerName"] == container(name)["name"]
    assert (moving["action"], moving["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert pod(name)["restartPolicy"] == "Never", "what a policy for failures takes"
    limit = job(name)["backoffLimitPerIndex" if name == WORKERS else "backoffLimit"]
    assert limit > 0
    assert job(name)["ttlSecondsAfterFinished"] > 0
    assert job(name)["activeDeadlineSeconds"] > 3600, "as long as one waits for the other"


@each_job
def test_the_pods_are_restricted(name: str) -> None:
    """As Kubernetes' Pod Security Standards say at the level `restricted`, and more."""
    spec = pod(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = f"USER {spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}\n"
    assert user in (ROOT / "deploy/Dockerfile").read_text()
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all(volume.keys() == {"name", "emptyDir"} for volume in spec["volumes"])
    assert spec["automountServiceAccountToken"] is False
    account = BUILT.one("ServiceAccount", spec["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False


@each_job
def test_written_paths_are_on_volumes(name: str) -> None:
    """The root is read-only: home, temporary files and copies of shards are on volumes."""
    mounted = {mount["mountPath"] for mount in container(name)["volumeMounts"]}
    given = environment(name)
    assert {given["HOME"], "/tmp"} <= mounted  # noqa: S108
    assert ("XDG_CACHE_HOME" in given) == (name == WORKERS), "a chief reads no shard"
    assert given.get("XDG_CACHE_HOME", "/tmp") in mounted  # noqa: S108
    assert {mount["name"] for mount in container(name)["volumeMounts"]} == {one["name"] for one in pod(name)["volumes"]}


def test_tensorflow_takes_the_cores_that_are_asked_for() -> None:
    cores = container(WORKERS)["resources"]["requests"]["cpu"]
    assert {environment(WORKERS)[f"TF_NUM_{kind}_THREADS"] for kind in ("INTRAOP", "INTEROP")} == {cores}


@each_job
def test_the_memory_limit_is_twice_the_request(name: str) -> None:
    resources = container(name)["resources"]
    sizes = [int(resources[kind]["memory"].removesuffix("Gi")) for kind in ("requests", "limits")]
    assert sizes[1] == 2 * sizes[0]
    assert sizes[0] * 2**30 > (1.2e9 if name == WORKERS else 0.8e9), "what was measured"


def test_the_chief_answers_only_the_workers() -> None:
    everyone, chief = (BUILT.one("NetworkPolicy", name)["spec"] for name in ("lensgate-training", CHIEF))
    (rule,) = chief["ingress"]
    (workers,) = rule["from"]
    assert workers["podSelector"]["matchLabels"].items() <= labels(WORKERS).items()
    assert not workers["podSelector"]["matchLabels"].items() <= labels(CHIEF).items()
    assert chief["podSelector"]["matchLabels"].items() <= labels(CHIEF).items()
    assert [port["port"] for port in rule["ports"]] == [port["containerPort"] for port in container(CHIEF)["ports"]]
    assert sorted(everyone["policyTypes"]) == ["Egress", "Ingress"]
    assert "ingress" not in everyone
    for name in (CHIEF, WORKERS):
        assert everyone["podSelector"]["matchLabels"].items() <= labels(name).items()
    left = sorted((port["port"], port["protocol"]) for rule in everyone["egress"] for port in rule["ports"])
    assert left == [(53, "TCP"), (53, "UDP"), (443, "TCP"), (8000, "TCP")]
    (to_chief,) = (rule["to"] for rule in everyone["egress"] if rule["ports"][0]["port"] == 8000)
    assert to_chief[0]["podSelector"] == chief["podSelector"]


@each_job
def test_the_gate_s_services_do_not_lead_to_training(name: str) -> None:
    """Both may be in one namespace."""
    gate = build(KUBERNETES / "base")
    services = [item["spec"]["selector"] for item in gate.all if item["kind"] == "Service"]
    others = [gate.one(kind)["spec"] for kind in ("PodDisruptionBudget", "NetworkPolicy")]
    selectors = [*services, others[0]["selector"]["matchLabels"], others[1]["podSelector"]["matchLabels"]]
    assert [selector for selector in selectors if selector.items() <= labels(name).items()] == []
