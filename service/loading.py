"""From a version's folder to a model that may be served: verified, put on its device, warmed."""

import logging

from gate import ModelStore
from gate.scorer import CUDA, Scorer
from service.engine import Loaded
from service.settings import Settings

log = logging.getLogger(__name__)


def load_model(store: ModelStore, settings: Settings, version: str | None = None) -> Loaded:
    """Load one version, by default the current one.

    Raises:
        ModelError: it must not be served.
        DeviceError: the device cannot be used.
    """
    model = store.load(version)
    scorer = Scorer(model, device=settings.device)
    if scorer.provider == CUDA:
        # CUDA prepares itself anew for each batch size it meets: few are run, and all of them before it is ready.
        scorer.fix_batch_sizes(settings.max_batch_size)
    fields = {"model": model.card.name, "version": model.card.version, "provider": scorer.provider}
    log.info("model loaded", extra={"fields": fields})
    return Loaded(model.card, scorer, scorer.provider)
