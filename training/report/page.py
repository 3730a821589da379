"""Render one self-contained HTML page without external requests or scripts; all text is escaped."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

from matplotlib.figure import Figure

from training.figures import as_svg

LONG = 40
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Trusted markup; all other strings are escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A figure with its caption; `name` becomes part of its file name."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section with a heading; consecutive figures are placed side by side if there is room."""

    name: str
    title: str
    parts: tuple[Html | ReportFigure, ...]


@dataclass(frozen=True, slots=True)
class MissingSection:
    """A section without data, and the command that produces the data."""

    title: str
    command: str


def element(tag: str, *children: str, **attributes: str) -> Html:
    """Build an element; attribute names that are Python keywords end in `_`."""
    inside = "".join(map(_escaped, children))
    written = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{written}>{inside}</{tag}>")


def joined(*parts: str) -> Html:
    """Concatenate parts."""
    return Html("".join(map(_escaped, parts)))


def paragraph(*children: str) -> Html:
    """Build a paragraph."""
    return element("p", *children)


def code(text: str) -> Html:
    """Build inline code."""
    return element("code", text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> Html:
    """Build a scrollable table; columns after the first `words` contain numbers."""
    top = (element("th", name, scope="col", **_kind(name, column < words)) for column, name in enumerate(head))
    body = (
        element("tr", *(element("td", cell, **_kind(cell, column < words)) for column, cell in enumerate(row)))
        for row in rows
    )
    inside = element("table", element("thead", element("tr", *top)), element("tbody", *body))
    return element("div", inside, class_="scroll", tabindex="0")


def facts(pairs: Sequence[tuple[str, str]]) -> Html:
    """Build a list of names and values."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def folded(title: str, *children: str) -> Html:
    """Build a collapsed block for long content."""
    return element("details", element("summary", title), *children)


def lines(texts: Sequence[str]) -> Html:
    """Build a block of commands, one per line."""
    return element("pre", element("code", "\n".join(texts)), class_="scroll", tabindex="0")


def render(title: str, head: Html, sections: Sequence[Section]) -> str:
    """Render the whole page."""
    style = (files("training.report") / "page.css").read_text(encoding="utf-8")
    contents = element("ol", *(element("li", element("a", one.title, href=f"#{one.name}")) for one in sections))
    meta = (
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
    )
    top = element("head", *meta, element("title", title), element("style", Html(style)))
    navigation = element("nav", contents, **{"aria-label": "Contents"})
    body = element("body", element("header", head), navigation, element("main", *map(_section, sections)))
    return "<!doctype html>\n" + element("html", top, body, lang="en") + "\n"


def _kind(cell: str, is_words: bool) -> dict[str, str]:
    if not is_words:
        return {"class_": "number"}
    return {"class_": "long"} if len(cell) > LONG else {}


def _section(section: Section) -> Html:
    heading = element("h2", section.title)
    return element("section", heading, *_grouped(section.parts), id=section.name)


def _grouped(parts: Sequence[Html | ReportFigure]) -> Iterator[Html]:
    for are_figures, run in groupby(parts, key=lambda part: isinstance(part, ReportFigure)):
        written = [_figure(part) if isinstance(part, ReportFigure) else part for part in run]
        yield element("div", *written, class_="figures") if are_figures else joined(*written)


def _figure(shown: ReportFigure) -> Html:
    drawing = as_svg(shown.figure, shown.name).replace("<svg", '<svg role="img" aria-label="__"', 1)
    label = html.escape(shown.caption)
    return element("figure", Html(drawing.replace('"__"', f'"{label}"', 1)), element("figcaption", shown.caption))


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(text)
