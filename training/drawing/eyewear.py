"""Draw eyewear: kinds, random pairs, and their position on the face.

A pair is drawn in two steps, as hair falls over its temples and lies behind its front. Shapes are in head units,
so that a pair follows the head's roll, turn and scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from PIL import Image

from training.drawing.canvas import Canvas
from training.drawing.colour import SHADOW, WHITE, Colour, luminance, mix, pick, scaled
from training.drawing.geometry import Points, mirrored, moved, points, smooth
from training.drawing.person import Person

CORNERS = 64
FRAME_COLOURS: Sequence[Colour] = (
    (20, 20, 22), (20, 20, 22), (34, 30, 32), (74, 42, 26), (110, 62, 34), (28, 38, 72),
    (122, 28, 38), (60, 62, 66), (38, 84, 88), (226, 222, 214), (84, 44, 88),
)  # fmt: skip
METALS: Sequence[Colour] = ((70, 70, 74), (150, 148, 146), (176, 138, 76), (40, 40, 42))
TINTS: Sequence[Colour] = (
    (14, 14, 16),
    (14, 14, 16),
    (20, 18, 18),
    (52, 32, 18),
    (24, 38, 28),
    (24, 32, 58),
    (74, 40, 70),
)
MIRRORS: Sequence[Colour] = ((90, 130, 180), (180, 130, 70), (110, 150, 130))


class Eyewear(StrEnum):
    """The kinds of eyewear."""

    NONE = "none"
    FRAMES = "frames"
    SUNGLASSES = "sunglasses"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class GlassesShape:
    """One pair. `outline` `(N, 2)` is a lens about (0, 0), x growing outwards; `centre` is where it sits."""

    outline: Points
    centre: tuple[float, float]
    rim: float
    browline: float
    colour: Colour
    opacity: float
    lens: Colour
    tint: float
    glare: float
    temple: float
    shadow: float

    def lens_at(self, side: float, *, grown: float = 0.0) -> Points:
        """Return the lens `(N, 2)` on one side of the face (-1 or 1), larger all around by `grown`."""
        half = np.abs(self.outline).max(axis=0)
        lens = self.outline * (1 + grown / half)
        # A browline frame is thicker above the lens than below.
        lens = lens - (0.0, 1.0) * np.where(lens[:, 1:] < 0, grown * (self.browline - 1), 0.0)
        return np.asarray((lens + self.centre) * (side, 1.0))

    @property
    def inner_edge(self) -> float:
        """How far from the middle of the face the lens begins."""
        return self.centre[0] + float(self.outline[:, 0].min())

    @property
    def hinge(self) -> tuple[float, float]:
        """Where a temple meets the front, on the right side."""
        outer = self.outline[int(self.outline[:, 0].argmax())]
        return self.centre[0] + float(outer[0]) + self.rim, self.centre[1] + min(float(outer[1]), 0.0) - 0.05


def make_glasses(rng: np.random.Generator, eyewear: Eyewear, *, person: Person) -> GlassesShape | None:
    """Make a random pair of this kind; None for `Eyewear.NONE`."""
    match eyewear:
        case Eyewear.NONE:
            return None
        case Eyewear.FRAMES:
            return _frames(rng)
        case Eyewear.SUNGLASSES:
            return _sunglasses(rng)
        case Eyewear.FAINT:
            return _faint(rng, person)


def make_thin_glasses(rng: np.random.Generator, *, person: Person) -> GlassesShape:
    """Make a random pair of rimless or wire glasses, sometimes an ordinary frame, that is visible at 128 pixels."""
    if rng.random() < 0.6:
        glasses = _faint(rng, person)
        opacity, rim = glasses.opacity * float(rng.uniform(1.3, 2.0)), glasses.rim * float(rng.uniform(1.2, 1.6))
        return replace(glasses, opacity=min(1.0, opacity), rim=rim)
    glasses = _frames(rng)
    if rng.random() < 0.3:
        return glasses
    return replace(glasses, rim=float(rng.uniform(0.014, 0.026)), temple=0.025, shadow=0.2)


def _frames(rng: np.random.Generator) -> GlassesShape:
    outline = _outline(rng, (0.35, 0.43), flat=(0.58, 0.95))
    metal = rng.random() < 0.35
    rim = float(rng.uniform(0.022, 0.034) if metal else rng.uniform(0.04, 0.085))
    return GlassesShape(
        outline=outline,
        centre=_seat(rng, outline),
        rim=rim,
        browline=float(rng.uniform(1.5, 2.2)) if rng.random() < 0.2 else 1.0,
        colour=pick(rng, METALS if metal else FRAME_COLOURS),
        opacity=0.97,
        lens=(214, 226, 236),
        tint=float(rng.uniform(0.02, 0.1)),
        glare=float(rng.choice([0.0, 0.12, 0.25, 0.5])),
        temple=rim * 1.2,
        shadow=0.34,
    )


def _sunglasses(rng: np.random.Generator) -> GlassesShape:
    outline = _outline(rng, (0.39, 0.47), flat=(0.68, 0.95))
    metal = rng.random() < 0.35
    mirror = rng.random() < 0.12
    rim = float(rng.uniform(0.02, 0.035) if metal else rng.uniform(0.04, 0.08))
    return GlassesShape(
        outline=outline,
        centre=_seat(rng, outline),
        rim=rim,
        browline=1.0,
        colour=pick(rng, METALS if metal else FRAME_COLOURS),
        opacity=1.0,
        lens=pick(rng, MIRRORS if mirror else TINTS),
        tint=float(rng.uniform(0.8, 0.98)),
        glare=float(rng.uniform(0.15, 0.5)),
        temple=max(rim * 1.3, 0.04),
        shadow=0.45,
    )


def _faint(rng: np.random.Generator, person: Person) -> GlassesShape:
    """Make a rimless pair, or one framed by a wire of nearly the skin's colour."""
    outline = _outline(rng, (0.34, 0.41), flat=(0.58, 0.85))
    # Light metal on deep skin and dark metal on light skin would both be plain to see.
    near = mix(person.skin, pick(rng, METALS), float(rng.uniform(0.35, 0.6)))
    rimless = rng.random() < 0.5
    return GlassesShape(
        outline=outline,
        centre=_seat(rng, outline),
        rim=0.010 if rimless else float(rng.uniform(0.012, 0.018)),
        browline=1.0,
        colour=scaled(near, 0.8 if luminance(person.skin) > 0.4 else 1.25),
        opacity=float(rng.uniform(0.35, 0.5) if rimless else rng.uniform(0.5, 0.75)),
        lens=(226, 232, 238),
        tint=float(rng.uniform(0.02, 0.05)),
        glare=float(rng.uniform(0.1, 0.22)),
        temple=0.018,
        shadow=0.10,
    )


