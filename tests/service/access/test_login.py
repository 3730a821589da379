"""The login, in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page, running_browser
from tests.service.access.keys import token_of, write_tokens
from tests.support.servers import Running, running_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    entries = {"gen": 'scopes = ["decide"]', "eva": 'scopes = ["review"]'}
    path = write_tokens(tmp_path_factory.mktemp("access") / "tokens.toml", entries)
    with running_service(tokens=path) as running:
        yield running


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_is_whole_and_accessible_at_every_width_and_in_both_schemes(
    browser: Browser, service: Running, width: int, scheme: Scheme
) -> None:
    with open_page(browser, service.url, width=width, scheme=scheme, allowed=["401"]) as page:
        page.goto("/login?next=/&missing=review")
        expect(page.locator("#missing")).to_contain_text("the scope review")
        expect(page.locator(".nav a")).to_have_text(["Operations", "Decisions", "Review", "API"])
        log_in(page, "lensgate_wrong")
        expect(page.get_by_role("alert")).to_have_text("Unknown or expired token.")
        check_width(page)
        check_accessibility(page)


def test_a_page_is_opened_by_keyboard_with_nothing_to_complain_of(browser: Browser, service: Running) -> None:
    with open_page(browser, service.url) as page:
        page.goto("/?from=mail#scores")
        expect(page).to_have_url(f"{service.url}/login?next=/%3Ffrom%3Dmail#scores")
        expect(page.get_by_label("Token")).to_be_focused()
        expect(page.locator("#missing")).to_be_hidden()
        page.keyboard.type(f" {token_of('eva')} ")
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{service.url}/?from=mail#scores")
        assert page.evaluate("document.cookie") == ""
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)


def test_link_from_another_site_opens_the_page_of_a_browser_that_is_logged_in(
    browser: Browser, service: Running
) -> None:
    """As in a chat, a mail about an alert, or Grafana."""
    with open_page(browser, service.url) as page:
        page.goto("/login")
        log_in(page, token_of("eva"))
        expect(page).to_have_url(f"{service.url}/")
        page.goto(f'data:text/html,<a href="{service.url}/?from=chat">the gate</a>')
        page.get_by_role("link").click()
        expect(page).to_have_url(f"{service.url}/?from=chat")


def test_a_refused_token_is_told_and_the_next_one_may_be_typed(browser: Browser, service: Running) -> None:
    with open_page(browser, service.url, allowed=["401"]) as page:
        page.goto("/login")
        log_in(page, "")
        expect(page.get_by_role("alert")).to_have_text("Enter a token.")
        log_in(page, "lensgate_wrong")
        expect(page.get_by_role("alert")).to_contain_text("Unknown or expired")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("x")
        expect(page.get_by_role("alert")).to_have_text("")
        log_in(page, token_of("eva"))
        expect(page).to_have_url(f"{service.url}/")


def test_a_browser_that_keeps_no_cookies_is_told_so(browser: Browser, service: Running) -> None:
    with open_page(browser, service.url, allowed=["401"]) as page:

        def strip(route: Route) -> None:
            response = route.fetch()
            page.context.clear_cookies()
            kept = {name: value for name, value in response.headers.items() if name != "set-cookie"}
            route.fulfill(response=response, headers=kept)

        page.goto("/login")
        page.route("**/v1/session", strip)
        log_in(page, token_of("eva"))
        expect(page.get_by_role("alert")).to_contain_text("Allow cookies for this address.")
        page.unroute("**/v1/session")
        log_in(page, token_of("eva"))
        expect(page).to_have_url(f"{service.url}/")


def test_a_page_from_before_the_logout_leads_to_the_login(browser: Browser, service: Running) -> None:
    with open_page(browser, service.url, allowed=["401", "404"]) as page:
        page.goto("/login")
        log_in(page, token_of("eva"))
        expect(page).to_have_url(f"{service.url}/")
        page.goto("/decisions#found")
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        page.context.clear_cookies()
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(page).to_have_url(f"{service.url}/login?next=%2Fdecisions%23found")


def test_a_token_that_may_not_see_the_page_leads_back_here(browser: Browser, service: Running) -> None:
    with open_page(browser, service.url) as page:
        page.goto("/")
        log_in(page, token_of("gen"))
        expect(page).to_have_url(f"{service.url}/login?next=/&missing=review")
        expect(page.locator("#missing")).to_be_visible()
        log_in(page, token_of("eva"))
        expect(page).to_have_url(f"{service.url}/")


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "/.//evil.example",
        "%09//evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://",
        "/login?next=/login",
    ],
)
def test_the_way_on_leads_to_no_other_site(browser: Browser, service: Running, wanted: str) -> None:
    # Whatever is not there on this service may be answered with 404.
    with open_page(browser, service.url, allowed=["404", "403"]) as page:
        page.goto(f"/login?next={wanted}")
        with page.expect_navigation():
            log_in(page, token_of("eva"))
        assert page.evaluate("location.origin") == service.url


def test_a_service_that_is_away_and_one_without_tokens_are_told_apart(browser: Browser, service: Running) -> None:
    with open_page(browser, service.url, allowed=["ERR_FAILED", "409"]) as page:
        page.goto("/login")
        page.route("**/v1/session", lambda route: route.abort())
        log_in(page, "x")
        expect(page.get_by_role("alert")).to_have_text("The service cannot be reached. Try again in a moment.")
    with running_service() as other, open_page(browser, other.url, allowed=["409"]) as page:
        page.goto("/login")
        log_in(page, "x")
        expect(page.get_by_role("alert")).to_contain_text("This service requires no token")
