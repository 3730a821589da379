"""Render one self-contained HTML page without external requests or scripts; all text is escaped."""

import base64
import html
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from common.terminal import printable
from gate.pixels import Pixels
from training.figures import CaptionedImage, ImageGroup, as_svg, image_grid
from training.figures.image_grids import COLUMNS
from training.figures.style import VARIABLES

LONG = 40
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Trusted markup; all other strings are escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A chart with its caption; `name` becomes part of its file name."""

    name: str
    chart: Figure
    caption: str

    def drawn(self) -> Figure:
        """Return the chart, to be saved as a file."""
        return self.chart


@dataclass(frozen=True, slots=True)
class ReportImages:
    """Groups of images with a common caption; `details` are shown beside the images instead of their captions."""

    name: str
    groups: tuple[ImageGroup, ...]
    caption: str
    details: tuple[Html, ...] = ()

    def drawn(self) -> Figure:
        """Draw the images as one figure, to be saved as a file."""
        return image_grid(self.groups)


@dataclass(frozen=True, slots=True)
class Beside:
    """Parts in two columns, or below each other if there is no room; the left column is wider."""

    left: tuple["Part", ...]
    right: tuple["Part", ...]


Part = Html | ReportFigure | ReportImages | Beside


@dataclass(frozen=True, slots=True)
class Section:
    """A section with a heading; consecutive charts are placed side by side if there is room."""

    name: str
    title: str
    parts: tuple[Part, ...]

    def figures(self) -> Iterator[ReportFigure | ReportImages]:
        """Yield everything with a caption, in order."""
        return _figures(self.parts)


@dataclass(frozen=True, slots=True)
class MissingSection:
    """A section without data, and the command that produces the data."""

    title: str
    command: str


def element(tag: str, *children: str, **attributes: str) -> Html:
    """Build an element; attribute names that are Python keywords end in `_`."""
    inside = "".join(map(_escaped, children))
    written = "".join(f' {name.rstrip("_")}="{_escaped(value)}"' for name, value in attributes.items())
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
    links = (element("a", section.title, href=f"#{section.name}") for section in sections)
    contents = element("ol", *(element("li", link) for link in links))
    navigation = element("nav", contents, **{"aria-label": "Contents"})
    return document(title, style, element("header", head), navigation, element("main", *map(_section, sections)))


def document(title: str, style: str, *body: Html) -> str:
    """Build a page with this style sheet, whose policy forbids requests to any host."""
    meta = (
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
    )
    head = element("head", *meta, element("title", title), element("style", Html(style)))
    return f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n"


def _kind(cell: str, is_words: bool) -> dict[str, str]:
    if not is_words:
        return {"class_": "number"}
    return {"class_": "long"} if len(cell) > LONG else {}


def _section(section: Section) -> Html:
    heading = element("h2", section.title)
    return element("section", heading, *_grouped(section.parts), id=section.name)


def _figures(parts: Sequence[Part]) -> Iterator[ReportFigure | ReportImages]:
    for part in parts:
        if isinstance(part, Beside):
            yield from _figures((*part.left, *part.right))
        elif not isinstance(part, Html):
            yield part


def _grouped(parts: Sequence[Part]) -> Iterator[Html]:
    for kind, run in groupby(parts, key=type):
        written = [_WRITERS[kind](part) for part in run]
        yield element("div", *written, class_=_ROWS[kind]) if kind in _ROWS else joined(*written)


def _figure(shown: ReportFigure) -> Html:
    drawing = as_svg(shown.chart, shown.name).replace("<svg", '<svg role="img" aria-label="__"', 1)
    label = _escaped(shown.caption)
    return element("figure", Html(drawing.replace('"__"', f'"{label}"', 1)), element("figcaption", shown.caption))


def _beside(part: Beside) -> Html:
    columns = (element("div", *_grouped(parts)) for parts in (part.left, part.right))
    return element("div", *columns, class_="beside")


def _images(shown: ReportImages) -> Html:
    groups = element("div", *(_group(group, shown.details) for group in shown.groups), class_="groups")
    return element("figure", groups, element("figcaption", shown.caption), **_layout(shown))


def _layout(shown: ReportImages) -> dict[str, str]:
    """Place small groups side by side; a larger one takes the whole width."""
    if shown.groups[0].columns > COLUMNS:
        return {"class_": "pairs"}
    are_few = len(shown.groups) == 1 and len(shown.groups[0].pictures) <= COLUMNS
    return {"class_": "few"} if are_few and not shown.details else {}


def _group(group: ImageGroup, details: Sequence[Html]) -> Html:
    heading = [element("p", group.heading, class_="heading", style=_in_colour(group.colour))] if group.heading else []
    if details:
        tiles = [_tile(picture, one) for picture, one in zip(group.pictures, details, strict=True)]
    else:
        tiles = [_tile(picture, Html(_escaped(picture.caption))) for picture in group.pictures]
    kind = "files" if details else "maps" if group.columns > COLUMNS else "tiles"
    return element("div", *heading, element("div", *tiles, class_=kind))


def _tile(picture: CaptionedImage, said: Html) -> Html:
    images = [picture.image, picture.eyes()] if picture.marked else [picture.image]
    face = element("div", *map(_image, images), class_="marked" if picture.marked else "face")
    return element("div", face, *([element("div", said)] if said else []), style=_in_colour(picture.colour))


def _image(pixels: Pixels) -> Html:
    height, width = pixels.shape[:2]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    data = base64.b64encode(file.getvalue()).decode()
    return Html(f'<img src="data:image/webp;base64,{data}" alt="" width="{width}" height="{height}">')


def _in_colour(colour: str) -> str:
    return f"color: var({VARIABLES[colour]})"


_WRITERS: Mapping[type, Callable[[Any], Html]] = {
    Html: Html,
    ReportFigure: _figure,
    ReportImages: _images,
    Beside: _beside,
}
_ROWS = {ReportFigure: "figures", ReportImages: "galleries"}


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(printable(text))
