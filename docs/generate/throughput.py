"""The throughput of Lensgate relative to other servers, from the committed figures of `bench.serving`."""

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from docs.generate.markdown import table
from docs.generate.svg import GREY, INK, LINE, PHONE, box, picture, text, vertical

DATA = Path(__file__).parents[1] / "benchmarks/serving.json"

_MARGIN, _NOTE, _LETTERS = 16, 52, 50
_NAME, _BAR, _GAP = 20, 20, 8
_DECODERS = {
    "same_decoder": ("Lensgate's", "#0969da"),
    "pillow": ("Pillow", "#d0a215"),
    "opencv": ("OpenCV", "#8c959f"),
}
"""The decoder that the other server calls, and the colour of its bars, by key of the ratio."""


class Ratios(BaseModel):
    """Lensgate's throughput divided by the other server's, by the decoder that the other one calls."""

    model_config = ConfigDict(extra="forbid")

    same_decoder: float | None = None
    pillow: float | None = None
    opencv: float | None = None

    def measured(self) -> dict[str, float]:
        """Return the ratios that were measured, by key."""
        return {key: value for key in _DECODERS if (value := getattr(self, key)) is not None}


class Figures(BaseModel):
    """The figures of one machine; each ratio is of servers that ran in turns."""

    model_config = ConfigDict(extra="forbid")

    command: str
    hardware: str
    load: str
    lensgate_images_per_second: float
    in_process_images_per_second: float
    speed_of_lensgate_relative_to: dict[str, Ratios]

    def decoders(self) -> list[str]:
        """Return the keys of the ratios that at least one server has."""
        measured = {key for one in self.speed_of_lensgate_relative_to.values() for key in one.measured()}
        return [key for key in _DECODERS if key in measured]


def read(path: Path = DATA) -> Figures:
    """Read the committed figures."""
    return Figures.model_validate_json(path.read_text(encoding="utf-8"))


def throughput_table(figures: Figures) -> str:
    """List the ratios that the chart shows."""
    decoders = figures.decoders()
    rows = []
    for name, ratios in figures.speed_of_lensgate_relative_to.items():
        measured = ratios.measured()
        rows.append([name, *(_times(measured[key]) if key in measured else "-" for key in decoders)])
    return table(["the other server", *(f"with {_DECODERS[key][0]} decoder" for key in decoders)], rows)


def chart(figures: Figures) -> str:
    """Draw the ratios: one bar per server and decoder, from zero, with a line where both servers are equally fast."""
    said = [
        "PNG files per second of Lensgate divided by those of the other server, measured in turns. At 1, both are "
        f"equally fast. Lensgate alone: {figures.lensgate_images_per_second:g} images/s.",
        f"{figures.load}. {figures.hardware}.",
        f"Measured with {figures.command}",
    ]
    lines = [line for sentence in said for line in textwrap.wrap(sentence, _LETTERS)]
    parts = [text(_MARGIN, 26, "Throughput relative to other servers", weight="bold")]
    parts += [text(_MARGIN, 46 + 16 * row, line, fill=GREY, size=12) for row, line in enumerate(lines)]
    y = 54 + 16 * len(lines)
    parts += _legend(y, figures.decoders())
    top, bottom = y + 36, y + 36 + _bars_height(figures)
    parts += [*_grid(top, bottom, figures), *_bars(top, figures)]
    title = "Throughput of Lensgate relative to other servers, PNG files"
    return picture(PHONE, bottom + 44, title=title, parts=parts)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}".removesuffix("0") + " x"


def _values(figures: Figures) -> list[dict[str, float]]:
    return [ratios.measured() for ratios in figures.speed_of_lensgate_relative_to.values()]


def _end(figures: Figures) -> int:
    """Return the right end of the axis."""
    return math.ceil(max(1.0, *(value for found in _values(figures) for value in found.values())))


def _place(ratio: float, figures: Figures) -> float:
    return _MARGIN + ratio * (PHONE - 2 * _MARGIN - _NOTE) / _end(figures)


def _bars_height(figures: Figures) -> int:
    return sum(_NAME + _BAR * len(found) + _GAP for found in _values(figures))


def _legend(y: int, decoders: list[str]) -> Iterator[str]:
    yield text(_MARGIN, y, "Decoder of the other server:", fill=INK, size=12)
    x = _MARGIN
    for key in decoders:
        name, colour = _DECODERS[key]
        yield box(x, y + 10, 10, 10, fill=colour)
        yield text(x + 15, y + 20, name, fill=INK, size=12)
        x += 34 + 7 * len(name)


def _grid(top: int, bottom: int, figures: Figures) -> Iterator[str]:
    end = _end(figures)
    for ratio in range(0, end + 1, math.ceil(end / 8)):
        x = _place(ratio, figures)
        yield vertical(x, top, bottom, stroke=LINE)
        yield text(x, bottom + 15, f"{ratio}", anchor="middle", fill=GREY, size=12)
    axis = "times the other's throughput; black line: equal"
    yield text(_MARGIN, bottom + 33, axis, fill=GREY, size=12)


def _bars(y: int, figures: Figures) -> Iterator[str]:
    labels = []
    for name, ratios in figures.speed_of_lensgate_relative_to.items():
        labels.append(text(_MARGIN, y + 14, name, halo=True))
        y += _NAME
        for key, ratio in ratios.measured().items():
            right = _place(ratio, figures)
            yield box(_MARGIN, y, right - _MARGIN, _BAR - 3, fill=_DECODERS[key][1])
            labels.append(text(right + 6, y + 13, _times(ratio), halo=True))
            y += _BAR
        y += _GAP
    yield vertical(_place(1, figures), y - _bars_height(figures), y - _GAP, stroke=INK)
    yield from labels
