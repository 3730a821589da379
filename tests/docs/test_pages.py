"""Links and anchors lead somewhere, every page is in the site's navigation, and paths in the text exist."""

import io
import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.identity import ID_RULE
from gate import ImageError, read_pixels
from tests.docs.pages import DOCS, PAGES, ROOT, anchors, blocks, inline_code, links, name_of, prose, read

_FOLDERS = r"bench|bulk|client|common|deploy|docs|gate|lensgate|locks|models|samples|service|tests|training"
_PATH = re.compile(rf"(?:{_FOLDERS})/[\w./-]+|docker-compose[\w.-]*\.yml|[\w-]+\.(?:md|toml)")
_PLACEHOLDER = re.compile(r"/[A-Z]+(?:/|$)")

_READERS_OWN = {"docker-compose.override.yml", "tokens.toml"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{link}: there is no {target.relative_to(ROOT)}"
        assert not anchor or anchor in anchors(target), f"{link}: {name_of(target)} has no such heading"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_pages_of_the_site_link_only_to_the_site(page: Path) -> None:
    outside = [
        link for link in links(page) if "://" not in link and link.startswith("../" * len(page.relative_to(DOCS).parts))
    ]
    assert not outside, "such a link is broken in the built site: name the file as `path` instead"


def test_navigation_lists_every_page_once() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    listed = Counter(_pages_of(settings["project"]["nav"]))
    assert listed == Counter(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")), "see nav in zensical.toml"


def test_pages_lie_in_the_folder_of_their_section() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    for section in settings["project"]["nav"]:
        for name, entry in section.items():
            folder = DOCS / name.lower()
            elsewhere = {page for page in _pages_of(entry) if (DOCS / page).parent != folder}
            assert elsewhere <= _AT_THE_TOP, f"move {elsewhere} into {folder.relative_to(ROOT)}"


_AT_THE_TOP = {"index.md", "runbooks.md", "paper.md"}
"""Alert annotations and LENSGATE_RUNBOOKS_URL name the runbooks; `lensgate train paper` writes the paper."""


def _pages_of(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages_of(inner)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_in_the_text_exist(page: Path) -> None:
    for text in inline_code(page):
        path, _, _ = text.partition("::")
        if not _PATH.fullmatch(path) or _PLACEHOLDER.search(path) or path in _READERS_OWN:
            continue
        assert any((place / path).exists() for place in (ROOT, ROOT / "client")), f"there is no {path}"


def test_settings_named_in_the_text_exist() -> None:
    known = set(re.findall(r"LENSGATE_\w+", read(DOCS / "reference/settings.md")))
    for page in PAGES:
        for name in re.findall(r"LENSGATE_\w+[A-Z]\b", read(page)):
            assert name in known | _OTHER_VARIABLES, f"{name_of(page)}: {name} is not a setting"


_OTHER_VARIABLES = {"LENSGATE_FACES", "LENSGATE_POSTGRES_PASSWORD"}
"""Read by tests and by compose, not by the service."""


def test_the_size_of_the_models_is_the_stated_one() -> None:
    size = sum(path.stat().st_size for path in (ROOT / "models").rglob("*") if path.is_file())
    assert f"| `/models` | {size / 1e6:.0f} |" in read(DOCS / "guides/containers.md")


def test_the_rule_of_ids_is_the_one_that_errors_state() -> None:
    assert ID_RULE in read(DOCS / "reference/http.md")


def test_metrics_named_in_the_text_exist() -> None:
    text = read(DOCS / "reference/metrics.md")
    known = {re.sub(r"_total$", "", name) for name in re.findall(r"`(lensgate_\w+)`", text)}
    for page in PAGES:
        for name in re.findall(r"`(lensgate_\w+)(?:\{[^`]*\})?`", read(page)):
            plain = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert plain in known | {"lensgate_client"}, f"{name_of(page)}: {name} is not a metric"


def test_the_example_of_an_error_is_what_the_gate_says() -> None:
    (example,) = (block for block in blocks(DOCS / "reference/codes.md") if block.language == "json")
    encoded = io.BytesIO()
    Image.new("RGB", (8, 4)).save(encoded, "png")
    with pytest.raises(ImageError) as caught:
        read_pixels(encoded.getvalue(), 128)
    assert json.loads(example.body) | {"code": caught.value.code, "detail": str(caught.value)} == json.loads(
        example.body
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lists_and_labels_begin_after_a_blank_line(page: Path) -> None:
    # The site, unlike GitHub, joins others to the paragraph before them.
    for before, line in itertools.pairwise(prose(page).split("\n")):
        if re.match(r"(?:- |\d+\. )", line):
            assert re.match(r"(?:- |\d+\. | |$)", before), f"leave a blank line before {line[:60]!r}"
        if re.match(r"\*\*[A-Z]\w+\*\* ", line):
            assert not before.strip(), f"leave a blank line before {line[:60]!r}"
