"""Grids of images: by label, by prediction, with enlarged eyes, and feature maps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from gate.pixels import Pixels
from training.figures.style import GLASSES, INK, NO_GLASSES, RULE, WIDTH, styled

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


@styled
def label_grid(glasses: Pixels, no_glasses: Pixels) -> Figure:
    """Show examples of both labels, uint8 `[N, S, S, 3]` each, each with a heading."""
    rows: list[_GridRow] = []
    for name, colour, images in (("glasses", GLASSES, glasses), ("no glasses", NO_GLASSES, no_glasses)):
        rows += _headed(_rows([CaptionedImage(image) for image in images]), name, colour)
    return _stack(rows)


@styled
def picture_grid(pictures: Sequence[CaptionedImage], *, heading: str = "") -> Figure:
    """Show images with captions of a few short lines."""
    return _stack(_headed(_rows(pictures), heading))


@styled
def prediction_grid(pictures: Sequence[CaptionedImage]) -> Figure:
    """Show predictions: confident ones first, then marked ones, framed, with the eyes enlarged below."""
    rows = _rows([picture for picture in pictures if not picture.marked])
    for row in _rows([picture for picture in pictures if picture.marked]):
        faces = tuple(replace(picture, caption="") for picture in row.pictures)
        eyes = tuple(replace(picture, image=_eyes(picture.image)) for picture in row.pictures)
        rows += [replace(row, pictures=faces, boxed=True), replace(row, pictures=eyes)]
    return _stack(rows)


@styled
def feature_maps(image: Pixels, blocks: Sequence[NDArray[np.floating]]) -> Figure:
    """Show an image, uint8 `[S, S, 3]`, and the maps, `[h, w, filters]`, of each block with the largest variance."""
    rows = [_GridRow((CaptionedImage(image),), heading=f"input · {len(image)} x {len(image)}", columns=MAPS)]
    for number, maps in enumerate(blocks, start=1):
        height, width, filters = maps.shape
        strongest = np.argsort(-maps.std(axis=(0, 1)))[:MAPS]
        pictures = tuple(CaptionedImage(_coloured(maps[..., index])) for index in strongest)
        heading = f"block {number} · {height} x {width} · {filters} maps"
        rows.append(_GridRow(pictures, heading=heading, columns=MAPS))
    return _stack(rows)


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


def _rows(pictures: Sequence[CaptionedImage]) -> list[_GridRow]:
    return [_GridRow(tuple(pictures[start : start + COLUMNS])) for start in range(0, len(pictures), COLUMNS)]


def _headed(rows: list[_GridRow], heading: str, colour: str = INK) -> list[_GridRow]:
    return [replace(row, heading=heading, colour=colour) for row in rows[:1]] + rows[1:]


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


def _eyes(image: Pixels) -> Pixels:
    left, top, right, bottom = (round(edge * len(image)) for edge in EYES)
    return image[top:bottom, left:right]


def _coloured(values: NDArray[np.floating]) -> Pixels:
    """Scale a map, `[h, w]`, to its range, in a colour map for the colour-blind."""
    spread = np.ptp(values)
    shade = (values - values.min()) / spread if spread else np.zeros_like(values)
    return np.asarray(mpl.colormaps["cividis"](shade)[..., :3] * 255, np.uint8)
