"""The manifests: against Kubernetes' published schemas, against each other, and against the service they run."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from bench.serving.processes import free_port
from service.settings import Settings
from tests.support.servers import running_process

from .kustomize import Manifests, build, merge
from .monitors import RESOURCES
from .tools import ROOT

KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ("cpu", "gpu")
BUILT = {name: build(KUBERNETES / "overlays" / name) for name in OVERLAYS}
# The oldest release with all that is used (`preStop.sleep` is on by default from it), and the newest that is known.
VERSIONS = ("1.30", kubernetes_validate.latest_version())

each_overlay = pytest.mark.parametrize("built", BUILT.values(), ids=BUILT)


def pod(built: Manifests) -> dict[str, Any]:
    found: dict[str, Any] = built.one("Deployment")["spec"]["template"]["spec"]
    return found


def environment(built: Manifests) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in built.container["env"]}


def ports(built: Manifests) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in built.container["ports"]}


def probes(built: Manifests) -> dict[str, dict[str, Any]]:
    return {name: built.container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 0.001, "": 1}
    match = re.fullmatch(r"([\d.]+)(Ki|Mi|Gi|m|)", text)
    assert match, text
    return float(match[1]) * units[match[2]]


def selectors(built: Manifests) -> Iterator[dict[str, str]]:
    """Everything that has to find the pods."""
    yield built.one("Deployment")["spec"]["selector"]["matchLabels"]
    yield built.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    yield built.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    for name in ("lensgate", "lensgate-metrics"):
        yield built.one("Service", name)["spec"]["selector"]
    for constraint in pod(built)["topologySpreadConstraints"]:
        yield constraint["labelSelector"]["matchLabels"]


@each_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_match_the_published_schemas_strictly(built: Manifests, version: str) -> None:
    checked = [item for item in built.all if item["kind"] not in RESOURCES]
    assert len(checked) == 7
    for item in checked:
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schemas_refuse_unknown_fields() -> None:
    wrong = merge({"spec": {"template": {"spec": {"gracePeriod": 1}}}}, BUILT["cpu"].one("Deployment"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("kind", RESOURCES)
def test_the_operators_resources_hold_fields_that_it_defines(kind: str) -> None:
    item = BUILT["cpu"].one(kind)
    RESOURCES[kind].model_validate(item)
    with pytest.raises(ValidationError):
        RESOURCES[kind].model_validate(merge({"spec": {"nonsense": 1}}, item))


@each_overlay
def test_the_pod_is_restricted(built: Manifests) -> None:
    """As Kubernetes' Pod Security Standards say at the level `restricted`, and more."""
    spec, container = pod(built), built.container
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all(volume.keys() - {"name"} <= {"secret", "emptyDir"} for volume in spec["volumes"])


