"""How figures look, and how they leave: as SVG that takes the page's colours, or as PNG on white.

matplotlib keeps a list of fonts in the home folder; where that cannot be written, it says so and takes a temporary one.
"""

import functools
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

WIDTH = 4.4
"""Inches, which is hardly more than a phone shows: 9 points stay legible there."""

INK = "#1f2430"
MUTED = "#5d6675"
RULE = "#d8dde6"
CARD = "#fefefe"
SHADE = "#efe6cf"
GLASSES = "#c65102"
NO_GLASSES = "#0069a8"
GOOD = "#007d5e"
SPARE = "#9a5b8f"

# In the page each colour is a variable of its style sheet, which has two sets of them: by day and by night.
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

# Any: matplotlib's own types list other names in each of its releases.
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
    # A data set may be named $x$.
    "text.parse_math": False,
    "font.size": 10,
    # The one font that matplotlib brings along.
    "font.family": ["DejaVu Sans"],
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    # Pictures stay as small as they are, and are enlarged where they are shown.
    "image.interpolation": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "lensgate",
}

_Parameters = ParamSpec("_Parameters")


def styled(draw: Callable[_Parameters, Figure]) -> Callable[_Parameters, Figure]:
    """A figure drawn with these settings; matplotlib's own are left as they were."""

    @functools.wraps(draw)
    def drawn(*args: _Parameters.args, **options: _Parameters.kwargs) -> Figure:
        with mpl.rc_context(_SETTINGS):
            return draw(*args, **options)

    return drawn


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element for a page; `name` keeps its ids apart from those of another figure's."""
    data = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure.savefig(data, format="svg", metadata=nothing)
    text = data.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    # In the page's own font: matplotlib's may not be there, and is wider than most.
    text = text.replace("font-family: 'DejaVu Sans'; ", "").replace("font-family: 'DejaVu Sans'", "")
    # What is left of a size in points would keep the style sheet from setting another.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text))
    return _in_variables(text)


def as_png(figure: Figure, *, dpi: int = 160) -> bytes:
    """The figure as a PNG file on white."""
    data = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(data, format="png", dpi=dpi, facecolor=CARD)
    return data.getvalue()


def _in_variables(text: str) -> str:
    colours = re.compile("|".join(VARIABLES))
    return re.sub(r'style="[^"]*"', lambda style: colours.sub(lambda one: f"var({VARIABLES[one[0]]})", style[0]), text)
