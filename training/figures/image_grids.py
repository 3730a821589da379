"""Grids of images in groups, with enlarged eyes, and feature maps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from gate.pixels import Pixels
from training.figures.style import INK, RULE, WIDTH, styled

COLUMNS = 5
MAPS = 6
EYES = (0.2, 0.33, 0.8, 0.6)
"""Left, top, right and bottom of the eyes in an aligned portrait, as shares of its edge."""

# Inches.
_GAP = 0.1
_LINE = 0.17


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image, uint8 `[H, W, 3]`, and its caption; a marked image has a frame and enlarged eyes."""

    image: Pixels
    caption: str = ""
    colour: str = INK
    marked: bool = False

    def eyes(self) -> Pixels:
        """Cut out the eyes, uint8 `[h, w, 3]`."""
        left, top, right, bottom = (round(edge * len(self.image)) for edge in EYES)
        return self.image[top:bottom, left:right]


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """Images of one shape under a heading."""

    pictures: tuple[CaptionedImage, ...]
    heading: str = ""
    colour: str = INK
    columns: int = COLUMNS


@styled
def image_grid(groups: Sequence[ImageGroup]) -> Figure:
    """Show groups of images in rows; the enlarged eyes of marked images are below them."""
    return _stack([row for group in groups for row in _rows(group)])


def feature_maps(picture: CaptionedImage, blocks: Sequence[NDArray[np.floating]]) -> tuple[ImageGroup, ...]:
    """Arrange an image and, of each block, the maps `[h, w, filters]` with the largest variance."""
    edge = len(picture.image)
    groups = [ImageGroup((picture,), heading=f"input · {edge} x {edge}", columns=MAPS)]
    for number, maps in enumerate(blocks, start=1):
        height, width, filters = maps.shape
        strongest = np.argsort(-maps.std(axis=(0, 1)))[:MAPS]
        pictures = tuple(CaptionedImage(_coloured(maps[..., index])) for index in strongest)
        heading = f"block {number} · {height} x {width} · {filters} maps"
        groups.append(ImageGroup(pictures, heading=heading, columns=MAPS))
    return tuple(groups)


@dataclass(frozen=True, slots=True)
class _GridRow:
    """At most `columns` images of one shape with a heading; `boxed` draws a box around the eyes."""

    pictures: tuple[CaptionedImage, ...]
    heading: str = ""
    colour: str = INK
    columns: int = COLUMNS
    boxed: bool = False

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a picture."""
        width = (WIDTH - _GAP) / self.columns - _GAP
        high, wide = self.pictures[0].image.shape[:2]
        return width, width * high / wide

    @property
    def height(self) -> float:
        """Height of the row including the gap below."""
        lines = max(picture.caption.count("\n") + 1 if picture.caption else 0 for picture in self.pictures)
        return self.cell[1] + _LINE * (lines + 1.4 * bool(self.heading)) + _GAP


def _rows(group: ImageGroup) -> list[_GridRow]:
    rows: list[_GridRow] = []
    for are_marked, run in groupby(group.pictures, key=lambda picture: picture.marked):
        pictures = tuple(run)
        for start in range(0, len(pictures), group.columns):
            part = pictures[start : start + group.columns]
            rows += _marked(part, group.columns) if are_marked else [_GridRow(part, columns=group.columns)]
    return [replace(row, heading=group.heading, colour=group.colour) for row in rows[:1]] + rows[1:]


def _marked(pictures: tuple[CaptionedImage, ...], columns: int) -> list[_GridRow]:
    """Arrange faces, and below them their eyes with the captions."""
    faces = tuple(replace(picture, caption="") for picture in pictures)
    eyes = tuple(replace(picture, image=picture.eyes()) for picture in pictures)
    return [_GridRow(faces, columns=columns, boxed=True), _GridRow(eyes, columns=columns)]


def _stack(rows: Sequence[_GridRow]) -> Figure:
    """Stack the rows at computed positions; matplotlib's constrained layout takes seconds for this many axes."""
    height = sum(row.height for row in rows) + _GAP
    figure = Figure((WIDTH, height))
    top = height - _GAP
    for row in rows:
        _draw_row(figure, row, top)
        top -= row.height
    return figure


def _draw_row(figure: Figure, row: _GridRow, top: float) -> None:
    full = figure.get_figheight()
    if row.heading:
        figure.text(_GAP / WIDTH, top / full, row.heading, color=row.colour, va="top")
        top -= 1.4 * _LINE
    width, height = row.cell
    for column, picture in enumerate(row.pictures):
        left = _GAP + column * (width + _GAP)
        axes = figure.add_axes((left / WIDTH, (top - height) / full, width / WIDTH, height / full))
        _show(axes, picture)
        if row.boxed:
            _box_eyes(axes, picture)


def _show(axes: Axes, picture: CaptionedImage) -> None:
    axes.grid(False)
    axes.imshow(picture.image, aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(picture.caption, fontsize=9, color=picture.colour, labelpad=3)
    for spine in axes.spines.values():
        spine.set(
            visible=True, color=picture.colour if picture.marked else RULE, linewidth=1.6 if picture.marked else 0.6
        )


def _box_eyes(axes: Axes, picture: CaptionedImage) -> None:
    left, top, right, bottom = (edge * len(picture.image) for edge in EYES)
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=picture.colour))


def _coloured(values: NDArray[np.floating]) -> Pixels:
    """Scale a map, `[h, w]`, to its range, in a colour map for the colour-blind."""
    spread = np.ptp(values)
    shade = (values - values.min()) / spread if spread else np.zeros_like(values)
    return np.asarray(mpl.colormaps["cividis"](shade)[..., :3] * 255, np.uint8)
