"""Eyes, brows, nose and mouth, and the make-up, shadows and lines near the eyes that eyewear is mistaken for."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from training.drawing.canvas import Canvas
from training.drawing.colour import BLACK, SHADOW, WHITE, Colour, luminance, mix, pick, scaled
from training.drawing.geometry import Points, ellipse, mirrored, moved, points, ribbon, smooth, taper
from training.drawing.person import Person

EYESHADOWS: tuple[Colour, ...] = ((40, 30, 34), (72, 44, 60), (60, 66, 92), (92, 60, 44), (30, 26, 30))
LIPSTICKS: tuple[Colour, ...] = ((168, 40, 52), (190, 74, 88), (140, 44, 70), (196, 98, 92))
TEETH: Colour = (238, 232, 222)
SCLERA: Colour = (236, 232, 228)
BROW_HAIRS = 46  # Of one brow.


@dataclass(frozen=True, slots=True)
class Look:
    """How the eyes of one face look; shares are 0..1, lengths head units."""

    open: float
    tilt: float
    gaze: tuple[float, float]
    brow_weight: float
    brow_height: float
    lash: float
    shadow: Colour | None
    rings: float


def draw_look(rng: np.random.Generator, person: Person) -> Look:
    """Draw a look at random. One face in five or so has heavy brows, made-up lids or dark rings."""
    made_up = not person.hard and rng.random() < 0.35
    return Look(
        open=float(rng.uniform(0.075, 0.115)),
        tilt=float(rng.normal(0.02, 0.02)),
        gaze=(float(rng.normal(0, 0.025)), float(rng.normal(0, 0.01))),
        brow_weight=float(rng.uniform(0.05, 0.09) if person.hard else rng.uniform(0.03, 0.06))
        * (1.7 if rng.random() < 0.18 else 1.0),
        brow_height=float(rng.uniform(0.25, 0.33) - 0.03 * person.hard),
        lash=float(rng.uniform(0.0, 0.25) if person.hard else rng.uniform(0.2, 1.0)),
        shadow=pick(rng, EYESHADOWS) if made_up else None,
        rings=float(rng.uniform(0.35, 0.9)) if rng.random() < 0.22 else 0.0,
    )


def draw_eyes(canvas: Canvas, person: Person, *, look: Look, head: Image.Image) -> None:
    """Draw both eyes with lids and lashes."""
    for side in (-1.0, 1.0):
        eye = _Eye(canvas, person, look, side, head)
        eye.draw_socket()
        eye.draw_ball()
        eye.draw_lids()


@dataclass(frozen=True, slots=True)
class _Eye:
    """One eye; its own shapes run from the inner corner to the outer one, x growing outwards."""

    canvas: Canvas
    person: Person
    look: Look
    side: float
    head: Image.Image

    def shape(self, *pairs: tuple[float, float]) -> Points:
        """Return a smooth line given relative to this pupil, x outwards."""
        line = smooth(points(*pairs))
        return np.asarray(moved(line, 0.5, 0.0) * (self.side, 1.0))

    @property
    def upper(self) -> Points:
        """Return the edge of the upper lid."""
        high, tilt = self.look.open, self.look.tilt
        return self.shape((-0.24, 0.05), (-0.15, -high * 0.55), (0.0, -high), (0.15, -high * 0.7), (0.25, -tilt))

    @property
    def lower(self) -> Points:
        """Return the edge of the lower lid."""
        low, tilt = self.look.open * 0.72, self.look.tilt
        return self.shape((-0.24, 0.05), (-0.1, low * 0.95), (0.05, low), (0.18, low * 0.55), (0.25, -tilt))

    def draw_socket(self) -> None:
        """Draw the shade around the eye: depth, made-up lids, dark rings."""
        dark = mix(self.person.skin, SHADOW, 0.6)
        socket = ellipse((self.side * 0.44, -0.08), (0.3, 0.16))
        self.canvas.fill(socket, dark, opacity=0.3, blur=0.09, within=self.head)
        if self.look.shadow is not None:
            lid = np.concatenate([self.upper, self.shape((0.3, -0.1), (0.0, -0.24), (-0.22, -0.06))])
            self.canvas.fill(lid, self.look.shadow, opacity=0.75, blur=0.025, within=self.head)
        bag = self.shape((-0.24, 0.1), (-0.1, 0.19), (0.06, 0.21), (0.22, 0.14))
        purple = mix(dark, (70, 40, 70), 0.35)
        strength = 0.12 + 0.15 * self.person.age + 0.55 * self.look.rings
        self.canvas.stroke(bag, purple, width=0.1, opacity=min(strength, 0.8), blur=0.035, within=self.head)

    def draw_ball(self) -> None:
        """Draw sclera, iris, pupil and the lamp's reflection, within the lids."""
        opening = self.canvas.mask([np.concatenate([self.upper, self.lower[::-1]])])
        within = ImageChops.multiply(opening, self.head)
        light = 0.7 + 0.25 * self.person.ambience
        box = ellipse((self.side * 0.5, 0.0), (0.3, 0.16))
        self.canvas.fill(box, scaled(SCLERA, light), within=within)
        for corner in (0.27, 0.75):
            tint = mix(SCLERA, (150, 90, 80), 0.6)
            at = ellipse((self.side * corner, 0.02), (0.07, 0.08))
            self.canvas.fill(at, tint, opacity=0.45, blur=0.03, within=within)
        self._draw_iris(within)
        self.canvas.stroke(self.upper, BLACK, width=0.07, opacity=0.5, blur=0.02, within=within)

    def _draw_iris(self, within: Image.Image) -> None:
        x, y = self.side * 0.5 + self.look.gaze[0], self.look.gaze[1] - 0.012
        iris = self.person.iris
        self.canvas.fill(ellipse((x, y), (0.108, 0.108)), scaled(iris, 0.4), blur=0.006, within=within)
        self.canvas.fill(ellipse((x, y), (0.094, 0.094)), iris, blur=0.01, within=within)
        glow = ellipse((x, y + 0.045), (0.06, 0.035))
        self.canvas.fill(glow, scaled(iris, 1.5), opacity=0.6, blur=0.02, within=within)
        self.canvas.fill(ellipse((x, y), (0.043, 0.043)), BLACK, blur=0.006, within=within)
        glint = (x + 0.045 * float(self.person.light[0]) * 1.3, y - 0.04)
        self.canvas.fill(ellipse(glint, (0.02, 0.02)), WHITE, opacity=0.92, blur=0.005, within=within)

    def draw_lids(self) -> None:
        """Draw lash lines, lashes and the crease above."""
        dark = mix(self.person.skin, SHADOW, 0.8)
        lash = mix(dark, BLACK, 0.4 + 0.6 * self.look.lash)
        thick = (0.018 + 0.028 * self.look.lash) * np.linspace(0.5, 1.3, len(self.upper))
        self.canvas.stroke(self.upper, lash, width=thick, opacity=0.9, blur=0.004, within=self.head)
        self.canvas.stroke(self.lower, dark, width=0.014, opacity=0.55, blur=0.006, within=self.head)
        rim = moved(self.lower, 0.0, 0.018)
        self.canvas.stroke(rim, mix(self.person.skin, WHITE, 0.4), width=0.016, opacity=0.35, blur=0.008)
        crease = moved(self.upper[3:] * (1.0, 1.05), 0.0, -0.055)
        width = 0.02 * taper(len(crease), root=0.3)
        self.canvas.stroke(crease, dark, width=width, opacity=0.6, blur=0.008, within=self.head)
        if self.look.lash > 0.35:
            self.canvas.lay(list(self._lashes()), lash, opacity=0.85, within=self.head)

    def _lashes(self) -> Points:
        root = self.upper[6::2]
        outwards = (root - (self.side * 0.46, 0.1)) * (0.22, 0.34) * self.look.lash
        lift = np.stack([np.zeros(len(root)), np.full(len(root), -0.02)], axis=-1)
        return ribbon(np.stack([root, root + outwards * 0.6 + lift * 0.4, root + outwards + lift], axis=1), 0.008)


