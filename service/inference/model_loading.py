"""Load a version of the model: verify its files, put it on its device, check its golden samples and warm it."""

import logging
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from gate import ModelError, ModelStore
from gate.errors import GateError
from gate.golden import open_scorer
from gate.model_store import Model
from service.concurrency.daemon_threads import start_daemon
from service.inference.model_runner import LoadedModel
from service.settings import Settings

log = logging.getLogger(__name__)

_GRACE = 10.0

_Result = TypeVar("_Result")


def longest_load(settings: Settings) -> float:
    """Return the seconds after which a load is abandoned. A hanging disk does not obey the load's own time limit."""
    return settings.model_load_seconds + _GRACE


def load_within(load: Callable[[], _Result], settings: Settings) -> _Result:
    """Call `load` in a thread, and abandon it after `longest_load`.

    Raises:
        ModelError: the call did not return in time.
    """
    loading = start_daemon(load, name="load")
    try:
        return loading.result(longest_load(settings))
    except FutureTimeoutError as error:
        raise load_timeout(settings) from error


def load_timeout(settings: Settings) -> ModelError:
    """Return the error for a load that does not return."""
    return ModelError(f"{settings.models} could not be read within {longest_load(settings):g} s: look at its disk")


def load_model(store: ModelStore, settings: Settings, version: str | None = None) -> LoadedModel:
    """Load one version, by default the current one.

    Raises:
        SettingsError: the operator's band does not fit the card's.
        ModelError: the model must not be served.
        DeviceError: the device cannot be used.
        ScoringError: the model fails on its golden samples.
    """
    loaded = prepare_model(store.load(version), settings)
    fields = {"model": loaded.card.name, "version": loaded.card.version, "provider": loaded.provider}
    log.info("model loaded", extra={"fields": fields})
    return loaded


def load_shadow(store: ModelStore, settings: Settings) -> LoadedModel | None:
    """Load the version named by `LENSGATE_SHADOW_VERSION`; return None if it is not set.

    Raises:
        GateError: the version cannot be loaded; the text names the setting.
    """
    if settings.shadow_version is None:
        return None
    try:
        return load_model(store, settings, settings.shadow_version)
    except GateError as error:
        raise type(error)(f"LENSGATE_SHADOW_VERSION={settings.shadow_version}: {error}") from error


def prepare_model(model: Model, settings: Settings) -> LoadedModel:
    """Put a model with a matching hash on its device, check its golden samples there, and warm it.

    Raises:
        SettingsError, ModelError, DeviceError, ScoringError: as `load_model`.
    """
    settings.band(model.card.band)  # Raises before the slow part.
    scorer = open_scorer(
        model,
        device=settings.device,
        max_batch_size=settings.max_batch_size,
        seconds=settings.model_load_seconds,
    )
    return LoadedModel(model.card, scorer, scorer.provider)
