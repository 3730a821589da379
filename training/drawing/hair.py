"""Hair: a mass under many strands, each between two guide lines, lit as a rounder head.

Guides are lines `(G, K, 2)` in head units from root to tip; a strand lies anywhere between two neighbours.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from training.drawing.canvas import Canvas, blurred
from training.drawing.colour import BLACK, SHADOW, Colour, as_colour, mix, scaled
from training.drawing.geometry import Points, moved, points, resample, ribbon, smooth, stacked, taper
from training.drawing.person import HairStyle, Person
from training.drawing.relief import Relief, enlarged

SUPERSAMPLING = 2
KNOTS = 16
LONG_KNOTS = 26
THIN = 200  # Strands; a lock of no more has gaps.
WAVES = 3.0  # From root to tip.
RINGLETS = 4  # For one strand of curly hair.
CROWN = (0.0, -0.35)
HAIRLINE = (
    (-1.05, 0.16), (-1.04, -0.3), (-0.88, -0.72), (-0.5, -1.0), (0.0, -1.06),
    (0.5, -1.0), (0.88, -0.72), (1.04, -0.3), (1.05, 0.16),
)  # fmt: skip
SILHOUETTE = (
    (-1.1, 0.14), (-1.17, -0.45), (-1.1, -1.02), (-0.68, -1.5), (0.0, -1.64),
    (0.68, -1.5), (1.1, -1.02), (1.17, -0.45), (1.1, 0.14),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HairLock:
    """Guides `(G, K, 2)` and how the strands between them lie; lengths in head units."""

    guides: Points
    count: int
    width: float = 0.02
    wave: float = 0.0
    scatter: float = 0.02
    contrast: float = 0.15
    curl: float = 0.0

    def widened(self, factor: float) -> "HairLock":
        """Return the same lock on a wider head."""
        return replace(self, guides=self.guides * (factor, 1.0))


def draw_back_hair(canvas: Canvas, person: Person, *, relief: Relief, rng: np.random.Generator) -> None:
    """Draw the hair behind the neck."""
    low = {HairStyle.LONG: 2.6, HairStyle.BOB: 1.35, HairStyle.CURLY: 0.0 if person.hard else 1.1}.get(person.style, 0)
    if not low:
        return
    x = np.linspace(-1.2, 1.2, 9)
    ends = low - 0.25 * x**2
    guides = [
        smooth(points((at * 0.7, -1.2), (at, 0.2), (at * 1.04, end))) for at, end in np.stack([x, ends], 1).tolist()
    ]
    lock = HairLock(stacked(guides, KNOTS), THIN + 1, width=0.03, wave=0.03, contrast=0.1)
    if person.style is HairStyle.CURLY:
        lock = replace(lock, curl=0.07)
    _HairLayer(canvas, scaled(person.hair, 0.55), relief).draw(
        [lock.widened(person.width)], rng=rng, shadow=0.0, head=None
    )


def draw_hair(canvas: Canvas, person: Person, *, relief: Relief, head: Image.Image, rng: np.random.Generator) -> None:
    """Draw the hair seen from the front, with the shadow it casts on the face and, at times, a band in it."""
    if person.style is HairStyle.BALD:
        return
    if person.style is HairStyle.BUZZ:
        _draw_buzz(canvas, person, head=head, rng=rng)
        return
    layer = _HairLayer(canvas, person.hair, relief)
    mask = layer.draw(_locks(person, rng=rng), rng=rng, shadow=0.38, head=head)
    if rng.random() < (0.02 if person.hard else 0.14):
        _draw_band(canvas, within=mask, rng=rng)


def _locks(person: Person, *, rng: np.random.Generator) -> list[HairLock]:
    fringe = rng.random() < (0.2 if person.hard else 0.35)
    if person.style in (HairStyle.SHORT, HairStyle.TIED):
        locks = [_swept(person, rng=rng)]
    elif person.style is HairStyle.CURLY:
        locks = _curls(person, rng=rng)
    else:
        locks = _parted(person, rng=rng)
    locks = [lock.widened(person.width) for lock in locks]
    return [*locks, _fringe(person, rng=rng)] if fringe and person.style is not HairStyle.TIED else locks


def _swept(person: Person, *, rng: np.random.Generator) -> HairLock:
    """Make short or tied hair: combed from the hairline back over the skull."""
    tied = person.style is HairStyle.TIED
    receding = 0.22 * max(0.0, person.age - 0.4) * person.hard
    rise = float(rng.uniform(0.97, 1.0) if tied else rng.uniform(1.0, 1.1))
    roots = moved(_contour(HAIRLINE), 0.0, -receding)
    tips = _contour(SILHOUETTE) * rise
    lean = 0 if tied else int(rng.integers(-3, 4))
    tips = tips[np.clip(np.arange(len(tips)) + lean, 0, len(tips) - 1)]
    middle = (roots + tips) / 2 + np.stack([0.04 * np.sign(roots[:, 0]), np.full(len(roots), -0.05)], axis=-1)
    guides = [smooth(np.stack(line)) for line in zip(roots, middle, tips, strict=True)]
    return HairLock(
        stacked(guides, KNOTS),
        620,
        width=0.026,
        wave=0.004 if tied else 0.014,
        scatter=0.008 if tied else 0.03,
    )


def _parted(person: Person, *, rng: np.random.Generator) -> list[HairLock]:
    """Make long hair and bobs: from a parting down both sides of the face."""
    part = float(rng.uniform(-0.35, 0.35))
    low = 2.5 if person.style is HairStyle.LONG else float(rng.uniform(1.0, 1.5))
    full = float(rng.uniform(0.95, 1.08))
    wave = float(rng.choice([0.008, 0.02, 0.045]))
    locks = []
    for side in (-1.0, 1.0):
        start = part * side
        inner = points((start, -1.1), (0.5, -0.96), (0.9, -0.56), (1.02, 0.0), (1.03, 0.7), (1.0, low))
        outer = points((start, -1.66), (0.62, -1.53), (1.08, -1.1), (1.33, -0.4), (1.44, 0.6), (1.4, low + 0.1))
        guides = stacked([smooth(inner), smooth((inner + outer) / 2), smooth(outer * (full, 1))], LONG_KNOTS)
        locks.append(HairLock(guides * (side, 1.0), 460, width=0.022, wave=wave, scatter=0.025))
    return locks


def _curls(person: Person, *, rng: np.random.Generator) -> list[HairLock]:
    """Make curly hair: tight waves standing away from the head, and over the ears on softer faces."""
    big = float(rng.uniform(1.04, 1.2))
    low = 0.2 if person.hard else float(rng.uniform(0.5, 1.6))
    curl = float(rng.uniform(0.045, 0.085))
    roots = _contour(HAIRLINE)
    tips = _contour(SILHOUETTE) * (big * 1.06, min(big, 1.1))
    guides = [smooth(np.stack([root, (root + tip) / 2, tip])) for root, tip in zip(roots, tips, strict=True)]
    locks = [HairLock(stacked(guides, KNOTS), THIN + 1, width=0.035, scatter=0.03, curl=curl)]
    for side in (-1.0, 1.0) if low > 0.3 else ():
        inner, outer = (
            points((0.95, -0.5), (1.06, 0.1), (1.02, low)),
            points((1.3, -0.8), (1.42, 0.0), (1.3, low * 0.85)),
        )
        middle = (inner + outer) / 2 + points((0, 0), (0, 0), (0, 0.16))
        fall = stacked([smooth(inner), smooth(middle), smooth(outer * (big, 1.0))], KNOTS) * (side, 1.0)
        locks.append(HairLock(fall, THIN + 1, width=0.035, scatter=0.03, curl=curl))
    return locks


def _fringe(person: Person, *, rng: np.random.Generator) -> HairLock:
    """Make the hair over the forehead; one fringe in four falls into the eyes."""
    over_eyes = rng.random() < 0.25
    low = float(rng.uniform(-0.1, 0.16)) if over_eyes else float(rng.uniform(-0.62, -0.38))
    sweep = float(rng.uniform(-0.25, 0.25))
    guides = []
    for x in np.linspace(-0.92, 0.92, 9):
        tip = (float(x) * 1.02 + sweep * 0.6, low + 0.12 * abs(float(x)) + float(rng.normal(0, 0.05)))
        guides.append(smooth(points((float(x) * 0.55, -1.62 + 0.2 * float(x) ** 2), (float(x) * 0.9, -1.15), tip)))
    count = 130 if over_eyes else 420
    return HairLock(stacked(guides, KNOTS), count, wave=0.01, scatter=0.03).widened(person.width)


def _contour(control: tuple[tuple[float, float], ...]) -> Points:
    """Return a contour of the head as 17 points `(17, 2)`."""
    return resample(smooth(control), 17)


@dataclass(frozen=True, slots=True)
class _HairLayer:
    """Hair of one colour, drawn apart and then laid on the canvas, so that it can cast a shadow."""

    canvas: Canvas
    colour: Colour
    relief: Relief

    def draw(
        self, locks: list[HairLock], *, rng: np.random.Generator, shadow: float, head: Image.Image | None
    ) -> Image.Image:
        """Lay the locks, and on the head their shadow; return the mask of the hair (mode L)."""
        size = self.canvas.size * SUPERSAMPLING
        # RGBX, its fourth channel the mask: Pillow would multiply the colours of RGBA by alpha to shrink it.
        fine = Image.new("RGBX", (size, size), (*self.colour, 0))
        draw = ImageDraw.Draw(fine)
        for lock in locks:
            self._draw_lock(draw, lock, rng=rng)
        hair = fine.reduce(SUPERSAMPLING)
        mask = hair.getchannel("X")
        if head is not None:
            self._cast(mask, opacity=shadow, head=head)
        self.canvas.image.paste(ImageChops.multiply(hair.convert("RGB"), self._light()), (0, 0), mask)
        return mask

    def _draw_lock(self, draw: ImageDraw.ImageDraw, lock: HairLock, *, rng: np.random.Generator) -> None:
        if lock.count > THIN:  # Thin locks let the face through; the others lie on a closed mass.
            edge = (lock.guides[0], lock.guides[:, -1], lock.guides[-1, ::-1], lock.guides[::-1, 0])
            self._draw_polygons(draw, np.concatenate(edge)[None], np.array([0.75]))
        strands = _strands(lock, rng=rng)
        if lock.curl:
            strands = np.concatenate([strands, _ringlets(lock, strands, rng=rng)])
        widths = lock.width * taper(strands.shape[1], tip=0.25, root=0.6)
        tones = rng.normal(0.97, lock.contrast, size=len(strands)).clip(0.5, 1.5)
        self._draw_polygons(draw, ribbon(strands, widths), tones)

    def _draw_polygons(self, draw: ImageDraw.ImageDraw, shapes: Points, tones: Points) -> None:
        corners = (self.canvas.pose.place(shapes) * SUPERSAMPLING).reshape(len(shapes), -1).tolist()
        colours = np.clip(tones[:, None] * np.array(self.colour), 0, 255).astype(int).tolist()
        for shape, colour in zip(corners, colours, strict=True):
            draw.polygon(shape, fill=(*colour, 255))

    def _cast(self, mask: Image.Image, *, opacity: float, head: Image.Image) -> None:
        radius = 0.05 * self.canvas.pose.scale
        soft = ImageChops.multiply(blurred(ImageChops.offset(mask, 0, round(radius)), radius), head)
        self.canvas.image.paste(SHADOW, (0, 0), soft.point([round(level * opacity) for level in range(256)]))

    def _light(self) -> Image.Image:
        where = self.relief.where - np.array(CROWN)
        distance = np.hypot(where[..., 0], where[..., 1])
        sheen = np.exp(-(((distance - 0.98) / 0.16) ** 2)) * (0.3 + 0.7 * self.relief.diffuse)
        light = 0.55 + 0.33 * self.relief.diffuse + 0.25 * sheen
        return enlarged(np.repeat(light[..., None] * 255, 3, axis=-1), self.canvas.size)


def _strands(lock: HairLock, *, rng: np.random.Generator) -> Points:
    """Draw lines `(count, K, 2)` at random between the guides."""
    count, knots = lock.count, lock.guides.shape[1]
    place = rng.uniform(0, len(lock.guides) - 1.001, count)
    index, share = place.astype(int), (place % 1.0)[:, None, None]
    lines = lock.guides[index] * (1 - share) + lock.guides[index + 1] * share
    t = np.linspace(0.0, 1.0, knots)
    phase = rng.uniform(0, 2 * np.pi, (count, 1)) * min(1.0, lock.wave * 30)
    sway = lock.wave * np.sin(2 * np.pi * WAVES * t + phase) * t + rng.normal(0, lock.scatter, (count, 1)) * t
    across = np.gradient(lines, axis=1)[..., ::-1] * (-1.0, 1.0)
    across = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    return np.asarray(lines + across * sway[..., None])


def _ringlets(lock: HairLock, strands: Points, *, rng: np.random.Generator) -> Points:
    """Return open rings `(count, K, 2)` strewn over the strands, most of them near the tips."""
    count = len(strands) * RINGLETS
    knot = (strands.shape[1] * rng.beta(1.6, 1.0, count)).astype(int)
    centre = strands[rng.integers(len(strands), size=count), knot]
    start = rng.uniform(0, 2 * np.pi, (count, 1))
    angle = start + np.linspace(0, 1.4 * np.pi, strands.shape[1])
    radius = lock.curl * rng.uniform(0.5, 1.3, (count, 1))
    ring = np.stack([np.cos(angle) * radius, np.sin(angle) * radius * 0.8], axis=-1)
    return np.asarray(centre[:, None, :] + ring)


def _draw_buzz(canvas: Canvas, person: Person, *, head: Image.Image, rng: np.random.Generator) -> None:
    roots, crown = _contour(HAIRLINE) * (person.width, 1.0), _contour(SILHOUETTE)
    cap = np.concatenate([roots, crown[::-1]])
    canvas.fill(cap, mix(person.hair, BLACK, 0.2), opacity=0.72, blur=0.035, within=head)
    scalp = HairLock(np.stack([roots, crown], axis=1), 900)
    at = _strands(scalp, rng=rng)
    at = at[:, 0] + (at[:, 1] - at[:, 0]) * rng.random((900, 1)) + rng.normal(0, 0.02, (900, 2))
    hairs = ribbon(np.stack([at, moved(at, 0.012, -0.045)], axis=1), 0.014)
    canvas.lay(list(hairs), scaled(person.hair, 1.3), opacity=0.3, within=head)


def _draw_band(canvas: Canvas, *, within: Image.Image, rng: np.random.Generator) -> None:
    """Draw a hairband: a dark arc on the head that is not eyewear."""
    angle = np.linspace(-0.95 * np.pi, -0.05 * np.pi, 40)
    high = float(rng.uniform(1.2, 1.4))
    arc = np.stack([1.34 * np.cos(angle), high * np.sin(angle)], axis=-1)
    colour = as_colour(rng.integers(20, 220, size=3).tolist())
    canvas.stroke(moved(arc, 0, 0.03), SHADOW, width=0.13, opacity=0.4, blur=0.03, within=within)
    canvas.stroke(arc, colour, width=0.12, blur=0.004, within=within)
    canvas.stroke(moved(arc, 0, -0.025), scaled(colour, 1.35), width=0.025, opacity=0.5, blur=0.015, within=within)
