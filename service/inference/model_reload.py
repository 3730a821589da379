"""Follows `models/<name>/CURRENT` while the service runs: what it names is loaded, verified and served."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from gate import ModelError, ModelStore
from gate.errors import GateError
from gate.model_store import CARD_FILE, CURRENT_FILE, GRAPH_FILE
from service.file_watch import stamp
from service.inference.model_loading import gave_up, longest_load
from service.inference.model_runner import LoadedModel
from service.inference.observers import InferenceMetrics
from service.inference.pipeline import Pipeline
from service.periodic import Repeated
from service.process.daemon_threads import start_daemon
from service.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0

State = tuple[object, ...]
"""What is compared to see that something changed: the version's name, and what the file system says of its files."""


class ModelWatch(Repeated):
    """Looks at `CURRENT` for as long as its `async with` block lasts.

    What cannot be served leaves the version that is; it is tried again once `CURRENT` or that version's files change.
    Files are read and models are loaded in a thread, which is given up where it takes too long, where something else
    is current meanwhile, or where the service ends.

    Args:
        store: the models.
        pipeline: is told to swap.
        settings: how often to look, and how long a load may take.
        load: loads and verifies the current version.
        seen: `read_state` from before the first model was loaded.
        metrics: counts the loads.
        is_draining: whether the service is shutting down, so that no version is served any more.
    """

    def __init__(
        self,
        store: ModelStore,
        pipeline: Pipeline,
        *,
        settings: Settings,
        load: Callable[[], LoadedModel],
        seen: State,
        metrics: InferenceMetrics,
        is_draining: Callable[[], bool],
    ) -> None:
        super().__init__(seconds=settings.model_poll_seconds or None, fault="the current model could not be looked at")
        self._store = store
        self._pipeline = pipeline
        self._settings = settings
        self._metrics = metrics
        self._is_draining = is_draining
        self._load = load
        self._seen = seen

    def again(self) -> None:
        """Load what is current soon, whether it has changed or not."""
        self._seen = ()
        super().again()

    async def turn(self) -> None:
        """Load what is current if it changed since the last look, and serve it if that may be."""
        state = await self._read_state()
        if state == self._seen or self._is_draining():
            return
        # Noted before it is loaded: what is written meanwhile is another change.
        self._seen = state
        try:
            if (loaded := await self._load_current()) is not None:
                self._serve(loaded)
        except Exception as error:  # Whatever is wrong with the new version, the old one is not.
            self._keep(error)

    async def _load_current(self) -> LoadedModel | None:
        """Load what is current; None where something else is before that is done."""
        loading = asyncio.wrap_future(start_daemon(self._load, name="load"))
        ended = time.monotonic() + longest_load(self._settings)
        while not (await asyncio.wait([loading], timeout=self._seconds or _LOOK_SECONDS))[0]:
            if await self._read_state() != self._seen:
                loading.cancel()
                log.warning("a load was given up: another version, or other files, are current")
                return None
            if time.monotonic() > ended:
                loading.cancel()
                raise gave_up(self._settings)
        return loading.result()

    async def _read_state(self) -> State:
        return await asyncio.wrap_future(start_daemon(partial(read_state, self._store), name="look"))

    def _serve(self, loaded: LoadedModel) -> None:
        served = self._pipeline.runner.card
        if loaded.card == served:
            self._metrics.observe_load("success")
        elif not self._is_draining():
            self._pipeline.swap(loaded)
            log.info("another version is served", extra={"fields": {"version": loaded.card.version}})

    def _keep(self, error: Exception) -> None:
        self._metrics.observe_load("failure")
        served = self._pipeline.runner.card.version
        log.error(
            "the current model cannot be served, version %s still is: %s",
            served,
            error,
            extra={"fields": {"version": served}},
            exc_info=None if isinstance(error, GateError) else error,
        )


def read_state(store: ModelStore) -> State:
    """What `CURRENT` names, and inode, size and times of it and of that version's files; None for what is not there."""
    files = [store.folder / CURRENT_FILE]
    version = None
    with contextlib.suppress(ModelError, OSError):
        version = store.current()
        files += (store.folder / version / name for name in (GRAPH_FILE, CARD_FILE))
    return (version, *map(stamp, files))