def draw_temples(canvas: Canvas, glasses: GlassesShape, *, person: Person) -> None:
    """Draw the temples, from the hinges to the ears."""
    x, y = glasses.hinge
    ear = (1.13 * person.width, -0.08)
    arm = points((x - glasses.rim, y), ((x + ear[0]) / 2, y - 0.01), ear)
    width = glasses.temple * np.array([1.25, 1.0, 0.8])
    for turned in (np.asarray, mirrored):
        line = turned(arm)
        canvas.stroke(moved(line, 0, 0.05), SHADOW, width=width * 1.2, opacity=glasses.shadow * 0.8, blur=0.025)
        canvas.stroke(line, scaled(glasses.colour, 0.9), width=width, opacity=glasses.opacity, blur=0.002)


def draw_front(canvas: Canvas, glasses: GlassesShape, *, person: Person, rng: np.random.Generator) -> None:
    """Draw lenses, rims, bridge and reflections."""
    lenses = [glasses.lens_at(side) for side in (-1.0, 1.0)]
    rims = [glasses.lens_at(side, grown=glasses.rim) for side in (-1.0, 1.0)]
    _draw_shadow(canvas, glasses, person, lenses=lenses, rims=rims)
    draw_lenses(canvas, glasses, lenses, rng=rng)
    canvas.lay(rims, glasses.colour, holes=lenses, opacity=glasses.opacity, blur=0.002)
    draw_bridge(canvas, glasses)
    _draw_rim_light(canvas, glasses, light=float(person.light[0]))


def draw_lenses(canvas: Canvas, glasses: GlassesShape, lenses: Sequence[Points], *, rng: np.random.Generator) -> None:
    """Draw the tint of these lenses and what they reflect, without rims."""
    within = canvas.mask(lenses)
    canvas.lay(lenses, glasses.lens, opacity=glasses.tint)
    _draw_glare(canvas, glasses, within=within, rng=rng)


def draw_bridge(canvas: Canvas, glasses: GlassesShape) -> None:
    """Draw the bridge, and the pads of a wire frame."""
    inner = glasses.inner_edge
    high = glasses.centre[1] - 0.06
    arch = smooth(points((-inner, high), (-inner * 0.4, high - 0.05), (inner * 0.4, high - 0.05), (inner, high)))
    width = max(glasses.rim * 0.95, 0.014)
    canvas.stroke(arch, glasses.colour, width=width, opacity=glasses.opacity, blur=0.002)
    if glasses.rim < 0.036:  # Only wire frames stand on pads.
        for side in (-1.0, 1.0):
            pad = smooth(
                points(
                    (side * inner, high + 0.06),
                    (side * inner * 0.72, high + 0.12),
                    (side * inner * 0.8, high + 0.2),
                )
            )
            canvas.stroke(pad, mix(glasses.colour, WHITE, 0.3), width=0.016, opacity=glasses.opacity * 0.6)


