"""Draw backgrounds: plain walls, gradients, out-of-focus rooms and gardens."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.drawing.colour import Colour, mix, pick, scaled

CELLS = 128  # Everything is out of focus, so an enlarged coarse picture is enough.
WALLS: Sequence[Colour] = (
    (236, 236, 234), (205, 198, 188), (150, 158, 166), (92, 98, 104), (58, 62, 72),
    (178, 164, 148), (120, 140, 156), (196, 176, 160), (34, 34, 38), (140, 110, 96),
)  # fmt: skip
GARDEN: Sequence[Colour] = (
    (60, 92, 44),
    (104, 138, 66),
    (156, 176, 96),
    (40, 58, 36),
    (196, 208, 160),
    (150, 132, 90),
)
ROOM: Sequence[Colour] = (
    (120, 96, 74),
    (64, 54, 50),
    (196, 180, 160),
    (158, 126, 92),
    (84, 92, 110),
    (220, 214, 200),
)
NIGHT: Sequence[Colour] = (
    (18, 18, 30),
    (40, 30, 52),
    (210, 150, 70),
    (90, 60, 110),
    (30, 44, 70),
    (230, 200, 150),
)


def draw_background(rng: np.random.Generator, *, size: int) -> Image.Image:
    """Draw an out-of-focus RGB picture of `size` by `size` pixels."""
    kinds: Sequence[Callable[[np.random.Generator], Image.Image]] = (
        _gradient,
        _gradient,
        _garden,
        _room,
        _night,
    )
    coarse = kinds[int(rng.integers(len(kinds)))](rng)
    return coarse.resize((size, size), Image.Resampling.BICUBIC)


def _gradient(rng: np.random.Generator) -> Image.Image:
    first = pick(rng, WALLS)
    second = mix(scaled(first, float(rng.uniform(0.6, 1.15))), pick(rng, WALLS), float(rng.uniform(0, 0.3)))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:CELLS, 0:CELLS] / CELLS - 0.5
    across = np.clip(columns * np.cos(angle) + rows * np.sin(angle) + 0.5, 0, 1)
    glow = np.exp(-4 * (columns**2 + rows**2)) * rng.uniform(0, 0.5)
    share = np.clip(across * (1 - glow), 0, 1)[..., None]
    return Image.fromarray((np.array(first) * (1 - share) + np.array(second) * share).astype(np.uint8))


def _garden(rng: np.random.Generator) -> Image.Image:
    return _blobs(rng, GARDEN, count=90, blur=float(rng.uniform(2, 7)), largest=22)


def _night(rng: np.random.Generator) -> Image.Image:
    return _blobs(rng, NIGHT, count=34, blur=float(rng.uniform(1.5, 5)), largest=16)


def _blobs(
    rng: np.random.Generator, colours: Sequence[Colour], *, count: int, blur: float, largest: float
) -> Image.Image:
    image = Image.new("RGB", (CELLS, CELLS), pick(rng, colours[:2]))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.uniform(0, CELLS, size=2)
        radius = rng.uniform(2, largest)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_varied(rng, colours))
    return image.filter(ImageFilter.GaussianBlur(blur))


def _room(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (CELLS, CELLS), _varied(rng, ROOM))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 12))):
        x, y = rng.uniform(-0.2 * CELLS, CELLS, size=2)
        wide, tall = rng.uniform(0.05, 0.7, size=2) * CELLS
        draw.rectangle((x, y, x + wide, y + tall), fill=_varied(rng, ROOM))
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 6))))


def _varied(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    return scaled(pick(rng, colours), float(rng.uniform(0.75, 1.15)))
