"""Draw shoulders and clothes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.drawing.canvas import Canvas
from training.drawing.colour import BLACK, WHITE, Colour, mix, pick, scaled
from training.drawing.geometry import mirrored, moved, points, smooth, symmetric
from training.drawing.person import Person

FABRICS: Sequence[Colour] = (
    (34, 36, 42), (52, 62, 88), (120, 34, 40), (226, 224, 218), (96, 104, 108), (60, 84, 72), (150, 120, 92),
    (178, 146, 160), (72, 98, 134), (186, 152, 80), (64, 48, 44),
)  # fmt: skip


def draw_clothes(canvas: Canvas, person: Person, *, rng: np.random.Generator) -> None:
    """Draw a shirt or jumper with a round, pointed or high neck, at times under a jacket."""
    fabric = pick(rng, FABRICS)
    broad = 1.12 if person.hard else 0.98
    neck = 0.72 if person.hard else 0.58
    depth = float(rng.choice([1.72, 1.98, 2.25]))
    collar = points((0, depth + 0.1), (neck * 0.7, depth), (neck * 1.12, min(depth, 1.85) - 0.1))
    shoulder = points((1.25 * broad, 2.0), (1.75 * broad, 2.18), (2.1 * broad, 2.6), (2.2 * broad, 3.2), (0, 3.3))
    half = np.concatenate([smooth(np.concatenate([collar, shoulder[:4]])), shoulder[4:]])
    body = symmetric(half)
    canvas.fill(body, fabric, blur=0.008)
    within = canvas.mask([body])
    _draw_folds(canvas, fabric, light=float(person.light[0]), within=within, rng=rng)
    edge = smooth(collar)
    for turned in (np.asarray, mirrored):
        canvas.stroke(turned(edge), scaled(fabric, 0.6), width=0.05, opacity=0.8, blur=0.012, within=within)
    if rng.random() < 0.35:
        _draw_jacket(canvas, pick(rng, FABRICS), broad=broad, neck=neck)


def _draw_folds(canvas: Canvas, fabric: Colour, *, light: float, within: Image.Image, rng: np.random.Generator) -> None:
    for _ in range(7):
        x = float(rng.uniform(-1.6, 1.6))
        fold = smooth(points((x * 0.6, 1.85), (x * 0.85 + 0.1, 2.2), (x * 1.2, 2.7)))
        bright = rng.random() < 0.4
        tone = mix(fabric, WHITE, 0.25) if bright else mix(fabric, BLACK, 0.5)
        canvas.stroke(fold, tone, width=0.08, opacity=0.35, blur=0.06, within=within)
    shade = points((-np.sign(light) * 0.3, 1.4), (-np.sign(light) * 2.6, 1.4), (-np.sign(light) * 2.6, 3), (0, 3))
    canvas.fill(shade, BLACK, opacity=0.3 * abs(light), blur=0.3, within=within)


def _draw_jacket(canvas: Canvas, fabric: Colour, *, broad: float, neck: float) -> None:
    half = points(
        (neck * 1.05, 1.75),
        (1.3 * broad, 1.96),
        (1.85 * broad, 2.2),
        (2.3 * broad, 3.2),
        (0.5, 3.2),
        (0.42, 2.5),
    )
    lapel = points((neck * 1.02, 1.72), (neck * 1.35, 1.9), (0.75, 2.3), (0.62, 2.9), (0.38, 2.5))
    for turned in (np.asarray, mirrored):
        canvas.fill(turned(half), scaled(fabric, 0.85), blur=0.006)
        canvas.fill(moved(turned(lapel), 0, 0.03), scaled(fabric, 0.4), opacity=0.6, blur=0.03)
        canvas.fill(turned(lapel), scaled(fabric, 1.02), blur=0.006)
