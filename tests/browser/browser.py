"""A real browser that reports console errors, requests to other hosts and accessibility findings as faults."""

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
_PATIENCE = 30_000.0  # Milliseconds: generous, for busy machines.
_OWN_SCHEMES = {"data", "blob", "about"}


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's Chromium until the block ends: its headless shell, which lacks the windows of a full browser."""
    program = shutil.which("chromium-headless-shell")
    assert program, "these tests need chromium-headless-shell: make tools installs it"
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS), timeout=_PATIENCE * 4)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Guard:
    """Records faults of a page; `allowed` lists parts of console messages that a test provokes."""

    host: str
    allowed: Sequence[str]
    faults: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Listen to all events of a page."""
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
    browser: Browser,
    url: str,
    *,
    width: int = WIDE,
    scheme: Scheme = "light",
    allowed: Sequence[str] = (),
    zone: str | None = None,
) -> Iterator[Page]:
    """Open a blank page in a new browser session; a test can route requests before `page.goto("/")`.

    At the end of the block, fail for every fault that is not `allowed`.
    """
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": _HEIGHTS.get(width, 900)},
        color_scheme=scheme,
        reduced_motion="reduce",
        service_workers="block",
        timezone_id=zone,
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
    """Fail for every serious or critical finding of axe."""
    violations = Axe().run(page).response["violations"]
    found = [
        f"{violation['impact']} {violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert not found, "\n".join(found)


def check_width(page: Page) -> None:
    """Check that the page does not scroll sideways; name the elements that are too wide."""
    too_wide = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
           [...document.body.querySelectorAll("*")]
             .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
             .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert not too_wide, "\n".join(too_wide)


def tab_to(page: Page, selector: str, *, most: int = 60) -> None:
    """Press Tab until the element has the focus, as keyboard users do."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")
