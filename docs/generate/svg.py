"""Small SVG pictures that are readable on light and dark pages."""

from collections.abc import Iterable
from html import escape

INK, GREY, LINE = "#1f2328", "#59636e", "#d1d9e0"

PHONE = 360
"""Width in pixels of a picture that keeps the size of its text on a phone; wider pages do not enlarge it."""


def picture(width: int, height: int, *, title: str, parts: Iterable[str]) -> str:
    """Return an SVG with a white card behind its parts, in pixels; the title is its accessible name."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-labelledby="title" font-family="system-ui, sans-serif">\n'
        f'<title id="title">{escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" rx="6" fill="white"/>\n{"".join(parts)}</svg>\n'
    )


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    weight: str = "normal",
    size: int = 14,
    halo: bool = False,
) -> str:
    """Return a line of text; `y` is its baseline. A white halo keeps it legible on top of lines."""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    if halo:
        place += ' stroke="white" stroke-width="4" paint-order="stroke"'
    return f'<text {place} fill="{fill}" font-weight="{weight}" font-size="{size}">{escape(words)}</text>\n'


def box(x: float, y: float, width: float, height: float, *, fill: str, stroke: str = "none") -> str:
    """Return a rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}" stroke="{stroke}"/>\n'


def vertical(x: float, top: float, bottom: float, *, stroke: str) -> str:
    """Return a vertical line."""
    return f'<line x1="{x:g}" x2="{x:g}" y1="{top:g}" y2="{bottom:g}" stroke="{stroke}"/>\n'
