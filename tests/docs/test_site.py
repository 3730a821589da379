"""The built site: every page is there, its links lead somewhere, and all content comes from its own host."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import DOCS
from tests.docs.site import build_site

_LOADED = {("img", "src"), ("script", "src"), ("iframe", "src"), ("source", "src"), ("form", "action")}
# Relations of <link> that a browser does not load.
_UNLOADED = {"canonical", "next", "prev"}


class Page(HTMLParser):
    """Collects addresses that a browser loads, links, and anchors of one page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort the addresses of one tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.loaded += [values[name] for kind, name in _LOADED if kind == tag and values.get(name)]
        if tag == "link" and values.get("rel") not in _UNLOADED:
            self.loaded.append(values["href"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_is_built_and_no_source_code_with_it(site: Path, pages: dict[Path, Page]) -> None:
    expected = {site / path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert pages.keys() == expected
    assert not list(site.rglob("*.py"))


def test_pages_load_nothing_from_other_hosts(pages: dict[Path, Page]) -> None:
    loaded = {address for page in pages.values() for address in page.loaded}
    assert any(address.endswith(".js") for address in loaded)
    assert not [address for address in loaded if urlsplit(address).netloc]


def test_style_sheets_load_nothing_from_other_hosts(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", text), sheet.name


def test_links_of_the_built_pages_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.loaded + page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path not in {"", "."} else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.relative_to(site)}: {link}"


@pytest.mark.parametrize("name", ["settings", "metrics", "codes"])
def test_reference_is_one_click_from_every_page(site: Path, pages: dict[Path, Page], name: str) -> None:
    target = site / f"reference/{name}.html"
    for path, page in pages.items():
        linked = {(path.parent / urlsplit(link).path).resolve() for link in page.links if not urlsplit(link).scheme}
        assert path == target or target in linked
