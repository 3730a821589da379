"""Draw the head: lit skin, ears, neck, signs of age, beard."""

import numpy as np
from PIL import Image

from training.drawing.canvas import Canvas
from training.drawing.colour import SHADOW, Colour, luminance, mix, scaled
from training.drawing.geometry import Points, mirrored, points, ribbon, smooth, symmetric, taper
from training.drawing.person import Person
from training.drawing.relief import Relief, bump, enlarged

# Shadows on skin keep their red longest: light wanders below the surface.
FALLOFF = (0.85, 1.02, 1.12)
BRIGHTEST = 1.05  # Times the skin's own colour, where the lamp meets it squarely.
BLUSH = (0.05, -0.06, -0.04)
STUBBLE = 2200  # Hairs.
FLUSHED = ((0.62, 0.5, 0.26, 0.2), (0.0, 0.6, 0.14, 0.14))  # Cheeks and the tip of the nose.


def draw_neck(canvas: Canvas, person: Person) -> None:
    """Draw the neck down to the shoulders, in the shadow of the chin."""
    wide = 0.72 if person.hard else 0.58
    half = points((wide, 0.7), (wide * 0.97, 1.5), (wide * 1.05, 1.9), (wide * 1.9, 2.25), (wide * 2.6, 2.7))
    neck = smooth(symmetric(half), closed=True)
    skin = scaled(person.skin, 0.55 + 0.4 * person.ambience)
    canvas.fill(neck, skin)
    within = canvas.mask([neck])
    dark = mix(skin, SHADOW, 0.75)
    for side in (-1.0, 1.0):
        edge = points((side * wide, 0.7), (side * wide * 0.95, 1.6), (side * wide * 1.1, 2.1))
        lit = float(person.light[0]) * side
        canvas.stroke(edge, dark, width=0.3, opacity=0.55 - 0.4 * lit, blur=0.12, within=within)
        tendon = smooth(points((side * 0.42, 1.6), (side * 0.3, 1.95), (side * 0.1, 2.3)))
        canvas.stroke(tendon, dark, width=0.06, opacity=0.25, blur=0.05, within=within)
    chin_shadow = person.outline * (0.95, 1.0) + (-0.12 * float(person.light[0]), 0.2)
    canvas.fill(chin_shadow, dark, opacity=0.75, blur=0.09, within=within)


def draw_ears(canvas: Canvas, person: Person) -> None:
    """Draw both ears, their tips level with the brows."""
    half = points((0.98, -0.2), (1.12, -0.26), (1.23, -0.12), (1.2, 0.2), (1.12, 0.42), (1.0, 0.46))
    fold = points((1.06, -0.1), (1.15, -0.15), (1.16, 0.02), (1.1, 0.2), (1.1, 0.32))
    for turned in (np.asarray, mirrored):
        side = float(turned(points((1, 0)))[0, 0])
        lit = 0.62 + 0.4 * person.ambience * (0.8 + 0.5 * side * float(person.light[0]))
        skin = mix(scaled(person.skin, lit), (190, 90, 70), 0.1)
        ear = smooth(turned(half) * (person.width, 1.0), closed=True)
        canvas.fill(ear, skin)
        within = canvas.mask([ear])
        inner = smooth(turned(fold) * (person.width, 1.0))
        canvas.stroke(inner, mix(skin, SHADOW, 0.7), width=0.09, opacity=0.6, blur=0.025, within=within)
        canvas.stroke(ear[8:30], scaled(skin, 1.2), width=0.03, opacity=0.5, blur=0.015, within=within)


def draw_skin(canvas: Canvas, person: Person, *, relief: Relief, rng: np.random.Generator) -> Image.Image:
    """Draw the bare head; return its mask (mode L, as large as the picture)."""
    head = canvas.mask([person.outline])
    canvas.image.paste(enlarged(_skin_light(person, relief, rng=rng), canvas.size), (0, 0), head)
    return head


def _skin_light(person: Person, relief: Relief, *, rng: np.random.Generator) -> Points:
    """Return the colours of the skin `(h, w, 3)` on the coarse grid."""
    light = person.ambience + (BRIGHTEST - person.ambience) * relief.diffuse
    light = light * (1 + 0.012 * _mottle(rng, light.shape))
    albedo = np.broadcast_to(np.array(person.skin, dtype=np.float64), (*light.shape, 3))
    flush = sum(
        bump(relief.where, (side * x, y), (wide, tall))
        for x, y, wide, tall in FLUSHED
        for side in ((-1, 1) if x else (1,))
    )
    albedo = albedo * (1 + np.asarray(flush)[..., None] * np.array(BLUSH) * rng.uniform(0.3, 1.1))
    shine = rng.uniform(8, 34) * relief.gloss[..., None]
    return np.asarray(albedo * np.maximum(light, 0.02)[..., None] ** np.array(FALLOFF) + shine)


