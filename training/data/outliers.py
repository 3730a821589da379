"""Generate outliers: images that are not portraits, for which the gate must not be confident.

Each maker takes portraits, uint8 `[N, S, S, 3]`, and returns as many images of the same shape. Makers of patterns use
only the number and size of the portraits.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from gate.pixels import Pixels, area_average

Random = np.random.Generator
OutlierMaker = Callable[[Pixels, Random], Pixels]

_LETTERS = "abcdefghijklmnopqrstuvwxyz     ABCDEFGHIJKLMNOPQRSTUVWXYZ,.;0123456789"
_SHIPPED_PHOTOGRAPHS = (
    "brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg",
    "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
_SHIPPED_DRAWINGS = ("chessboard_GRAY.png", "clock_motion.png", "color.png", "horse.png", "logo.png", "phantom.png")
_SHIPPED_TEXT = ("page.png", "text.png")


def _black(faces: Pixels, _rng: Random) -> Pixels:
    return np.zeros_like(faces)


def _white(faces: Pixels, _rng: Random) -> Pixels:
    return np.full_like(faces, 255)


def _one_colour(faces: Pixels, rng: Random) -> Pixels:
    return np.broadcast_to(rng.integers(0, 256, (len(faces), 1, 1, 3), np.uint8), faces.shape).copy()


def _noise(faces: Pixels, rng: Random) -> Pixels:
    """Noise of several grain sizes, because fine noise becomes nearly grey when an image is reduced."""
    return np.stack([_grain(face.shape[0], rng) for face in faces])


def _grain(size: int, rng: Random) -> Pixels:
    grain, spread = int(rng.choice([1, 1, 2, 4, 8])), rng.uniform(3, 80)
    channels = int(rng.choice([1, 3]))
    coarse = rng.normal(rng.uniform(60, 200), spread, (-(-size // grain), -(-size // grain), channels))
    fine = np.kron(coarse, np.ones((grain, grain, 1)))[:size, :size]
    return _levels(np.broadcast_to(fine, (size, size, 3)))


def _gradients(faces: Pixels, rng: Random) -> Pixels:
    return np.stack([_gradient(face.shape[0], rng) for face in faces])


def _gradient(size: int, rng: Random) -> Pixels:
    """Blend two colours along a line or radially from a point."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle, centre = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4, 2)
    along = x * np.cos(angle) + y * np.sin(angle) + 0.5
    outwards = np.hypot(x - centre[0], y - centre[1]) * 1.4
    share = np.clip(along if rng.random() < 0.6 else outwards, 0, 1)[..., None]
    one, other = rng.uniform(0, 255, (2, 3))
    return _levels(one * (1 - share) + other * share)


def _text(faces: Pixels, rng: Random) -> Pixels:
    return np.stack([_written(face.shape[0], rng) for face in faces])


def _written(size: int, rng: Random) -> Pixels:
    edge = size * 4
    dark, light = rng.integers(0, 110, 3), rng.integers(150, 256, 3)
    ink, paper = (dark, light) if rng.random() < 0.75 else (light, dark)
    image = Image.new("RGB", (edge, edge), tuple(int(level) for level in paper))
    draw = ImageDraw.Draw(image)
    height = float(rng.uniform(0.06, 0.3)) * edge
    font = ImageFont.load_default(size=height)
    for top in np.arange(rng.uniform(-0.5, 0.5) * height, edge, height * rng.uniform(1.1, 1.7)):
        line = "".join(rng.choice(list(_LETTERS), 40))
        draw.text((int(rng.integers(-20, 20)), int(top)), line, tuple(int(level) for level in ink), font=font)
    return area_average(np.asarray(image), size)


def _drawings(faces: Pixels, rng: Random) -> Pixels:
    return np.stack([_drawn(face.shape[0], rng) for face in faces])


