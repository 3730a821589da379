"""The throughput of Lensgate and of other servers, from the committed figures of `bench.serving`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from docs.generate.markdown import table
from docs.generate.svg import GREY, INK, box, picture, text

DATA = Path(__file__).parents[1] / "benchmarks/serving.json"

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 760, 96, 150, 128, 22
_OURS, _SAME, _PILLOW = "#0969da", "#8c959f", "#d0a215"


class Ratios(BaseModel):
    """How many times the other server's throughput Lensgate reaches, by the decoder that the other one calls."""

    model_config = ConfigDict(extra="forbid")

    pillow: float
    same_decoder: float


class Figures(BaseModel):
    """The figures of one machine; each ratio is of servers that ran in turns."""

    model_config = ConfigDict(extra="forbid")

    command: str
    hardware: str
    load: str
    lensgate_images_per_second: float
    in_process_images_per_second: float
    speed_of_lensgate_relative_to: dict[str, Ratios]


def read(path: Path = DATA) -> Figures:
    """Read the committed figures."""
    return Figures.model_validate_json(path.read_text(encoding="utf-8"))


def throughput_table(figures: Figures) -> str:
    """The ratios, and the images per second that they amount to at Lensgate's rate."""
    ours = figures.lensgate_images_per_second
    rows = [["Lensgate", "-", "-", f"{ours:.0f}"]]
    for name, ratio in figures.speed_of_lensgate_relative_to.items():
        rates = f"{ours / ratio.same_decoder:.0f}, {ours / ratio.pillow:.0f}"
        rows.append([name, _times(ratio.same_decoder), _times(ratio.pillow), rates])
    columns = ["server", "Lensgate against it, same decoder", "against it with Pillow", "images/s of both"]
    return table(columns, rows)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}".removesuffix("0") + " x"


def chart(figures: Figures) -> str:
    """Draw a bar for Lensgate and two for each other server, in images per second."""
    ours = figures.lensgate_images_per_second
    bars = [("Lensgate", ours, _OURS, f"{ours:.0f}")]
    for name, ratio in figures.speed_of_lensgate_relative_to.items():
        for label, value, colour in ((name, ratio.same_decoder, _SAME), ("", ratio.pillow, _PILLOW)):
            bars.append((label, ours / value, colour, f"{ours / value:.0f} (Lensgate {_times(value)})"))
    scale = (_WIDTH - _LEFT - _RIGHT) / ours
    parts = [
        text(16, 26, "PNG files judged per second", weight="bold"),
        text(16, 46, f"{figures.load}. {figures.hardware}.", fill=GREY, size=12),
        text(
            16,
            64,
            f"Others: {ours:.0f} divided by the ratio (in brackets) of two servers in turns.",
            fill=GREY,
            size=12,
        ),
        text(16, 82, figures.command, fill=GREY, size=12),
        *_legend(16, 98),
    ]
    for place, (label, rate, colour, note) in enumerate(bars):
        y = _TOP + place * _ROW + (place + 1) // 2 * 6
        parts += [
            text(_LEFT - 8, y + 15, label, anchor="end"),
            box(_LEFT, y, rate * scale, _ROW - 4, fill=colour),
            text(_LEFT + rate * scale + 6, y + 14, note, fill=INK),
        ]
    height = _TOP + len(bars) * _ROW + len(bars) // 2 * 6 + 14
    return picture(_WIDTH, height, title="PNG files judged per second by Lensgate and other servers", parts=parts)


def _legend(x: int, y: int) -> list[str]:
    entries = [(_OURS, "Lensgate"), (_SAME, "with Lensgate's decoder in its handler"), (_PILLOW, "with Pillow")]
    parts = []
    for colour, words in entries:
        parts += [box(x, y, 10, 10, fill=colour), text(x + 15, y + 9, words, fill=GREY)]
        x += 40 + len(words) * 7
    return parts
