"""The served model, as far as requests are validated against it."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """The served model and the maximum number of images per request."""

    name: str
    version: str
    size: int
    outputs: tuple[str, ...]
    max_images: int


def check_model(model: ServedModel, requested: Mapping[str, str | None]) -> None:
    """Raise NotFound if `name` or `version`, where they are given, differ from the served model's."""
    name, version = requested.get("name") or model.name, requested.get("version") or model.version
    if name != model.name:
        raise NotFound(f"unknown model {name[:64]!r}: {model.name!r} is served")
    if version != model.version:
        raise NotFound(f"version {version[:64]!r} of {name!r} is not served: version {model.version!r} is")
