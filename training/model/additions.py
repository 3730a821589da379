"""Add pictures made from the training images, by the shares of the preset."""

from dataclasses import replace

import numpy as np

from training.data.eye_exchange import exchange_eyes
from training.data.records import Records, join
from training.drawing.on_portrait import LABELS, Addition, add_to_portraits
from training.model.preset import Preset


def with_additions(train: Records, preset: Preset, *, seed: int) -> Records:
    """Return `train` followed by the pictures drawn on its portraits without glasses, and those with exchanged eyes.

    Only training images are used, so the other splits stay unseen. Portraits without a found pair of eyes are not drawn
    on. The name of a picture is that of the portrait under it.
    """
    random = np.random.default_rng(seed)
    none = np.flatnonzero(train.labels == 0)
    parts = [train]
    for number, (kind, share) in enumerate(_shares(preset).items()):
        chosen = np.sort(random.choice(none, min(len(none), round(share * len(none))), replace=False))
        pictures, drawn = add_to_portraits(train.images[chosen], kind, seed=seed * len(Addition) + number)
        labels = np.full(len(pictures), LABELS[kind], np.float32)
        parts.append(replace(train.select(chosen[drawn]), images=pictures, labels=labels))
    # Within a data set: drawn eyes on a photograph would show a network what no generator makes.
    for data_set in dict.fromkeys(train.data_sets if preset.exchanged_eyes else ()):
        own = train.select(np.array([one == data_set for one in train.data_sets]))
        count = round(preset.exchanged_eyes * len(own))
        pictures, labels, onto = exchange_eyes(own.images, own.labels, count, seed=seed)
        parts.append(replace(own.select(onto), images=pictures, labels=labels))
    return join(*parts) if len(parts) > 1 else train


def _shares(preset: Preset) -> dict[Addition, float]:
    shares = {
        Addition.THIN_FRAMES: preset.thin_frames,
        Addition.GHOST: preset.ghosts,
        Addition.CREASES: preset.creases,
    }
    return {kind: share for kind, share in shares.items() if share > 0}
