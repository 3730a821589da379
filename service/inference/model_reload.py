"""Follow `models/<name>/CURRENT` while the service runs: load, verify and serve the version it names."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from gate import ModelError, ModelStore
from gate.errors import GateError
from gate.model_files import CARD_FILE, GRAPH_FILE
from gate.model_store import CURRENT_FILE
from service.concurrency.daemon_threads import start_daemon
from service.concurrency.file_watch import stamp
from service.concurrency.periodic import Repeated
from service.errors import detach
from service.inference.model_loading import load_timeout, longest_load
from service.inference.model_runner import LoadedModel
from service.inference.observers import InferenceMetrics
from service.inference.pipeline import Pipeline
from service.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0

State = tuple[object, ...]
"""The version's name and the file stamps of its files; a difference means a change."""


class ModelWatch(Repeated):
    """Checks `CURRENT` for as long as its `async with` block lasts.

    A version that cannot be served is skipped; it is tried again once `CURRENT` or its files change. Files are read and
    models are loaded in a thread, which is abandoned when it takes too long, when `CURRENT` changes meanwhile, or when
    the service ends.

    Args:
        store: the models.
        pipeline: swaps to the new version.
        settings: time between two checks, and the longest load.
        load: loads and verifies the current version.
        seen: `read_state` from before the first model was loaded.
        metrics: counts the loads.
        is_draining: whether the service is shutting down; versions are no longer swapped then.
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
        # At once, for a change and an order to reload during the start, which may be the last.
        super().__init__(
            seconds=settings.model_poll_seconds or None, fault="CURRENT could not be checked", at_once=True
        )
        self._store = store
        self._pipeline = pipeline
        self._settings = settings
        self._metrics = metrics
        self._is_draining = is_draining
        self._load = load
        self._seen = seen

    def again(self) -> None:
        """Load the current version soon, even if it has not changed."""
        self._seen = ()
        super().again()

    async def turn(self) -> None:
        """Load the current version if it changed since the last check, and serve it if it is valid."""
        state = await self._read_state()
        if state == self._seen or self._is_draining():
            return
        # Noted before loading: files written meanwhile count as another change.
        self._seen = state
        try:
            if (loaded := await self._load_current()) is not None:
                self._serve(loaded)
        except Exception as error:  # A fault of the new version must not affect the one in service.
            self._keep(error)

    async def _load_current(self) -> LoadedModel | None:
        """Load the current version; return None if another one becomes current meanwhile."""
        loading = asyncio.wrap_future(start_daemon(self._load, name="load"))
        ended = time.monotonic() + longest_load(self._settings)
        while not (await asyncio.wait([loading], timeout=self._seconds or _LOOK_SECONDS))[0]:
            if await self._read_state() != self._seen:
                loading.cancel()
                log.warning("a load was abandoned: CURRENT or the files of the version changed")
                return None
            if time.monotonic() > ended:
                loading.cancel()
                raise load_timeout(self._settings)
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
        detach(error)  # Its frames hold the version that failed, on a GPU too.


def read_state(store: ModelStore) -> State:
    """Read the name in `CURRENT` and the stamps of it and of that version's files; None for a missing file."""
    files = [store.folder / CURRENT_FILE]
    version = None
    with contextlib.suppress(ModelError, OSError):
        version = store.current()
        files += (store.folder / version / name for name in (GRAPH_FILE, CARD_FILE))
    return (version, *map(stamp, files))
