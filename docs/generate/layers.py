"""The packages and their layers, drawn from the imports that the tests of the layers hold."""

from collections.abc import Sequence

from docs.generate.svg import GREY, LINE, PHONE, box, picture, text
from tests.test_import_rules import MAY_IMPORT, package_imports
from tests.test_layers import LAYERS

_MARGIN, _GAP, _LAYER_HEIGHT, _HEAD, _BAR = 16, 14, 28, 42, 52
_COLUMN = (PHONE - 2 * _MARGIN - _GAP) // 2
# Two columns, because four would leave the names no room on a phone.
_ROWS = (("service", "training"), ("bulk", "lensgate_client"))
_FILLS = {"service": "#ddf4ff", "training": "#dafbe1", "bulk": "#fff8c5", "lensgate_client": "#ffeff7"}
_TITLES = {"lensgate_client": "client"}


def layers() -> str:
    """Draw the packages with their folders from the bottom up, and the packages that each of them imports."""
    y = _MARGIN
    parts = [_bar(y, "lensgate", "imports a command when it is chosen", fill="#f6f8fa")]
    y += _BAR + 26
    parts.append(text(_MARGIN, y, "None of these four imports another:", fill=GREY, size=13))
    for names in _ROWS:
        parts += _row(y + 8, names)
        y += 8 + _row_height(names)
    y += 18
    parts.append(_bar(y, "common", _imports("common"), fill="#f6f8fa"))
    y += _BAR + 8
    parts.append(_bar(y, "gate", "pixels, scorer, decision, card; imports none", fill="#eaeef2"))
    return picture(PHONE, y + _BAR + _MARGIN, title="Packages of Lensgate and their layers", parts=parts)


def _row(top: int, names: Sequence[str]) -> list[str]:
    """Draw packages beside each other, on one base."""
    base = top + _row_height(names)
    return [part for place, name in enumerate(names) for part in _tower(_MARGIN + place * (_COLUMN + _GAP), base, name)]


def _row_height(names: Sequence[str]) -> int:
    return _HEAD + max(len(LAYERS[name]) for name in names) * _LAYER_HEIGHT


def _tower(x: int, base: int, name: str) -> list[str]:
    folders = LAYERS[name]
    top = base - len(folders) * _LAYER_HEIGHT
    imported = _imports(name) if name in MAY_IMPORT else "imports no package"
    parts = [text(x, top - 23, _TITLES.get(name, name), weight="bold"), text(x, top - 6, imported, fill=GREY, size=13)]
    for place, folder in enumerate(folders):
        y = base - (place + 1) * _LAYER_HEIGHT
        parts.append(box(x, y, _COLUMN, _LAYER_HEIGHT - 3, fill=_FILLS[name], stroke=LINE))
        parts.append(text(x + _COLUMN / 2, y + 17, folder, anchor="middle"))
    return parts


def _imports(package: str) -> str:
    imported = sorted(package_imports(package) & (MAY_IMPORT.keys() - {package}))
    return f"imports {', '.join(imported)}"


def _bar(y: int, name: str, words: str, *, fill: str) -> str:
    return (
        box(_MARGIN, y, PHONE - 2 * _MARGIN, _BAR, fill=fill, stroke=LINE)
        + text(_MARGIN + 12, y + 21, name, weight="bold")
        + text(_MARGIN + 12, y + 40, words, fill=GREY, size=13)
    )
