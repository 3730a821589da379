"""Curves in head units, and the pose that carries them onto the picture.

Head units: the origin lies midway between the eyes, one unit is the distance between the pupils, x grows to the
right and y grows downwards. A chin lies near y = 1.6, the top of a skull near y = -1.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]

SPAN_POINTS = 8
ELLIPSE_CORNERS = 40
# Beyond this |x| the surface faces away from the viewer, and a turn does not move it sideways.
TURN_REACH = 1.25


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head is: `centre` and `scale` in pixels, `roll` in radians, `turn` in head units at the nose."""

    centre: tuple[float, float]
    scale: float
    roll: float
    turn: float

    def place(self, points: Points) -> Points:
        """Return the pixels `(..., 2)` of points `(..., 2)` in head units."""
        x, y = points[..., 0], points[..., 1]
        x = x + self.turn * _facing(x)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        placed = np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
        return np.asarray(placed * self.scale + np.asarray(self.centre))

    def locate(self, pixels: Points) -> Points:
        """Invert `place`: return the head units `(..., 2)` of pixels `(..., 2)`."""
        x, y = np.moveaxis((pixels - np.asarray(self.centre)) / self.scale, -1, 0)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        turned, y = x * cos + y * sin, y * cos - x * sin
        x = turned
        for _ in range(3):  # A turn is small, so that the fixed point is reached to a thousandth by then.
            x = turned - self.turn * _facing(x)
        return np.stack([x, y], axis=-1)


def _facing(x: Points) -> Points:
    return np.asarray(np.maximum(0.0, 1.0 - (x / TURN_REACH) ** 2))


def points(*pairs: tuple[float, float]) -> Points:
    """Return N pairs as an array `(N, 2)`."""
    return np.array(pairs, dtype=np.float64)


def smooth(control: ArrayLike, *, closed: bool = False) -> Points:
    """Return a Catmull-Rom curve `(M, 2)` through the control points `(N, 2)`, with `SPAN_POINTS` points a span."""
    knots = np.asarray(control, dtype=np.float64)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.arange(SPAN_POINTS)[None, :, None] / SPAN_POINTS
    before, start, end, after = (knot[:, None, :] for knot in (before, start, end, after))
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    spans = curve.reshape(-1, 2)
    return np.asarray(spans if closed else np.concatenate([spans, knots[-1:]]))


def moved(shape: Points, right: float, down: float) -> Points:
    """Return the shape, `(..., 2)`, elsewhere."""
    return np.asarray(shape + np.array([right, down]))


def mirrored(shape: Points) -> Points:
    """Return the shape, `(..., 2)`, on the other side of the face."""
    return np.asarray(shape * np.array([-1.0, 1.0]))


def symmetric(half: Points) -> Points:
    """Return a closed outline `(M, 2)` from its right half `(N, 2)`, listed from top to bottom."""
    # A point on the axis is its own mirror image; twice in a row it would be a kink.
    return np.concatenate([half, mirrored(half[half[:, 0] != 0])[::-1]])


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> Points:
    """Return an ellipse as a polygon `(ELLIPSE_CORNERS, 2)`."""
    angle = np.linspace(0.0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=-1)


def ribbon(lines: Points, width: ArrayLike) -> Points:
    """Return outlines `(..., 2 K, 2)` of brush strokes along lines `(..., K, 2)`; `width` is a number or `(..., K)`."""
    along = np.gradient(lines, axis=-2)
    length = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1) / length
    half = np.broadcast_to(np.asarray(width, dtype=np.float64) / 2, lines.shape[:-1])[..., None]
    return np.concatenate([lines + across * half, (lines - across * half)[..., ::-1, :]], axis=-2)


def taper(count: int, *, tip: float = 0.1, root: float = 1.0) -> Points:
    """Return the relative widths `(count,)` of a brush stroke that ends thin."""
    t = np.linspace(0.0, 1.0, count)
    return np.asarray(root * (1 - t) + tip * t + 0.6 * np.sin(np.pi * t) * (1 - root * 0.5))


def resample(line: Points, count: int) -> Points:
    """Return points `(count, 2)` at even distances along a line `(N, 2)`."""
    distance = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    wanted = np.linspace(0.0, distance[-1], count)
    return np.stack([np.interp(wanted, distance, line[:, axis]) for axis in (0, 1)], axis=-1)


def stacked(lines: Sequence[Points], count: int) -> Points:
    """Resample lines of any length to one array `(len(lines), count, 2)`."""
    return np.stack([resample(line, count) for line in lines])
