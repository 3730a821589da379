"""Draw thin eyewear, parts of it, and creases on portraits that exist: rare cases for training.

Wire frames and rimless glasses are a few pixels wide and rare, so a network sees too few of them. Generators also make
ghosts, parts of a pair without the rest, whose label is neither answer. A crease under the eyes or a line across the
bridge of the nose resembles a rim, and is drawn on faces without glasses so that a line alone is not enough.

Portraits are aligned: the eyes lie at `EYE_HEIGHT`, `EYE_DISTANCE` apart. `locate_eyes` corrects the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.feature import match_template

from gate.pixels import Pixels
from training.drawing.canvas import Canvas
from training.drawing.colour import SHADOW, Colour, as_colour, mix, scaled
from training.drawing.eyewear import (
    GlassesShape,
    draw_bridge,
    draw_front,
    draw_lenses,
    draw_temples,
    make_thin_glasses,
)
from training.drawing.geometry import Points, Pose, points, smooth
from training.drawing.person import EYE_DISTANCE, EYE_HEIGHT, Person, draw_person

ZOOMS = (0.85, 1.0, 1.15)
REACH = 0.12  # Largest distance of the eyes from their usual place, in shares of the edge.
MIN_MATCH = 0.45  # Correlation with the mean eye region; a face of another framing lies below.
MOST_CHANGED = 0.0007  # The share of the pixels by which the visibility of an addition is judged.
MIN_CHANGE = 24  # Their least mean change in grey levels; of thin frames, nearly all lie above.
TEMPLATE_BOX = (0.38, 0.56, 0.24, 0.76)  # Rows and columns of the eye region.


class Addition(StrEnum):
    """The kinds of additions; the label of a face becomes `LABELS` of its kind."""

    THIN_FRAMES = "thin frames"
    GHOST = "ghost"
    CREASES = "creases"


LABELS: Mapping[Addition, float] = {Addition.THIN_FRAMES: 1.0, Addition.GHOST: 0.5, Addition.CREASES: 0.0}
"""1: glasses, 0: none, 0.5: neither answer is true, so that the network learns to be uncertain."""


def add_to_portraits(portraits: Pixels, kind: Addition, *, seed: int) -> tuple[Pixels, NDArray[np.intp]]:
    """Draw one addition on each portrait whose eyes are found, unless it would change the label and cannot be seen.

    Args:
        portraits: faces without glasses, uint8 `[N, S, S, 3]`.
        kind: the addition.
        seed: equal seeds give equal pictures.

    Returns:
        The pictures, uint8 `[M, S, S, 3]` with M <= N, and the index of the portrait of each, `[M]`.
    """
    centres, zooms, match = locate_eyes(portraits)
    chosen = np.flatnonzero(match >= MIN_MATCH)
    if not len(chosen):
        return portraits[:0], chosen
    drawn = [
        _draw(
            portraits[index],
            kind,
            centre=centres[index],
            zoom=zooms[index],
            rng=np.random.default_rng([seed, int(index)]),
        )
        for index in chosen
    ]
    pictures = np.stack(drawn)
    # What cannot be seen must not change the label.
    seen = (_change(pictures, portraits[chosen]) >= MIN_CHANGE) | (LABELS[kind] == 0)
    return pictures[seen], chosen[seen]


def _change(pictures: Pixels, portraits: Pixels) -> NDArray[np.float64]:
    """Return how far the most changed pixels of each picture are from its portrait, in grey levels, `[N]`."""
    grey = np.abs(pictures.astype(np.int16) - portraits).mean(axis=-1).reshape(len(pictures), -1)
    count = max(1, round(MOST_CHANGED * grey.shape[1]))
    return np.asarray(np.partition(grey, -count, axis=1)[:, -count:].mean(axis=1))


def locate_eyes(portraits: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Find the midpoint between the eyes by correlation with the mean eye region of all portraits.

    Returns:
        Midpoints `[N, 2]` (x, y, in shares of the edge), zoom of the face `[N]` and correlation `[N]`.
    """
    grey = portraits.mean(axis=-1)
    rows, columns = (
        slice(*(round(share * grey.shape[1]) for share in pair)) for pair in (TEMPLATE_BOX[:2], TEMPLATE_BOX[2:])
    )
    template = np.median(grey[:, rows, columns], axis=0)
    templates = [ndimage.zoom(template, zoom, order=1) for zoom in ZOOMS]
    matches = [_best_match(face, templates) for face in grey]
    return (
        np.array([(x, y) for x, y, _, _ in matches]),
        np.array([zoom for _, _, zoom, _ in matches]),
        np.array([match for *_, match in matches]),
    )


def _best_match(
    face: NDArray[np.float64], templates: Sequence[NDArray[np.float64]]
) -> tuple[float, float, float, float]:
    edge = len(face)
    best = (0.5, EYE_HEIGHT, 1.0, -1.0)
    for zoom, template in zip(ZOOMS, templates, strict=True):
        height, width = template.shape
        # The template's own centre, relative to the midpoint between the eyes.
        middle = (sum(TEMPLATE_BOX[:2]) / 2 - EYE_HEIGHT) * zoom
        top = round((EYE_HEIGHT + middle - REACH) * edge - height / 2)
        left = round((0.5 - REACH) * edge - width / 2)
        size = round(2 * REACH * edge)
        top, left = max(0, top), max(0, left)
        part = face[top : top + height + size, left : left + width + size]
        scores = match_template(part, template)  # type: ignore[no-untyped-call]
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        if scores[row, column] > best[3]:
            x, y = (left + column + width / 2) / edge, (top + row + height / 2) / edge - middle
            best = (float(x), float(y), zoom, float(scores[row, column]))
    return best


