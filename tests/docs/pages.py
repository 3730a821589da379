"""The Markdown pages of the project: their links, anchors, blocks of code and commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "client/README.md")),
    *sorted(DOCS.rglob("*.md")),
]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_INLINE = re.compile(r"(?<!`)`(?P<code>[^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

SHELL = {"", "sh", "bash"}
"""Languages of blocks that hold commands; output and listings are `text`."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code, without its indentation."""

    page: Path
    language: str
    body: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}: {self.body.splitlines()[0][:60]}"


def name_of(page: Path) -> str:
    """The path from the root of the checkout."""
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for found in _FENCE.finditer(read(page)):
        body = re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE)
        yield Block(page, found["language"], body)


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def links(page: Path) -> list[str]:
    """The targets of the links and images of a page."""
    return [found["target"] for found in _LINK.finditer(prose(page))]


def inline_code(page: Path) -> list[str]:
    """The spans of code in the prose of a page."""
    return [found["code"] for found in _INLINE.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub forms them."""
    names = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page)))
    return set(names)