def _draw_shadow(
    canvas: Canvas, glasses: GlassesShape, person: Person, *, lenses: Sequence[Points], rims: Sequence[Points]
) -> None:
    fall = (-0.07 * float(person.light[0]), 0.055)
    holes = [] if glasses.tint > 0.5 else [moved(lens, *fall) for lens in lenses]
    shadow = [moved(rim, *fall) for rim in rims]
    head = canvas.mask([person.outline])
    canvas.lay(shadow, SHADOW, holes=holes, opacity=glasses.shadow, blur=0.022, within=head)


def _draw_glare(canvas: Canvas, glasses: GlassesShape, *, within: Image.Image, rng: np.random.Generator) -> None:
    """Draw the sky in dark lenses, and a slanting streak of window light in all."""
    slant, start = float(rng.uniform(0.25, 0.6)), float(rng.uniform(-0.35, 0.1))
    wide = float(rng.uniform(0.08, 0.3))
    for side in (-0.5, 0.5):
        if glasses.tint > 0.5:
            sky = points((side - 0.6, -0.6), (side + 0.6, -0.6), (side + 0.6, -0.12), (side - 0.6, -0.05))
            canvas.fill(sky, mix(glasses.lens, WHITE, 0.55), opacity=0.45 * glasses.glare, blur=0.08, within=within)
        left = side + start
        streak = points((left, 0.5), (left + wide, 0.5), (left + wide + slant, -0.5), (left + slant, -0.5))
        canvas.fill(streak, WHITE, opacity=glasses.glare, blur=0.02, within=within)


def _draw_rim_light(canvas: Canvas, glasses: GlassesShape, *, light: float) -> None:
    """A bright line along the upper rim, on the lamp's side more than on the other."""
    bright = mix(glasses.colour, WHITE, 0.5)
    for side in (-1.0, 1.0):
        rim = glasses.lens_at(side, grown=glasses.rim * 0.6)
        top = rim[rim[:, 1] < glasses.centre[1] - 0.1]
        top = top[np.argsort(top[:, 0])]
        opacity = glasses.opacity * (0.3 + 0.25 * side * light)
        canvas.stroke(top, bright, width=glasses.rim * 0.22, opacity=opacity, blur=0.006)


def _outline(rng: np.random.Generator, half_width: tuple[float, float], *, flat: tuple[float, float]) -> Points:
    """A lens of any of the four shapes, about (0, 0)."""
    shapes: Sequence[Callable[[Points], Points]] = (_round, _rectangular, _rectangular, _aviator, _cat_eye)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    shape = shapes[int(rng.integers(len(shapes)))]
    wide = float(rng.uniform(*half_width))
    tall = wide * (float(rng.uniform(0.88, 1.0)) if shape is _round else float(rng.uniform(*flat)))
    return shape(angle) * (wide, min(tall, 0.36))


def _superellipse(angle: Points, power: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.sign(cos) * np.abs(cos) ** (2 / power), np.sign(sin) * np.abs(sin) ** (2 / power)], axis=-1)


def _round(angle: Points) -> Points:
    return _superellipse(angle, 2.1)


def _rectangular(angle: Points) -> Points:
    return _superellipse(angle, 4.2)


def _aviator(angle: Points) -> Points:
    drop = _superellipse(angle, 2.5)
    below = np.maximum(drop[:, 1], 0.0)
    # The lower half narrows towards the cheek, and hangs lower on the outside.
    return np.stack([drop[:, 0] * (1 - 0.18 * below) + 0.06 * below, drop[:, 1] + 0.12 * below * drop[:, 0]], axis=-1)


def _cat_eye(angle: Points) -> Points:
    eye = _superellipse(angle, 2.7)
    outer, above = np.maximum(eye[:, 0], 0.0), np.maximum(-eye[:, 1], 0.0)
    return np.stack([eye[:, 0] * (1 + 0.12 * above), eye[:, 1] - 0.28 * outer**2 * above**0.5], axis=-1)


def _seat(rng: np.random.Generator, outline: Points) -> tuple[float, float]:
    """Where the right lens sits: clear of the nose, its middle at the pupil or a little below."""
    inner = -float(outline[:, 0].min())
    nose = float(rng.uniform(0.09, 0.14))
    return max(inner + nose, 0.48), float(rng.uniform(0.01, 0.09))
