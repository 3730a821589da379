"""Light on a head: a height field, its normals, and the brightness they give under one lamp.

Brightness varies slowly, so that all of it is computed on a grid a quarter as fine as the picture and enlarged.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.drawing.geometry import Points, Pose
from training.drawing.person import Person

COARSENESS = 4
SKULL = (
    1.22,
    0.05,
    1.85,
    1.25,
)  # Half-width, centre's y, half-height and depth of the ellipsoid, head units.

# x, y, spread in x, spread in y, height; all but x = 0 on both sides of the face.
BUMPS = (
    (0.46, -0.06, 0.24, 0.13, -0.12),  # eye sockets
    (0.50, 0.01, 0.14, 0.10, 0.05),  # eyeballs
    (0.45, -0.33, 0.34, 0.09, 0.05),  # brow ridges
    (0.62, 0.52, 0.28, 0.24, 0.10),  # cheeks
    (0.17, 0.62, 0.07, 0.08, 0.07),  # wings of the nose
    (0.00, 0.58, 0.10, 0.09, 0.10),  # tip of the nose
    (0.00, 1.05, 0.38, 0.22, 0.09),  # the teeth behind the lips
    (0.00, 1.26, 0.22, 0.06, -0.05),  # below the lower lip
    (0.00, 1.48, 0.20, 0.14, 0.09),  # chin
    (0.38, -0.85, 0.35, 0.25, 0.03),  # forehead
)


@dataclass(frozen=True, slots=True)
class Relief:
    """Head units `(h, w, 2)` of a coarse grid, and on it the diffuse and the glossy light, each `(h, w)`."""

    where: Points
    diffuse: Points
    gloss: Points


def light_head(person: Person, pose: Pose, *, size: int) -> Relief:
    """Compute the light on this person's head in this pose, for a picture of `size` pixels."""
    cells = size // COARSENESS
    rows, columns = np.mgrid[0:cells, 0:cells].astype(np.float64) * COARSENESS + COARSENESS / 2
    where = pose.locate(np.stack([columns, rows], axis=-1))
    normals = _normals(_height(where), spacing=COARSENESS / pose.scale)
    halfway = person.light + np.array([0.0, 0.0, 1.0])
    halfway = halfway / np.linalg.norm(halfway)
    diffuse = np.maximum(0.0, normals @ person.light)
    return Relief(where, diffuse, np.maximum(0.0, normals @ halfway) ** 24)


def bump(where: Points, centre: tuple[float, float], spread: tuple[float, float]) -> Points:
    """Return a Gaussian `(h, w)` of height 1 at head units `where` `(h, w, 2)`."""
    across = (where[..., 0] - centre[0]) / spread[0]
    down = (where[..., 1] - centre[1]) / spread[1]
    return np.asarray(np.exp(-0.5 * (across * across + down * down)))


def enlarged(colours: Points, size: int) -> Image.Image:
    """Return a coarse grid `(h, w, 3)` of 0..255 as an RGB picture of `size` pixels."""
    coarse = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    return coarse.resize((size, size), Image.Resampling.BILINEAR)


def _height(where: Points) -> Points:
    half_width, middle, half_height, depth = SKULL
    x, y = where[..., 0], where[..., 1]
    inside = 1.0 - (x / half_width) ** 2 - ((y - middle) / half_height) ** 2
    height = depth * np.sqrt(np.maximum(inside, 0.02)) + _nose(x, y)
    for at, down, wide, tall, high in BUMPS:
        for side in (-1, 1) if at else (1,):
            height = height + high * bump(where, (side * at, down), (wide, tall))
    return np.asarray(height)


def _nose(x: Points, y: Points) -> Points:
    rise = np.interp(y, [-0.25, 0.0, 0.55, 0.66, 0.78], [0.0, 0.06, 0.2, 0.16, 0.0])
    spread = np.interp(y, [-0.2, 0.6], [0.085, 0.15])
    return np.asarray(rise * np.exp(-0.5 * (x / spread) ** 2))


def _normals(height: Points, *, spacing: float) -> Points:
    down, across = np.gradient(height, spacing)
    normals = np.stack([-across, -down, np.ones_like(height)], axis=-1)
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True))
