"""The documentation site in a browser: no request to another host, both themes, and a search that finds settings."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page
from tests.docs.site import build_site


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of the base class
        """Write no line."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = build_site(tmp_path_factory.mktemp("site"))
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_start_is_whole_and_accessible_at_every_width_and_in_both_themes(
    browser: Browser, site: str, width: int, scheme: Scheme
) -> None:
    with open_page(browser, site, width=width, scheme=scheme) as page:
        page.goto("/index.html")
        expect(page.locator("body")).to_have_attribute(
            "data-md-color-scheme", "slate" if scheme == "dark" else "default"
        )
        check_width(page)
        check_accessibility(page)


def test_wide_tables_scroll_inside_a_narrow_page(browser: Browser, site: str) -> None:
    with open_page(browser, site, width=NARROW) as page:
        page.goto("/reference/settings.html")
        expect(page.get_by_text("LENSGATE_BAND_LOW", exact=True)).to_be_visible()
        check_width(page)


def test_search_finds_a_setting(browser: Browser, site: str) -> None:
    with open_page(browser, site) as page:
        page.goto("/index.html")
        expect(page.locator("[aria-label='Search results']")).to_be_attached()  # The script has started.
        page.locator(".md-search__button").click()
        expect(page.locator("input:focus")).to_be_visible()
        # At once: a beginning of the word finds further pages, two of which name settings.
        page.keyboard.insert_text("max_batch_delay_ms")
        page.get_by_role("option", name="Settings").click()
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()