def _draw(
    portrait: Pixels, kind: Addition, *, centre: Sequence[float], zoom: float, rng: np.random.Generator
) -> Pixels:
    size = portrait.shape[0]
    pose = Pose(
        centre=(float(centre[0]) * size, float(centre[1]) * size),
        # Of the three zooms the true one is at most a twelfth away; half of that is drawn, and some chance.
        scale=EYE_DISTANCE * size * float((zoom + 1) / 2 * rng.uniform(0.95, 1.07)),
        roll=float(np.clip(rng.normal(0.0, 0.03), -0.08, 0.08)),
        turn=float(np.clip((0.5 - centre[0]) * 2 + rng.normal(0.0, 0.05), -0.2, 0.2)),
    )
    canvas = Canvas(Image.fromarray(portrait), pose)
    person = replace(draw_person(rng), skin=_skin(portrait, pose))
    _PAINTERS[kind](canvas, person, rng)
    return np.asarray(canvas.image)


def _skin(portrait: Pixels, pose: Pose) -> Colour:
    """Return the median colour of both cheeks and the bridge of the nose."""
    spots = pose.place(points((-0.5, 0.5), (0.5, 0.5), (0.0, 0.3)))
    reach = max(1, round(0.08 * pose.scale))
    samples = [
        portrait[max(0, int(y) - reach) : int(y) + reach + 1, max(0, int(x) - reach) : int(x) + reach + 1].reshape(
            -1, 3
        )
        for x, y in spots
    ]
    return as_colour(np.median(np.concatenate(samples), axis=0).tolist())


def _draw_frames(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    glasses = make_thin_glasses(rng, person=person)
    if rng.random() < 0.7:  # Hair often hides the temples.
        draw_temples(canvas, glasses, person=person)
    draw_front(canvas, glasses, person=person, rng=rng)


def _draw_ghost(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Draw one to three of a pair's temples, bridge, one lens without its rim, and an arc of each rim."""
    glasses = make_thin_glasses(rng, person=person)
    # A lens without a rim shows only by its reflection.
    lens = replace(glasses, glare=float(rng.uniform(0.3, 0.7)))
    parts: Sequence[Callable[[], None]] = (
        lambda: draw_temples(canvas, glasses, person=person),
        lambda: draw_bridge(canvas, glasses),
        lambda: draw_lenses(canvas, lens, [lens.lens_at(float(rng.choice([-1.0, 1.0])))], rng=rng),
        lambda: _draw_arc(canvas, glasses, rng, side=-1.0),
        lambda: _draw_arc(canvas, glasses, rng, side=1.0),
    )
    for part in rng.permutation(len(parts))[: int(rng.integers(1, 4))]:
        parts[int(part)]()


def _draw_arc(canvas: Canvas, glasses: GlassesShape, rng: np.random.Generator, *, side: float) -> None:
    """Draw a sixth to a third of one rim."""
    rim = glasses.lens_at(side)
    start, length = int(rng.integers(len(rim))), int(rng.integers(len(rim) // 6, len(rim) // 3))
    arc = np.roll(rim, -start, axis=0)[:length]
    canvas.stroke(arc, glasses.colour, width=max(glasses.rim, 0.014), opacity=glasses.opacity, blur=0.002)


def _draw_creases(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Draw bags under the eyes, lines beside them, a fold across the bridge, or the shadow of the brows."""
    for crease in rng.permutation(len(_CREASES))[: int(rng.integers(1, 4))]:
        for side in (-1.0, 1.0):
            line = _CREASES[int(crease)](rng) * (side, 1.0)
            dark = rng.random() < 0.75
            colour = mix(person.skin, SHADOW, 0.7) if dark else scaled(person.skin, 1.25)
            width = float(rng.uniform(0.015, 0.05))
            canvas.stroke(
                line, colour, width=width, opacity=float(rng.uniform(0.2, 0.5)), blur=float(rng.uniform(0.004, 0.02))
            )


def _under_eye(rng: np.random.Generator) -> Points:
    low = float(rng.uniform(0.2, 0.34))
    return smooth(points((0.26, low - 0.1), (0.42, low), (0.62, low - 0.02), (0.76, low - 0.12)))


def _beside_eye(rng: np.random.Generator) -> Points:
    down = float(rng.uniform(-0.2, 0.25))
    return smooth(points((0.74, 0.02), (0.85, 0.02 + down / 2), (float(rng.uniform(0.92, 1.05)), down)))


def _across_bridge(rng: np.random.Generator) -> Points:
    high = float(rng.uniform(-0.16, 0.06))
    return smooth(points((0.0, high), (0.07, high + 0.01), (float(rng.uniform(0.1, 0.16)), high + 0.04)))


def _under_brow(rng: np.random.Generator) -> Points:
    high = float(rng.uniform(-0.3, -0.18))
    return smooth(points((0.2, high + 0.08), (0.45, high), (0.75, high + 0.06)))


_CREASES: Sequence[Callable[[np.random.Generator], Points]] = (_under_eye, _beside_eye, _across_bridge, _under_brow)
_PAINTERS: Mapping[Addition, Callable[[Canvas, Person, np.random.Generator], None]] = {
    Addition.THIN_FRAMES: _draw_frames,
    Addition.GHOST: _draw_ghost,
    Addition.CREASES: _draw_creases,
}
