"""The shadow and the recorder, which process decisions after their answers."""

import asyncio
from dataclasses import dataclass

from service.inference.decode_pool import DecodePool
from service.inference.model_runner import LoadedModel
from service.inference.shadow import Shadow
from service.metrics.decisions import Metrics
from service.records.differences import Differences
from service.records.recorder import Recorder
from service.records.store import Store
from service.records.writer import Limits
from service.settings import Settings
from service.worker_context import WorkerContext


@dataclass(frozen=True, slots=True)
class Followers:
    """Starts and closes the shadow and the recorder, as far as they are configured.

    Args:
        shadow: compares a second version with the served one.
        recorder: writes the decisions to a store.
    """

    shadow: Shadow | None
    recorder: Recorder | None

    def start(self) -> None:
        """Start the threads."""
        for part in (self.shadow, self.recorder):
            if part is not None:
                part.start()

    async def close(self) -> None:
        """End the threads. The last differences of the shadow are written by the recorder, which ends after it."""
        for part in (self.shadow, self.recorder):
            if part is not None:
                await asyncio.to_thread(part.close)


def make_followers(
    settings: Settings,
    metrics: Metrics,
    *,
    shadow: LoadedModel | None,
    worker: WorkerContext,
    decode_pool: DecodePool,
) -> Followers:
    """Make the followers that `settings` asks for; no thread is started.

    Args:
        settings: of the service.
        metrics: count what the followers do.
        shadow: the shadow version, if there is one.
        worker: this process among the workers.
        decode_pool: decodes the images of requests, which come before the previews.

    Raises:
        SettingsError: the settings do not name a usable store of decisions, or a band that does not fit a card.
    """
    store = None if settings.records_url == "off" else Store(settings.records_url)
    differences = Differences(settings.audit_ratio) if shadow and store else None
    follower = Shadow(shadow, settings, metrics=metrics.shadow, observer=differences) if shadow else None
    if store is None:
        return Followers(follower, None)
    recorder = Recorder(
        store,
        metrics.records,
        limits=Limits(settings.records_max_rows, settings.records_max_days, settings.records_max_image_bytes),
        max_pixels=settings.max_pixels,
        budget=decode_pool.budget,
        is_busy=lambda: decode_pool.queued > 0,
        share=worker.share,
        prunes=worker.is_first,
        differences=differences,
    )
    return Followers(follower, recorder)