def draw_brows(canvas: Canvas, person: Person, *, look: Look, rng: np.random.Generator) -> None:
    """Draw two brows of single hairs over a soft base."""
    light_hair = luminance(person.hair) > 0.45
    colour = scaled(person.hair, 0.72) if light_hair else mix(person.hair, BLACK, 0.15)
    high = -look.brow_height
    arch = 0.03 if person.hard else 0.07
    half = smooth(points((0.16, high + 0.04), (0.35, high - arch * 0.6), (0.58, high - arch), (0.82, high + 0.06)))
    weight = look.brow_weight * np.interp(np.linspace(0, 1, len(half)), [0, 0.15, 0.6, 1], [0.7, 1.1, 0.9, 0.25])
    for turned in (np.asarray, mirrored):
        canvas.stroke(turned(half), colour, width=weight * 1.1, opacity=0.62, blur=0.018)
        hairs = [turned(hair) for hair in _brow_hairs(half, weight, rng=rng)]
        canvas.lay(hairs, colour, opacity=0.65)


def _brow_hairs(line: Points, weight: Points, *, rng: np.random.Generator) -> Points:
    """Return the outlines `(BROW_HAIRS, 4, 2)` of hairs along a line `(N, 2)`, within its weight `(N,)`."""
    count = BROW_HAIRS
    at = rng.uniform(0, len(line) - 1.01, count)
    index = at.astype(int)
    root = line[index] + rng.uniform(-0.55, 0.35, count)[:, None] * np.stack([weight[index] * 0, weight[index]], -1)
    rise = np.interp(at, [0, len(line)], [-0.07, 0.025]) + rng.normal(0, 0.01, count)
    tip = root + np.stack([np.full(count, 0.07), rise * 0.8], axis=-1)
    return ribbon(np.stack([root, tip], axis=1), 0.011)