def _drawn(size: int, rng: Random) -> Pixels:
    """Draw random lines, ellipses, polygons and rectangles in random colours."""
    edge = size * 4
    image = Image.new("RGB", (edge, edge), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 14))):
        left, top, right, bottom = _box(rng, edge)
        width, colour = int(rng.integers(2, edge // 12)), _colour(rng)
        shape = int(rng.integers(4))
        if shape == 0:
            draw.line((left, top, right, bottom), colour, width)
        elif shape == 1:
            draw.ellipse((left, top, right, bottom), outline=colour, width=width)
        elif shape == 2:
            draw.polygon([_point(rng, edge) for _ in range(int(rng.integers(3, 7)))], fill=colour)
        else:
            draw.rectangle((left, top, right, bottom), fill=colour)
    return area_average(np.asarray(image), size)


def _upside_down(faces: Pixels, _rng: Random) -> Pixels:
    return faces[:, ::-1, ::-1]


def _flipped(faces: Pixels, _rng: Random) -> Pixels:
    return faces[:, ::-1]


def _turned(faces: Pixels, rng: Random) -> Pixels:
    """Rotate by 90 degrees, in either direction."""
    turns = rng.choice([1, 3], len(faces))
    return np.stack([np.rot90(face, turn) for face, turn in zip(faces, turns, strict=True)])


def _blurred(faces: Pixels, rng: Random) -> Pixels:
    """Blur until glasses cannot be recognised: a Gaussian radius of at least a ninth of the edge."""
    return _gaussian(faces, rng.uniform(0.11, 0.25, len(faces)))


def _lightly_blurred(faces: Pixels, rng: Random) -> Pixels:
    """Blur until thin frames vanish, while the face remains: a Gaussian radius of 1.6 % to 6 % of the edge."""
    return _gaussian(faces, rng.uniform(0.016, 0.06, len(faces)))


def _gaussian(faces: Pixels, radii: np.ndarray) -> Pixels:
    """Blur each face with a Gaussian radius, `[N]` in shares of the edge."""
    pixels = radii * faces.shape[1]
    return np.stack(
        [_levels(ndimage.gaussian_filter(face.astype(np.float32), (radius, radius, 0), mode="nearest"))
         for face, radius in zip(faces, pixels, strict=True)]
    )  # fmt: skip


def _shifted(faces: Pixels, rng: Random) -> Pixels:
    """Move the face by 20 % to 45 % of the edge, so that eyes or temples leave the image."""
    return np.stack([_moved(face, rng) for face in faces])


def _moved(face: Pixels, rng: Random) -> Pixels:
    size = face.shape[0]
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.45) * size
    down, right = round(distance * np.sin(angle)), round(distance * np.cos(angle))
    mode = ("edge", "reflect", "constant")[int(rng.integers(3))]
    padded = np.pad(face, ((size // 2, size // 2), (size // 2, size // 2), (0, 0)), mode=mode)  # type: ignore[call-overload]
    top, left = size // 2 - down, size // 2 - right
    moved: Pixels = padded[top : top + size, left : left + size]
    return moved


def _half_covered(faces: Pixels, rng: Random) -> Pixels:
    """Cover the left, right, upper or lower half with a colour, noise or a gradient."""
    covers = [_one_colour, _noise, _gradients, _black, _white]
    covered = faces.copy()
    for index in range(len(faces)):
        cover = covers[int(rng.integers(len(covers)))](faces[index : index + 1], rng)[0]
        where = _half(faces.shape[1], int(rng.integers(4)), rng.uniform(0.45, 0.6))
        covered[index][where] = cover[where]
    return covered


def _rows_swapped(faces: Pixels, rng: Random) -> Pixels:
    """Shuffle strips of rows or of columns."""
    return np.stack([_shuffled_strips(face, int(rng.choice([2, 4, 8])), int(rng.integers(2)), rng) for face in faces])


def _shuffled_strips(face: Pixels, count: int, axis: int, rng: Random) -> Pixels:
    strips = np.split(face, count, axis=axis)
    return np.concatenate([strips[index] for index in _derangement(count, rng)], axis=axis)


def _blocks_swapped(faces: Pixels, rng: Random) -> Pixels:
    return np.stack([_shuffled_blocks(face, int(rng.choice([2, 4, 8])), rng) for face in faces])


def _shuffled_blocks(face: Pixels, count: int, rng: Random) -> Pixels:
    size = face.shape[0]
    edge = size // count
    blocks = face.reshape(count, edge, count, edge, 3).swapaxes(1, 2).reshape(-1, edge, edge, 3)
    order = _derangement(count * count, rng)
    shuffled: Pixels = blocks[order].reshape(count, count, edge, edge, 3).swapaxes(1, 2).reshape(size, size, 3)
    return shuffled


def _close_crops(faces: Pixels, rng: Random) -> Pixels:
    """Enlarge a patch of a portrait: hair, cheek, cloth or background, a photograph without a face."""
    return np.stack([_enlarged(face, rng) for face in faces])


def _enlarged(face: Pixels, rng: Random) -> Pixels:
    size = face.shape[0]
    edge = int(size * rng.uniform(0.15, 0.4))
    top, left = rng.integers(0, size - edge, 2)
    # An enlarged patch from the centre may still show two eyes, so patches touch the border.
    if rng.random() < 0.5:
        top = int(rng.choice([0, size - edge]))
    else:
        left = int(rng.choice([0, size - edge]))
    patch = Image.fromarray(np.ascontiguousarray(face[top : top + edge, left : left + edge]))
    return np.asarray(patch.resize((size, size), Image.Resampling.BICUBIC))


def _tiled(faces: Pixels, rng: Random) -> Pixels:
    """Tile four portraits into one image."""
    half = faces.shape[1] // 2
    small = np.stack([area_average(face, half) for face in faces])
    parts = [small[rng.permutation(len(faces))] for _ in range(4)]
    return np.concatenate([np.concatenate(parts[:2], axis=2), np.concatenate(parts[2:], axis=2)], axis=1)


def _two_halves(faces: Pixels, rng: Random) -> Pixels:
    """Join the left half of one portrait and the right half of another."""
    joined = faces.copy()
    middle = faces.shape[1] // 2
    joined[:, :, middle:] = faces[_derangement(len(faces), rng)][:, :, middle:]
    return joined


def _half_generated(faces: Pixels, rng: Random) -> Pixels:
    """Blur one half, like a frame that was read before the generator finished it."""
    blurred = _blurred(faces, rng)
    done = faces.copy()
    for index in range(len(faces)):
        where = _half(faces.shape[1], int(rng.integers(2)), 0.5)
        done[index][where] = blurred[index][where]
    return done


def _shipped(names: Sequence[str]) -> OutlierMaker:
    """Crop random squares from pictures that ship with scikit-image and scikit-learn."""

    def cut(faces: Pixels, rng: Random) -> Pixels:
        pictures = [_picture(name) for name in names]
        chosen = rng.integers(len(pictures), size=len(faces))
        return np.stack([_square(pictures[index], faces.shape[1], rng) for index in chosen])

    return cut


@cache
def _picture(name: str) -> Pixels:
    if name in ("china.jpg", "flower.jpg"):
        return np.asarray(sklearn.datasets.load_sample_image(name))
    return np.asarray(Image.open(Path(skimage.data.data_dir) / name).convert("RGB"))


def _square(picture: Pixels, size: int, rng: Random) -> Pixels:
    least = min(picture.shape[:2])
    edge = int(least * rng.uniform(max(size / least, 0.4), 1.0)) if least > size else least
    top, left = (int(rng.integers(0, length - edge + 1)) for length in picture.shape[:2])
    cut = np.ascontiguousarray(picture[top : top + edge, left : left + edge])
    if edge < size:
        return np.asarray(Image.fromarray(cut).resize((size, size), Image.Resampling.BICUBIC))
    return area_average(cut, size)


LEARNED: Mapping[str, OutlierMaker] = {
    "black": _black,
    "white": _white,
    "one colour": _one_colour,
    "noise": _noise,
    "gradients": _gradients,
    "text": _text,
    "drawings": _drawings,
    "upside down": _upside_down,
    "flipped": _flipped,
    "turned by 90 degrees": _turned,
    "blurred": _blurred,
    "lightly blurred": _lightly_blurred,
    "shifted": _shifted,
    "two halves of different people": _two_halves,
    "half covered": _half_covered,
    "rows swapped": _rows_swapped,
    "blocks swapped": _blocks_swapped,
    "close crops": _close_crops,
    "four in one": _tiled,
}
"""Outliers to fit the novelty score with; photographs are held out for evaluation."""

JUDGED: Mapping[str, OutlierMaker] = {
    **{kind: make for kind, make in LEARNED.items() if kind not in ("flipped", "close crops", "four in one")},
    "text, printed": _shipped(_SHIPPED_TEXT),
    "drawings, shipped": _shipped(_SHIPPED_DRAWINGS),
    "photographs": _shipped((*_SHIPPED_PHOTOGRAPHS, "china.jpg", "flower.jpg")),
    "half generated": _half_generated,
}
"""Outliers to evaluate the gate with, made from test portraits.

Light blur, two halves and a half generated face resemble portraits, and are only partly detectable.
"""


def make_outliers(faces: Pixels, kinds: Mapping[str, OutlierMaker], *, seed: int) -> dict[str, Pixels]:
    """Generate one image of every kind per face, uint8 `[N, S, S, 3]`; equal seeds give equal images."""
    return {
        kind: np.ascontiguousarray(make(faces, np.random.default_rng([seed, index])))
        for index, (kind, make) in enumerate(kinds.items())
    }


def _levels(values: np.ndarray) -> Pixels:
    levels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _colour(rng: Random) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
    return red, green, blue


def _point(rng: Random, edge: int) -> tuple[int, int]:
    x, y = (int(value) for value in rng.integers(0, edge, 2))
    return x, y


def _box(rng: Random, edge: int) -> tuple[int, int, int, int]:
    (left, right), (top, bottom) = np.sort(rng.integers(0, edge, (2, 2)), axis=1).tolist()
    return left, top, right, bottom


def _half(size: int, side: int, share: float) -> tuple[slice, ...]:
    cut = round(size * share)
    ends = (slice(cut, None), slice(None, size - cut))
    return (ends[side % 2],) if side < 2 else (slice(None), ends[side % 2])


def _derangement(count: int, rng: Random) -> np.ndarray:
    """Return a permutation without fixed points: one random cycle through all indices."""
    cycle = rng.permutation(count)
    order = np.empty(count, np.int64)
    order[cycle] = np.roll(cycle, 1)
    return order
