"""The picture being drawn: antialiased, optionally blurred shapes laid on it in head units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.drawing.colour import Colour
from training.drawing.geometry import Points, Pose, ribbon

# Pixels of a mask for one of the picture, by the least blur in pixels that hides so coarse a mask.
FINENESS = ((12.0, 0.25), (2.0, 1.0), (0.0, 4.0))
GRID = 4  # Masks begin at multiples of this, so that the coarsest ones lie on whole pixels.
BLUR_REACH = 2.6  # A Gaussian is below 1 % of a step edge this many radii away.


@dataclass(frozen=True, slots=True)
class Stencil:
    """A mask (mode L) and the pixel its top left corner lies on."""

    mask: Image.Image
    corner: tuple[int, int]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, upper, right, lower in pixels of the picture."""
        left, upper = self.corner
        return left, upper, left + self.mask.width, upper + self.mask.height


@dataclass(frozen=True, slots=True)
class Canvas:
    """An RGB picture and the pose of the head on it. Lengths are in head units, opacities 0..1."""

    image: Image.Image
    pose: Pose

    @property
    def size(self) -> int:
        """Width and height in pixels."""
        return self.image.width

    def fill(
        self,
        shape: Points,
        colour: Colour,
        *,
        opacity: float = 1.0,
        blur: float = 0.0,
        within: Image.Image | None = None,
    ) -> None:
        """Lay a polygon `(N, 2)` in one colour over the picture; `within` is a mask as large as the picture."""
        self.lay([shape], colour, opacity=opacity, blur=blur, within=within)

    def stroke(
        self,
        line: Points,
        colour: Colour,
        *,
        width: ArrayLike,
        opacity: float = 1.0,
        blur: float = 0.0,
        within: Image.Image | None = None,
    ) -> None:
        """Lay a brush stroke along a line `(N, 2)`; `width` is one number or `(N,)`."""
        self.fill(ribbon(line, width), colour, opacity=opacity, blur=blur, within=within)

    def lay(
        self,
        shapes: Sequence[Points],
        colour: Colour | Image.Image,
        *,
        holes: Sequence[Points] = (),
        opacity: float = 1.0,
        blur: float = 0.0,
        within: Image.Image | None = None,
    ) -> None:
        """Lay polygons without their holes over the picture, in a colour or with another picture of its size."""
        stencil = self.stencil(shapes, holes=holes, blur=blur)
        if stencil is None:
            return
        mask = stencil.mask
        if within is not None:
            mask = ImageChops.multiply(mask, within.crop(stencil.box))
        if opacity < 1.0:
            mask = mask.point([round(level * opacity) for level in range(256)])
        source = colour.crop(stencil.box) if isinstance(colour, Image.Image) else colour
        self.image.paste(source, stencil.box, mask)

    def mask(self, shapes: Sequence[Points], *, holes: Sequence[Points] = (), blur: float = 0.0) -> Image.Image:
        """Return a mask (mode L) as large as the picture: polygons without their holes."""
        mask = Image.new("L", self.image.size)
        stencil = self.stencil(shapes, holes=holes, blur=blur)
        if stencil is not None:
            mask.paste(stencil.mask, stencil.box)
        return mask

    def stencil(self, shapes: Sequence[Points], *, holes: Sequence[Points] = (), blur: float = 0.0) -> Stencil | None:
        """Return the polygons without their holes, cut to where they touch the picture; None if they do not."""
        placed = [self.pose.place(shape) for shape in shapes]
        radius = blur * self.pose.scale
        corners = np.concatenate(placed)
        margin = radius * BLUR_REACH + GRID
        first, last = corners.min(axis=0) - margin, corners.max(axis=0) + margin
        left, upper = (np.clip(first, 0, self.size) // GRID * GRID).astype(int).tolist()
        right, lower = (np.clip(-(-last // GRID) * GRID, 0, self.size)).astype(int).tolist()
        if right <= left or lower <= upper:
            return None
        levels = [(polygon - (left, upper), 255) for polygon in placed]
        levels += [(self.pose.place(hole) - (left, upper), 0) for hole in holes]
        return Stencil(_mask_of(levels, size=(right - left, lower - upper), radius=radius), (left, upper))


def _mask_of(levels: Sequence[tuple[Points, int]], *, size: tuple[int, int], radius: float) -> Image.Image:
    """Return a mask of this size: polygons in pixels, each with its level, one over the other."""
    fineness = next(fineness for least, fineness in FINENESS if radius >= least)
    mask = Image.new("L", (math.ceil(size[0] * fineness), math.ceil(size[1] * fineness)))
    draw = ImageDraw.Draw(mask)
    for polygon, level in levels:
        draw.polygon((polygon * fineness).ravel().tolist(), fill=level)
    if fineness > 1:
        return blurred(mask.reduce(int(fineness)), radius)
    mask = blurred(mask, radius * fineness)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """Return the image after a Gaussian blur of `radius` pixels; itself for 0."""
    return image.filter(ImageFilter.GaussianBlur(radius)) if radius > 0 else image