def draw_nose(canvas: Canvas, person: Person, *, head: Image.Image) -> None:
    """Draw nostrils, wings and the shade below; the bridge is the relief's."""
    dark = mix(person.skin, SHADOW, 0.7)
    shade = smooth(points((-0.26, 0.74), (0, 0.8), (0.26, 0.74), (0.1, 0.86), (-0.1, 0.86)), closed=True)
    canvas.fill(shade, dark, opacity=0.35, blur=0.045, within=head)
    far = -float(np.sign(person.light[0]))
    flank = smooth(points((far * 0.13, -0.08), (far * 0.12, 0.25), (far * 0.2, 0.55)))
    canvas.stroke(flank, dark, width=0.09, opacity=0.22, blur=0.05, within=head)
    for side in (-1.0, 1.0):
        wing = smooth(points((side * 0.21, 0.54), (side * 0.275, 0.63), (side * 0.24, 0.73), (side * 0.17, 0.74)))
        canvas.stroke(wing, dark, width=0.03, opacity=0.45, blur=0.014, within=head)
        nostril = smooth(
            points((side * 0.06, 0.735), (side * 0.12, 0.7), (side * 0.18, 0.725), (side * 0.12, 0.755)),
            closed=True,
        )
        canvas.fill(nostril, mix(dark, SHADOW, 0.6), opacity=0.85, blur=0.012, within=head)
    tip = ellipse((0.05 * float(person.light[0]), 0.56), (0.045, 0.035))
    canvas.fill(tip, WHITE, opacity=0.22, blur=0.03, within=head)


