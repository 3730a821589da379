"""From a version's folder to a model that may be served: verified, put on its device, warmed."""

import logging
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from gate import ModelError, ModelStore
from gate.errors import GateError
from gate.golden import check_golden
from gate.model_store import Model
from gate.scorer import CUDA, Scorer
from gate.time_limit import TimeLimit
from service.inference.model_runner import LoadedModel
from service.process.daemon_threads import start_daemon
from service.settings import Settings

log = logging.getLogger(__name__)

_GRACE = 10.0

_Result = TypeVar("_Result")


def longest_load(settings: Settings) -> float:
    """Return after how many seconds a load is given up that even its own limit has not ended: a disk may be gone."""
    return settings.model_load_seconds + _GRACE


def load_within(load: Callable[[], _Result], settings: Settings) -> _Result:
    """Call `load` in a thread, and give it up where it takes too long.

    Raises:
        ModelError: it does not return.
    """
    loading = start_daemon(load, name="load")
    try:
        return loading.result(longest_load(settings))
    except FutureTimeoutError as error:
        raise gave_up(settings) from error


def gave_up(settings: Settings) -> ModelError:
    """The fault of a load that does not return."""
    return ModelError(f"{settings.models} could not be read within {longest_load(settings):g} s: look at its disk")


def load_model(store: ModelStore, settings: Settings, version: str | None = None) -> LoadedModel:
    """Load one version, by default the current one.

    Raises:
        SettingsError: the operator's band does not go with the card's.
        ModelError: it must not be served.
        DeviceError: the device cannot be used.
        ScoringError: the model fails on its golden samples.
    """
    loaded = prepare_model(store.load(version), settings)
    fields = {"model": loaded.card.name, "version": loaded.card.version, "provider": loaded.provider}
    log.info("model loaded", extra={"fields": fields})
    return loaded


def load_shadow(store: ModelStore, settings: Settings) -> LoadedModel | None:
    """The version that `LENSGATE_SHADOW_VERSION` names; None where it names none.

    Raises:
        GateError: it could not be served either; the text names the setting.
    """
    if settings.shadow_version is None:
        return None
    try:
        return load_model(store, settings, settings.shadow_version)
    except GateError as error:
        raise type(error)(f"LENSGATE_SHADOW_VERSION={settings.shadow_version}: {error}") from error


def prepare_model(model: Model, settings: Settings) -> LoadedModel:
    """Put a model whose hash matched on its device, verify that it computes there what it should, and warm it.

    Raises:
        SettingsError, ModelError, DeviceError, ScoringError: as `load_model`.
    """
    settings.band(model.card.band)  # Raises; nothing need be put on a device for that.
    with TimeLimit(settings.model_load_seconds) as limit:
        scorer = Scorer(model, device=settings.device, limit=limit)
        with scorer.limited(limit):
            check_golden(scorer, model.card)
            if scorer.provider == CUDA:
                # CUDA prepares itself anew for each batch size it meets: few are run, and all before it is ready.
                scorer.fix_batch_sizes(settings.max_batch_size)
    return LoadedModel(model.card, scorer, scorer.provider)
