"""Find texts of a figure that cover other texts or curves, or leave the figure."""

from collections.abc import Iterator
from itertools import combinations

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from training.figures import as_png


def holds(axis: Axis, place: float) -> bool:
    """Whether an axis shows the place."""
    low, high = sorted(axis.get_view_interval())
    return bool(low <= place <= high)


def covered_or_cut(figure: Figure) -> list[tuple[str, ...]]:
    """List pairs of texts that cover each other, texts that cover a curve, and texts that leave the figure.

    Tick labels and legends count as texts; a curve is a line of the axes, where the axes show it.
    """
    as_png(figure)  # Creates the ticks with the settings of the style.
    figure.draw_without_rendering()
    outside = {id(tick.label1) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
               for tick in axis.get_major_ticks() if not holds(axis, tick.get_loc())}  # fmt: skip
    texts = [one for one in figure.findobj(Text) if one.get_text().strip() and id(one) not in outside]
    boxes = [(one.get_text(), one.get_window_extent()) for one in texts if one.get_visible()]
    whole = figure.bbox.expanded(1.002, 1.002)
    cut: list[tuple[str, ...]] = [
        (name,) for name, box in boxes if not (whole.contains(*box.p0) and whole.contains(*box.p1))
    ]
    pairs = [(one, other) for (one, box), (other, second) in combinations(boxes, 2) if box.overlaps(second)]
    return cut + pairs + [(name, curve) for name, box in boxes for curve in _curves_under(figure, box)]


def _curves_under(figure: Figure, box: BboxBase) -> Iterator[str]:
    for axes in figure.axes:
        shown = Bbox.intersection(axes.bbox, box)
        if shown is None:
            continue
        for line in axes.lines:
            if line.get_transform().transform_path(line.get_path()).intersects_bbox(shown, filled=False):
                yield str(line.get_label())
