"""The card of the sources: hidden without any, and clear about the one that is worse."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page
from tests.browser.panel import wait_for_numbers
from tests.support.images import encode, flat
from tests.support.servers import Running, running_service, wait_until

IMAGES = 24


@pytest.fixture(scope="module")
def sourced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with images of two sources, one of which contradicts its order."""
    database = tmp_path_factory.mktemp("records") / "records.db"
    with running_service(records_url=f"sqlite:///{database}") as service:
        for source, level in (("good", 250), ("a run <b>", 5)):
            for _ in range(IMAGES):
                service.post(encode(flat(level)), source=source, expected="glasses")
        service.post(encode(flat(250)))
        wait_until(lambda: service.metric("lensgate_records_total", result="written") == 2 * IMAGES + 1)
        yield service


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_source_that_is_worse_comes_first_and_says_why(
    browser: Browser, sourced: Running, width: int, scheme: Scheme
) -> None:
    with open_page(browser, sourced.url, width=width, scheme=scheme) as page:
        page.goto("/")
        rows = page.locator("#sources tr")
        expect(rows).to_have_count(3)
        expect(rows.first).to_contain_text("a run <b>")
        expect(rows.first.locator(".differences--broken")).to_contain_text("contradicted 100.0")
        expect(rows.last).to_contain_text("no source")
        expect(rows.last).to_contain_text("too few to compare")
        expect(page.locator("#sources-note")).to_contain_text("Worse than the others: \u2068a run <b>\u2069.")
        check_width(page)
        check_accessibility(page)


def test_the_discarded_images_of_a_source_are_one_click_away(browser: Browser, sourced: Running) -> None:
    with open_page(browser, sourced.url) as page:
        page.goto("/")
        page.locator("#sources a").first.click()
        page.wait_for_url("**/decisions?source=a+run+%3Cb%3E&decision=discard")
        rows = page.locator("#results li")
        expect(rows).to_have_count(IMAGES)
        expect(rows.filter(has_text="a run <b>")).to_have_count(IMAGES)


def test_without_sources_the_card_is_hidden(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        with page.expect_response("**/v1/sources*"):
            page.goto("/")
        wait_for_numbers(page)
        expect(page.locator("#sources-card")).to_be_hidden()
