"""Pictures of faces: by label, by prediction, with the eyes enlarged, and as the network's blocks see them."""

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
    """An image, uint8 `[H, W, 3]`, with what is written under it; a marked one has a frame, and its eyes enlarged."""

    image: Pixels
    caption: str = ""
    colour: str = INK
    marked: bool = False


@styled
def label_grid(glasses: Pixels, no_glasses: Pixels) -> Figure:
    """Examples of both labels, uint8 `[N, S, S, 3]` each, under a heading each."""
    rows: list[_GridRow] = []
    for name, colour, images in (("glasses", GLASSES, glasses), ("no glasses", NO_GLASSES, no_glasses)):
        rows += _headed(_rows([CaptionedImage(image) for image in images]), name, colour)
    return _stack(rows)


@styled
def picture_grid(pictures: Sequence[CaptionedImage], *, heading: str = "") -> Figure:
    """Pictures, each over its caption of a few short lines."""
    return _stack(_headed(_rows(pictures), heading))


@styled
def prediction_grid(pictures: Sequence[CaptionedImage]) -> Figure:
    """Predictions: those that are sure first, then the marked ones, framed, each with its eyes enlarged below it."""
    rows = _rows([picture for picture in pictures if not picture.marked])
    for row in _rows([picture for picture in pictures if picture.marked]):
        faces = tuple(replace(picture, caption="") for picture in row.pictures)
        eyes = tuple(replace(picture, image=_eyes(picture.image)) for picture in row.pictures)
        rows += [replace(row, pictures=faces, boxed=True), replace(row, pictures=eyes)]
    return _stack(rows)


@styled
def feature_maps(image: Pixels, blocks: Sequence[NDArray[np.floating]]) -> Figure:
    """An image, uint8 `[S, S, 3]`, and for each block those of its maps, `[h, w, filters]`, that vary most over it."""
    rows = [_GridRow((CaptionedImage(image),), heading=f"the image · {len(image)} x {len(image)}", columns=MAPS)]
    for number, maps in enumerate(blocks, start=1):
        height, width, filters = maps.shape
        strongest = np.argsort(-maps.std(axis=(0, 1)))[:MAPS]
        pictures = tuple(CaptionedImage(_coloured(maps[..., index])) for index in strongest)
        heading = f"block {number} · {height} x {width} · {filters} maps"
        rows.append(_GridRow(pictures, heading=heading, columns=MAPS))
    return _stack(rows)


@dataclass(frozen=True, slots=True)
class _GridRow:
    """At most `columns` pictures of one shape, a heading above them; `boxed`: a box around the eyes of each."""

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
        """Of all of it, the gap below included."""
        lines = max(picture.caption.count("\n") + 1 if picture.caption else 0 for picture in self.pictures)
        return self.cell[1] + _LINE * (lines + 1.4 * bool(self.heading)) + _GAP


def _rows(pictures: Sequence[CaptionedImage]) -> list[_GridRow]:
    return [_GridRow(tuple(pictures[start : start + COLUMNS])) for start in range(0, len(pictures), COLUMNS)]


def _headed(rows: list[_GridRow], heading: str, colour: str = INK) -> list[_GridRow]:
    return [replace(row, heading=heading, colour=colour) for row in rows[:1]] + rows[1:]


def _stack(rows: Sequence[_GridRow]) -> Figure:
    """One row under the other. Each place is computed: a layout that is solved for takes seconds for so many."""
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
    """One map, `[h, w]`, from its least to its greatest value, in colours that everyone tells apart."""
    spread = np.ptp(values)
    shade = (values - values.min()) / spread if spread else np.zeros_like(values)
    return np.asarray(mpl.colormaps["cividis"](shade)[..., :3] * 255, np.uint8)