def draw_mouth(canvas: Canvas, person: Person, *, head: Image.Image, rng: np.random.Generator) -> None:
    """Draw the lips, closed or smiling, with teeth where they part."""
    smile = float(rng.uniform(-0.2, 1.0))
    gap = max(0.0, smile - 0.35) * 0.17
    wide, lift = 0.36 + 0.12 * max(smile, 0.0), 0.07 * smile
    full = float(rng.uniform(0.7, 1.15)) * (0.85 if person.hard else 1.0)
    lips = _lip_colour(person, rng=rng)
    corner, other = (-wide, 1.06 - lift), (wide, 1.06 - lift)
    seam = smooth(points(corner, (-0.18, 1.04), (0, 1.06), (0.18, 1.04), other))
    lower_seam = smooth(points(corner, (-0.18, 1.05 + gap * 0.9), (0, 1.065 + gap), (0.18, 1.05 + gap * 0.9), other))
    top = 1.05 - 0.095 * full
    bow = smooth(
        points(corner, (-0.2, top + 0.03), (-0.07, top), (0, top + 0.022), (0.07, top), (0.2, top + 0.03), other)
    )
    bottom = 1.06 + gap + 0.15 * full
    base = smooth(points(corner, (-0.2, bottom - 0.035), (0, bottom), (0.2, bottom - 0.035), other))
    _draw_gap(canvas, np.concatenate([seam, lower_seam[::-1]]), deep=gap > 0)
    upper, lower = np.concatenate([bow, seam[::-1]]), np.concatenate([lower_seam, base[::-1]])
    canvas.fill(upper, scaled(lips, 0.86), opacity=0.88, blur=0.008, within=head)
    canvas.fill(lower, lips, opacity=0.85, blur=0.01, within=head)
    _draw_lip_light(canvas, person, bottom=bottom, seam=seam, gap=gap, head=head)


def _lip_colour(person: Person, *, rng: np.random.Generator) -> Colour:
    natural = mix(scaled(person.skin, 0.86), (168, 62, 66), 0.42)
    painted = not person.hard and rng.random() < 0.4
    return mix(natural, pick(rng, LIPSTICKS), 0.7) if painted else natural


def _draw_gap(canvas: Canvas, gap: Points, *, deep: bool) -> None:
    canvas.fill(gap, (60, 22, 22))
    if not deep:
        return
    within = canvas.mask([gap])
    low = float(gap[:, 1].max())
    canvas.fill(ellipse((0.0, 1.03), (0.4, low - 1.035)), TEETH, blur=0.012, within=within)
    for x in np.linspace(-0.28, 0.28, 8):
        line = points((float(x), 1.0), (float(x) * 0.97, low))
        canvas.stroke(line, (150, 130, 118), width=0.008, opacity=0.5, blur=0.004, within=within)
    canvas.stroke(points((-0.4, 1.03), (0.4, 1.03)), SHADOW, width=0.04, opacity=0.45, blur=0.02, within=within)


def _draw_lip_light(
    canvas: Canvas, person: Person, *, bottom: float, seam: Points, gap: float, head: Image.Image
) -> None:
    dark = mix(person.skin, SHADOW, 0.75)
    if gap == 0:
        canvas.stroke(seam, dark, width=0.022 * taper(len(seam), root=0.3), opacity=0.8, blur=0.006, within=head)
    for end in (seam[0], seam[-1]):
        canvas.fill(ellipse((float(end[0]), float(end[1])), (0.03, 0.025)), dark, opacity=0.5, blur=0.02, within=head)
    wet = ellipse((0.04 * float(person.light[0]), bottom - 0.085), (0.11, 0.022))
    canvas.fill(wet, WHITE, opacity=0.26, blur=0.02, within=head)
    below = smooth(points((-0.2, bottom + 0.05), (0, bottom + 0.07), (0.2, bottom + 0.05)))
    canvas.stroke(below, dark, width=0.07, opacity=0.3, blur=0.04, within=head)


def draw_cast_lines(canvas: Canvas, *, head: Image.Image, rng: np.random.Generator) -> None:
    """Draw the soft shadow of a blind or a twig across the eyes of one face in fourteen: dark lines, yet no eyewear."""
    if rng.random() > 0.07:
        return
    tilt = float(rng.uniform(-0.15, 0.15))
    for height in rng.uniform(-0.25, 0.35, size=int(rng.integers(1, 4))):
        line = points((-1.3, float(height) - tilt), (1.3, float(height) + tilt))
        canvas.stroke(line, SHADOW, width=float(rng.uniform(0.03, 0.12)), opacity=0.4, blur=0.025, within=head)
