"""A real browser that watches itself: console errors, requests to other hosts and accessibility findings are faults."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

Scheme = Literal["light", "dark"]

WIDE = 1440
NARROW = 390
_HEIGHTS = {WIDE: 900, NARROW: 844}
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_PATIENCE = 30_000.0  # Milliseconds: a machine that does much besides is no fault of a page.
_OWN_SCHEMES = {"data", "blob", "about"}


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Debian's Chromium, gone when the block ends."""
    program = shutil.which("chromium")
    assert program, "these tests need Chromium: make tools installs it"
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS), timeout=_PATIENCE * 4)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Guard:
    """Notes what a page must not do; `allowed` are parts of console messages that a test means to cause."""

    host: str
    allowed: Sequence[str]
    faults: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Listen to everything that a page reports."""
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(part in message.text for part in self.allowed):
            self.faults.append(f"{message.type}: {message.text}")

    def _see(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in _OWN_SCHEMES and parts.netloc != self.host:
            self.faults.append(f"a request to another host: {request.url}")


@contextmanager
def open_page(
    browser: Browser, url: str, *, width: int = WIDE, scheme: Scheme = "light", allowed: Sequence[str] = ()
) -> Iterator[Page]:
    """A page of its own session at `url`, still blank, so that a test can route requests first; `page.goto("/")`.

    When the block ends, nothing may have gone wrong in it but what is `allowed`.
    """
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": _HEIGHTS.get(width, 900)},
        color_scheme=scheme,
        reduced_motion="reduce",
        service_workers="block",
    )
    context.set_default_timeout(_PATIENCE)
    guard = Guard(urlsplit(url).netloc, allowed)
    page = context.new_page()
    guard.watch(page)
    try:
        yield page
    finally:
        page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert not guard.faults, "\n".join(guard.faults)


def check_accessibility(page: Page) -> None:
    """No finding of axe is serious or critical."""
    violations = Axe().run(page).response["violations"]
    found = [
        f"{violation['impact']} {violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert not found, "\n".join(found)


def check_width(page: Page) -> None:
    """Nothing makes the page scroll sideways; names what does."""
    too_wide = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
           [...document.body.querySelectorAll("*")]
             .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
             .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert not too_wide, "\n".join(too_wide)


def tab_to(page: Page, selector: str, *, most: int = 60) -> None:
    """Press Tab until the element has the focus, as who has no mouse does."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")