@each_overlay
def test_the_pod_cannot_speak_to_kubernetes(built: Manifests) -> None:
    assert pod(built)["automountServiceAccountToken"] is False
    account = built.one("ServiceAccount", pod(built)["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert not {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {item["kind"] for item in built.all}


@each_overlay
def test_the_user_is_the_one_of_the_image(built: Manifests) -> None:
    context = pod(built)["securityContext"]
    user = f"USER {context['runAsUser']}:{context['runAsGroup']}\n"
    assert (ROOT / "deploy/Dockerfile").read_text().count(user) == len(OVERLAYS) + 1, "and of the one that trains"
    assert context["fsGroup"] == context["runAsGroup"], "the mounted Secret is for the group to read"


@each_overlay
def test_every_variable_is_a_setting(built: Manifests) -> None:
    names = {f"LENSGATE_{name.upper()}" for name in Settings.model_fields}
    assert environment(built)
    assert environment(built).keys() - names == set()


@each_overlay
def test_the_settings_are_accepted(built: Manifests) -> None:
    given = {name: entry.get("value", "postgresql://u:p@host/name") for name, entry in environment(built).items()}
    settings = Settings.load({}, given)
    assert settings.metrics_port == ports(built)["metrics"]
    assert settings.device == ("cuda" if built is BUILT["gpu"] else "auto")


@each_overlay
def test_services_set_no_variables_of_the_pods(built: Manifests) -> None:
    """The Service `lensgate` would set LENSGATE_PORT to an URL."""
    assert pod(built)["enableServiceLinks"] is False


@each_overlay
def test_no_secret_is_in_a_manifest(built: Manifests) -> None:
    assert "Secret" not in {item["kind"] for item in built.all}
    assert environment(built)["LENSGATE_RECORDS_URL"].keys() == {"name", "valueFrom"}
    (tokens,) = (volume for volume in pod(built)["volumes"] if "secret" in volume)
    (mount,) = (mount for mount in built.container["volumeMounts"] if mount["name"] == tokens["name"])
    assert mount["readOnly"] is True
    assert "subPath" not in mount, "a changed Secret would never arrive"
    assert Path(environment(built)["LENSGATE_TOKENS"]["value"]).parent == Path(mount["mountPath"])
    assert oct(tokens["secret"]["defaultMode"]) == "0o440"


@each_overlay
def test_the_probes_ask_the_metrics_port(built: Manifests) -> None:
    asked = {name: (probe["httpGet"]["path"], probe["httpGet"]["port"]) for name, probe in probes(built).items()}
    assert asked == {
        "startup": ("/readyz", "metrics"),
        "readiness": ("/readyz", "metrics"),
        "liveness": ("/livez", "metrics"),
    }
    assert "metrics" in ports(built)


def test_the_pod_answers_its_probes_with_these_settings(tmp_path: Path) -> None:
    """The real service with the Deployment's variables, except for ports, tokens and records."""
    built = BUILT["cpu"]
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "generator"\nsha256 = "{"0" * 64}"\nscopes = ["decide"]\n')
    tokens.chmod(0o600)
    here = {
        "LENSGATE_METRICS_PORT": str(free_port()),
        "LENSGATE_TOKENS": str(tokens),
        "LENSGATE_RECORDS_URL": f"sqlite:///{tmp_path / 'lensgate.db'}",
    }
    given = {name: here.get(name) or entry["value"] for name, entry in environment(built).items()}
    paths = {probe["httpGet"]["path"] for probe in probes(built).values()}
    metric = built.one("HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    (endpoint,) = built.one("ServiceMonitor")["spec"]["endpoints"]
    url = f"http://127.0.0.1:{here['LENSGATE_METRICS_PORT']}"
    with (
        running_process(tmp_path / "log", {**os.environ, "LENSGATE_MODELS": str(ROOT / "models"), **given}),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
        families = text_string_to_metric_families(client.get(endpoint["path"]).text)
        assert metric in {sample.name for family in families for sample in family.samples}


@each_overlay
def test_a_pod_that_leaves_has_the_time_it_takes(built: Manifests) -> None:
    drain = Settings().timeout_ms / 1000 + 1
    close = 5  # The maximum memory of the recorder.
    sleep = built.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(built)["terminationGracePeriodSeconds"] > sleep + drain + close
    assert sleep > 0, "the time in which balancers learn that the pod leaves"


@each_overlay
def test_selectors_find_the_pods(built: Manifests) -> None:
    labels = built.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    found = list(selectors(built))
    assert len(found) == 7
    assert [selector for selector in found if not selector or not selector.items() <= labels.items()] == []


@each_overlay
def test_services_lead_to_ports_of_the_container(built: Manifests) -> None:
    for name in ("lensgate", "lensgate-metrics"):
        for port in built.one("Service", name)["spec"]["ports"]:
            assert ports(built)[port["targetPort"]] == port["port"]


@each_overlay
def test_prometheus_finds_the_metrics_service_and_no_other(built: Manifests) -> None:
    spec = built.one("ServiceMonitor")["spec"]
    services = [item for item in built.all if item["kind"] == "Service"]
    wanted = spec["selector"]["matchLabels"].items()
    (found,) = (item for item in services if wanted <= item["metadata"]["labels"].items())
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] in {port["name"] for port in found["spec"]["ports"]}
    assert found["metadata"]["labels"][spec["jobLabel"]] == "lensgate", "the job that dashboards ask for"


@each_overlay
def test_one_pod_at_least_stays_when_nodes_are_drained(built: Manifests) -> None:
    budget = built.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] < built.one("HorizontalPodAutoscaler")["spec"]["minReplicas"]


@each_overlay
def test_the_autoscaler_owns_the_number_of_pods(built: Manifests) -> None:
    scaler, deployment = built.one("HorizontalPodAutoscaler")["spec"], built.one("Deployment")
    target = scaler["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (deployment["apiVersion"], deployment["kind"])
    assert target["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert scaler["maxReplicas"] > scaler["minReplicas"]


@each_overlay
def test_the_cpu_that_the_autoscaler_measures_by_is_requested(built: Manifests) -> None:
    (resource,) = (m for m in built.one("HorizontalPodAutoscaler")["spec"]["metrics"] if m["type"] == "Resource")
    requests = built.container["resources"]["requests"]
    assert resource["resource"]["name"] in requests
    assert quantity(requests["cpu"]) == int(environment(built)["LENSGATE_DECODE_THREADS"]["value"])


def test_the_adapter_serves_the_metric_of_the_autoscaler() -> None:
    (metric,) = (m for m in BUILT["cpu"].one("HorizontalPodAutoscaler")["spec"]["metrics"] if m["type"] == "Pods")
    name = metric["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert re.match(r"(\w+)\{", rule["seriesQuery"])[1] == name  # type: ignore[index]
    assert rule["name"] == {"matches": "^(.*)$", "as": "${1}"}


@each_overlay
def test_memory_is_limited_and_leaves_room(built: Manifests) -> None:
    found = re.search(r"held at most (\d+) MB", (ROOT / "docs/guides/kubernetes.md").read_text())
    assert found
    resources = built.container["resources"]
    assert quantity(resources["limits"]["memory"]) > 1.5e6 * int(found[1])
    assert quantity(resources["limits"]["memory"]) >= 2 * quantity(resources["requests"]["memory"])


@each_overlay
def test_the_network_is_open_to_the_two_ports_and_two_destinations(built: Manifests) -> None:
    policy = built.one("NetworkPolicy")["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert all(rule["from"] for rule in policy["ingress"]), "an empty `from` is everybody"
    entered = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert sorted(entered) == sorted(ports(built).values())
    left = sorted((port["port"], port["protocol"]) for rule in policy["egress"] for port in rule["ports"])
    assert left == [(53, "TCP"), (53, "UDP"), (5432, "TCP")]


@each_overlay
def test_each_overlay_runs_its_own_image(built: Manifests) -> None:
    assert built.container["image"] == f"lensgate:{'gpu' if built is BUILT['gpu'] else 'cpu'}"


def test_the_gpu_overlay_asks_for_one_gpu_and_cpu_for_none() -> None:
    limits = {name: built.container["resources"]["limits"] for name, built in BUILT.items()}
    assert limits["gpu"]["nvidia.com/gpu"] == "1"
    assert limits["cpu"].keys() == {"memory"}
    assert [t["key"] for t in pod(BUILT["gpu"])["tolerations"]] == ["nvidia.com/gpu"]
    assert "tolerations" not in pod(BUILT["cpu"])


def test_a_gpu_pod_is_replaced_without_a_spare_gpu() -> None:
    rolling = BUILT["gpu"].one("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert (rolling["maxSurge"], rolling["maxUnavailable"]) == (0, 1)
