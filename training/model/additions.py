"""Add drawn pictures to the training images, by the shares of the preset."""

import numpy as np

from training.data.records import Records, join
from training.drawing.on_portrait import LABELS, Addition, add_to_portraits
from training.model.preset import Preset


def with_additions(train: Records, preset: Preset, *, seed: int) -> Records:
    """Return `train` followed by the pictures drawn from its portraits without glasses.

    Only training images are drawn on, so the other splits stay unseen. Portraits without a found pair of eyes are
    left out.
    """
    random = np.random.default_rng(seed)
    none = np.flatnonzero(train.labels == 0)
    parts = [train]
    for number, (kind, share) in enumerate(_shares(preset).items()):
        chosen = np.sort(random.choice(none, min(len(none), round(share * len(none))), replace=False))
        pictures, drawn = add_to_portraits(train.images[chosen], kind, seed=seed * len(Addition) + number)
        part = train.select(chosen[drawn])
        labels = np.full(len(pictures), LABELS[kind], np.float32)
        parts.append(Records(pictures, labels, part.names, part.data_sets, part.sources))
    return join(*parts) if len(parts) > 1 else train


def _shares(preset: Preset) -> dict[Addition, float]:
    shares = {
        Addition.THIN_FRAMES: preset.thin_frames,
        Addition.GHOST: preset.ghosts,
        Addition.CREASES: preset.creases,
    }
    return {kind: share for kind, share in shares.items() if share > 0}