def _mottle(rng: np.random.Generator, shape: tuple[int, ...]) -> Points:
    """Return unevenness `(h, w)` about 0, four cells of the grid wide."""
    coarse = rng.standard_normal((shape[0] // 4 + 1, shape[1] // 4 + 1), dtype=np.float32)
    smooth_noise = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth_noise, dtype=np.float64)


def draw_age(canvas: Canvas, person: Person, *, head: Image.Image) -> None:
    """Draw folds from nose to mouth in all faces, deeper with age; lines beside the eyes and on the forehead."""
    dark = mix(person.skin, SHADOW, 0.55)
    for turned in (np.asarray, mirrored):
        fold = smooth(turned(points((0.27, 0.62), (0.4, 0.8), (0.48, 1.02))))
        canvas.stroke(
            fold,
            dark,
            width=0.05 * taper(len(fold)),
            opacity=0.12 + 0.4 * person.age,
            blur=0.025,
            within=head,
        )
        if person.age < 0.5:
            continue
        for tilt in (-0.1, 0.0, 0.1):
            line = smooth(turned(points((0.8, 0.02 + tilt), (0.88, 0.03 + tilt * 1.5), (0.96, 0.02 + tilt * 2))))
            canvas.stroke(line, dark, width=0.014, opacity=person.age - 0.3, blur=0.008, within=head)
    for height in (-0.7, -0.85) if person.age > 0.6 else ():
        line = smooth(points((-0.42, height + 0.02), (-0.2, height - 0.03), (0.05, height), (0.4, height - 0.02)))
        width = 0.03 * taper(len(line), root=0.2)
        canvas.stroke(line, dark, width=width, opacity=0.8 * (person.age - 0.4), blur=0.018, within=head)


def draw_beard(canvas: Canvas, person: Person, *, head: Image.Image, rng: np.random.Generator) -> None:
    """Draw no beard, a shaven shadow, a moustache or a full beard; on harder faces only."""
    if not person.hard or (growth := float(rng.uniform(-0.7, 1.0))) < 0:
        return
    colour = mix(person.hair, SHADOW, 0.2)
    jaw = points((1.12, 0.25), (0.93, 0.5), (0.72, 0.82), (0.42, 0.86), (0, 0.8))
    outer = points((0, 1.8), (0.6, 1.7), (1.0, 1.2), (1.2, 0.5))
    half = np.concatenate([jaw, outer])
    beard = np.concatenate([half[:5], mirrored(half[:4])[::-1], mirrored(outer)[::-1], outer])
    mouth = smooth(points((-0.36, 1.04), (0, 0.94), (0.36, 1.04), (0.2, 1.2), (-0.2, 1.2)), closed=True)
    canvas.lay([beard], colour, holes=[mouth], opacity=0.1 + 0.5 * growth, blur=0.05, within=head)
    if growth > 0.3:
        _draw_stubble(canvas, colour, within=_shaven(canvas, beard, mouth, head), rng=rng)


def _shaven(canvas: Canvas, beard: Points, mouth: Points, head: Image.Image) -> Image.Image:
    inside = Image.new("L", head.size)
    inside.paste(head, (0, 0), canvas.mask([beard], holes=[mouth], blur=0.02))
    return inside


def _draw_stubble(canvas: Canvas, colour: Colour, *, within: Image.Image, rng: np.random.Generator) -> None:
    """Draw short hairs pointing down and outwards."""
    count = STUBBLE
    root = np.stack([rng.uniform(-1.1, 1.1, count), rng.uniform(0.3, 1.7, count)], axis=-1)
    lean = np.stack([0.06 * root[:, 0] + rng.normal(0, 0.02, count), np.full(count, 0.06)], axis=-1)
    hairs = ribbon(np.stack([root, root + lean], axis=1), 0.008)
    light = luminance(colour) > 0.3
    canvas.lay(list(hairs[::2]), scaled(colour, 0.75), opacity=0.55, within=within)
    canvas.lay(list(hairs[1::2]), scaled(colour, 1.15 if light else 1.5), opacity=0.4, within=within)
