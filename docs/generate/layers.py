"""The packages and their layers, drawn from the imports that the tests of the layers hold."""

from docs.generate.svg import GREY, INK, LINE, box, picture, text
from tests.test_house import MAY_IMPORT, package_imports
from tests.test_layers import FLOORS

_COLUMN, _GAP, _FLOOR, _TOP, _LEFT = 168, 16, 26, 64, 16
_FILLS = {"service": "#ddf4ff", "training": "#dafbe1", "bulk": "#fff8c5", "lensgate_client": "#ffeff7"}
_TITLES = {"lensgate_client": "client"}


def layers() -> str:
    """Draw the packages with their folders from the bottom up, and the packages that each of them imports."""
    columns = [name for name in _FILLS if name in FLOORS]
    tallest = max(len(FLOORS[name]) for name in columns)
    width = 2 * _LEFT + len(columns) * (_COLUMN + _GAP) - _GAP
    base = _TOP + tallest * _FLOOR + 34
    parts = [_bar(16, width, "lensgate", "the console script: imports a command when it is chosen", fill="#f6f8fa")]
    for place, name in enumerate(columns):
        parts += _tower(_LEFT + place * (_COLUMN + _GAP), base, name)
    shared = width - _COLUMN - _GAP
    parts += [
        _bar(base + 12, shared, "common", _imports("common"), fill="#f6f8fa"),
        _bar(base + 52, shared, "gate", "pixels, scorer, decision, card: imports none of the others", fill="#eaeef2"),
    ]
    return picture(width, base + 100, title="Packages of Lensgate and their layers", parts=parts)


def _tower(x: int, base: int, name: str) -> list[str]:
    floors = FLOORS[name]
    top = base - len(floors) * _FLOOR
    imported = _imports(name) if name in MAY_IMPORT else "imports none of these"
    parts = [text(x, top - 18, _TITLES.get(name, name), weight="bold"), text(x, top - 4, imported, fill=GREY)]
    for place, floor in enumerate(floors):
        y = base - (place + 1) * _FLOOR
        parts.append(box(x, y, _COLUMN, _FLOOR - 3, fill=_FILLS[name], stroke=LINE))
        parts.append(text(x + _COLUMN / 2, y + 16, floor, anchor="middle"))
    return parts


def _imports(package: str) -> str:
    found = sorted(package_imports(package) & (MAY_IMPORT.keys() - {package}))
    return f"imports {', '.join(found)}"


def _bar(y: int, width: int, name: str, words: str, *, fill: str) -> str:
    inside = width - 2 * _LEFT
    return (
        box(_LEFT, y, inside, 30, fill=fill, stroke=LINE)
        + text(_LEFT + 12, y + 20, name, weight="bold", fill=INK)
        + text(_LEFT + 90, y + 20, words, fill=GREY)
    )
