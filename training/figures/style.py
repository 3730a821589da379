"""The style of figures, and their export: SVG with the colour variables of the page, or PNG on white.

matplotlib caches its list of fonts in the home folder; if that is not writable, it warns and uses a temporary folder.
"""

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gate.card import Interval

WIDTH = 4.4
"""Inches; about the width of a phone, where 9 points are still legible."""

TICKS: Any = {"nbins": 5, "steps": (1, 2, 2.5, 5, 10)}
"""Arguments of a locator: at most five intervals, so that numbers with four decimals do not touch."""

INK = "#1f2430"
MUTED = "#5d6675"
RULE = "#d8dde6"
CARD = "#fefefe"
SHADE = "#efe6cf"
GLASSES = "#c65102"
NO_GLASSES = "#0069a8"
GOOD = "#007d5e"
SPARE = "#9a5b8f"

_AXES = {
    "accuracy": "accuracy (share correct)",
    "loss": "loss (cross-entropy, nats)",
    "log loss": "log loss (nats)",
}

# On the page each colour is a variable of the style sheet, which defines a light and a dark theme.
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    CARD: "--card",
    SHADE: "--shade",
    GLASSES: "--glasses",
    NO_GLASSES: "--no-glasses",
    GOOD: "--good",
    SPARE: "--spare",
}

# Any, because the type of rcParams changes between releases of matplotlib.
_SETTINGS: Any = {
    "figure.facecolor": CARD,
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": INK,
    # The name of a data set may contain $.
    "text.parse_math": False,
    "font.size": 10,
    # The font that ships with matplotlib.
    "font.family": ["DejaVu Sans"],
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    # Embed images at their own size; the browser scales them.
    "image.interpolation": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "lensgate",
}

_Parameters = ParamSpec("_Parameters")


def styled(draw: Callable[_Parameters, Figure]) -> Callable[_Parameters, Figure]:
    """Draw a figure with these settings, without changing matplotlib's global settings."""

    @functools.wraps(draw)
    def drawn(*args: _Parameters.args, **options: _Parameters.kwargs) -> Figure:
        with _style():
            return draw(*args, **options)

    return drawn


def axis_title(quantity: str) -> str:
    """Return the quantity with its unit."""
    return _AXES[quantity]


def reach_of(intervals: Sequence[Interval]) -> NDArray[np.float64]:
    """Return how far each interval reaches below and above its value, `[2, N]`, as error bars take it."""
    below = [each.value - each.low for each in intervals]
    above = [each.high - each.value for each in intervals]
    reach: NDArray[np.float64] = np.clip([below, above], 0.0, None)
    return reach


def as_svg(figure: Figure, name: str) -> str:
    """Render the figure as an `<svg>` element; `name` makes its ids unique on the page."""
    data = io.StringIO()
    omitted = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _style({"svg.hashsalt": name}), warnings.catch_warnings():
        # Browsers draw the text, with fonts of their own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(data, format="svg", metadata=omitted)
    text = data.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    # Use the page's font, because matplotlib's may be missing there.
    text = text.replace("font-family: 'DejaVu Sans'; ", "").replace("font-family: 'DejaVu Sans'", "")
    # A size in points would override the style sheet.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text))
    return _in_variables(text)


def as_png(figure: Figure, *, dpi: int = 160) -> bytes:
    """Render the figure as a PNG file on white."""
    data = io.BytesIO()
    with _style():
        figure.savefig(data, format="png", dpi=dpi, facecolor=CARD)
    return data.getvalue()


def _style(changes: Any = None) -> AbstractContextManager[None]:
    """Apply the settings alone, whatever a `matplotlibrc` of the user or of the working directory says."""
    context: AbstractContextManager[None] = matplotlib.style.context(["default", _SETTINGS, changes or {}])
    return context


def _in_variables(text: str) -> str:
    colours = re.compile("|".join(VARIABLES))
    return re.sub(r'style="[^"]*"', lambda style: colours.sub(lambda one: f"var({VARIABLES[one[0]]})", style[0]), text)
