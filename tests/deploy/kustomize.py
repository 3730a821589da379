"""As much of kustomize as the project's own files use: resources, images, and strategic merge patches of files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["MERGE_KEYS", "Manifests", "build", "merge"]

Manifest = dict[str, Any]

MERGE_KEYS = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
"""Lists that Kubernetes' schemas merge item by item. Any other is replaced as a whole."""


@dataclass(frozen=True)
class Manifests:
    """The rendered manifests of an overlay."""

    all: tuple[Manifest, ...]

    def one(self, kind: str, name: str = "lensgate") -> Manifest:
        """The only manifest of this kind and name."""
        (found,) = (item for item in self.all if (item["kind"], item["metadata"]["name"]) == (kind, name))
        return found

    @property
    def container(self) -> Manifest:
        """The only container of the Deployment."""
        (container,) = self.one("Deployment")["spec"]["template"]["spec"]["containers"]
        found: Manifest = container
        return found


def build(folder: Path) -> Manifests:
    """Return the output of `kubectl kustomize` for a folder; ValueError if it uses an unsupported feature."""
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := plan.keys() - {"apiVersion", "kind", "resources", "images", "patches"}:
        raise ValueError(f"{folder}: {sorted(unknown)} is more than these tests can build")
    found = [item for name in plan["resources"] for item in _load(folder / name)]
    for entry in plan.get("patches", []):
        if entry.keys() != {"path"}:
            raise ValueError(f"{folder}: a patch is more than these tests can build: {entry}")
        for patch in _documents(folder / entry["path"]):
            found = _apply(patch, found)
    for image in plan.get("images", []):
        for item in found:
            _set_image(item, image)
    return Manifests(tuple(found))


def merge(patch: Any, base: Any) -> Any:
    """A strategic merge: null deletes, the lists above are merged, the patch's items first."""
    if not isinstance(patch, Mapping) or not isinstance(base, Mapping):
        return patch
    merged = {name: value for name, value in base.items() if name not in patch or patch[name] is not None}
    for name, value in patch.items():
        if value is not None:
            key = MERGE_KEYS.get(name)
            merged[name] = _merge_lists(value, base.get(name, []), key) if key else merge(value, base.get(name))
    return merged


def _merge_lists(patch: list[Manifest], base: list[Manifest], key: str) -> list[Manifest]:
    by_key = {item[key]: item for item in base}
    merged = [merge(item, by_key.pop(item[key], None)) for item in patch]
    return [*merged, *by_key.values()]


def _load(path: Path) -> list[Manifest]:
    return list(build(path).all) if path.is_dir() else _documents(path)


def _documents(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))


def _apply(patch: Manifest, items: list[Manifest]) -> list[Manifest]:
    target = (patch["kind"], patch["metadata"]["name"])
    matches = [(item["kind"], item["metadata"]["name"]) == target for item in items]
    if sum(matches) != 1:
        raise ValueError(f"a patch fits {sum(matches)} manifests: {target}")
    if patch.get("$patch") == "delete":
        return [item for item, fits in zip(items, matches, strict=True) if not fits]
    return [merge(patch, item) if fits else item for item, fits in zip(items, matches, strict=True)]


def _set_image(item: Manifest, image: Mapping[str, str]) -> None:
    if item["kind"] == "Deployment":
        for container in item["spec"]["template"]["spec"]["containers"]:
            if container["image"] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
