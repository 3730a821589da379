"""A reviewer's desk: a service with a store, a browser, and helpers for tests of the review page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

from service.records.store import Store
from service.records.tables import decisions, verdicts
from tests.browser.browser import WIDE, Scheme, open_page
from tests.service.review.decisions import decision, fill
from tests.support.servers import Running, running_service, wait_until

# The browser's console message for error responses that a test provokes.
REFUSED = ("Failed to load resource",)


@dataclass(frozen=True)
class Desk:
    """A service, its store, and the browser that a reviewer sits at."""

    running: Running
    store: Store
    browser: Browser

    def fill(self, count: int = 5, **changes: Any) -> list[str]:
        """Discarded images, `face-0` and so on from the oldest to the newest."""
        rows = sorted((decision(**changes) for _ in range(count)), key=lambda row: row["record"])
        return fill(self.store, [{**row, "id": f"face-{index}"} for index, row in enumerate(rows)])

    def said(self) -> dict[str, str]:
        """Every verdict by the image's id."""
        query = select(decisions.c.id, verdicts.c.verdict).join(verdicts, verdicts.c.record == decisions.c.record)
        with self.store.begin() as connection:
            return {row.id: row.verdict for row in connection.execute(query)}

    def awaits(self, **said: str) -> None:
        """Wait until these are the verdicts, `face_0` standing for `face-0`."""
        expected = {name.replace("_", "-"): verdict for name, verdict in said.items()}
        wait_until(lambda: self.said() == expected)

    @contextmanager
    def sit_down(
        self, name: str = "Anna", *, width: int = WIDE, scheme: Scheme = "light", allowed: tuple[str, ...] = ()
    ) -> Iterator[Page]:
        """The page, with a name given."""
        with open_page(self.browser, self.running.url, width=width, scheme=scheme, allowed=allowed) as page:
            # The first route takes effect in the page with a delay, which requests of a busy machine overtake.
            page.route("**/unused", lambda route: route.continue_())
            page.goto("/review")
            page.get_by_label("Your name").fill(name)
            page.keyboard.press("Enter")
            yield page


@contextmanager
def open_desk(browser: Browser, folder: Path, **settings: Any) -> Iterator[Desk]:
    """A service that records into this folder."""
    with running_service(records_url=f"sqlite:///{folder}/records.db", **settings) as running:
        assert running.runtime.store
        yield Desk(running, running.runtime.store, browser)


def shown(page: Page, identity: str) -> None:
    expect(page.locator(".fact-list .mono")).to_have_text(identity)
    loaded(page)


def judge(page: Page, *keys: str) -> None:
    """Press the keys of verdicts, each when the image is on the screen, without which there is no verdict."""
    for key in keys:
        loaded(page)
        page.keyboard.press(key)


def loaded(page: Page) -> None:
    """Wait until the selected image is on the screen, or has failed to load."""
    expect(page.locator(".portrait, .tile[aria-selected=true] img")).to_have_js_property("complete", True)


def saved(page: Page) -> None:
    expect(page.locator("#saving")).to_be_hidden()


def button(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@contextmanager
def held_back(page: Page, method: str, path: str) -> Iterator[None]:
    """Keep requests waiting until the block ends."""
    waiting: list[Route] = []
    is_over = False

    def see(route: Route) -> None:
        if route.request.method == method and not is_over:
            waiting.append(route)
        else:
            route.continue_()

    page.route(path, see)
    yield
    is_over = True
    for route in waiting:
        route.continue_()
