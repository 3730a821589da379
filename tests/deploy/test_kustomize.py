"""How the manifests combine: the rendered overlays, and the manifests generated from other files."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from .kustomize import build, merge
from .tools import ROOT

KUBERNETES = ROOT / "deploy/kubernetes"


def as_text(item: dict[str, Any]) -> str:
    return yaml.safe_dump(item, sort_keys=True)


def rules_command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kubernetes_rules", KUBERNETES / "rules.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_of_the_folder_is_used() -> None:
    files = {path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"}
    named = set[Path]()
    for plan in KUBERNETES.rglob("kustomization.yaml"):
        written = yaml.safe_load(plan.read_text())
        paths = [*written["resources"], *(patch["path"] for patch in written.get("patches", []))]
        named |= {(plan.parent / path).resolve() for path in paths}
    assert files - named == {KUBERNETES / "prometheus-adapter.yaml", KUBERNETES / "bulk/rayjob.yaml"}


def test_prometheus_rules_are_those_of_the_prometheus_folder() -> None:
    assert (KUBERNETES / "monitoring/prometheusrule.yaml").read_text() == rules_command().render(), (
        "run `python deploy/kubernetes/rules.py`"
    )


def test_the_rules_command_takes_the_groups_of_every_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yml").write_text(f"groups: [{{name: {name}, rules: [{{record: {name}, expr: '1'}}]}}]")
    written = yaml.safe_load(rules_command().render(tmp_path))
    assert [group["name"] for group in written["spec"]["groups"]] == ["a", "b"]


def test_a_merge_follows_kubernetes() -> None:
    base = {"a": {"b": 1, "gone": 2}, "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}], "list": [1]}
    patch = {"a": {"gone": None}, "env": [{"name": "Y", "value": "3"}, {"name": "Z", "value": "4"}], "list": [2]}
    assert merge(patch, base) == {
        "a": {"b": 1},
        "env": [{"name": "Y", "value": "3"}, {"name": "Z", "value": "4"}, {"name": "X", "value": "1"}],
        "list": [2],
    }


def test_an_unsupported_kustomization_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\nnamePrefix: x-\n")
    with pytest.raises(ValueError, match="namePrefix"):
        build(tmp_path)
