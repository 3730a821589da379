"""The operations page for the person on call: from an alert to its cause, also after a restart."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page
from tests.browser.panel import DARK, GREY, change_snapshot
from tests.support.images import encode
from tests.support.servers import Running, running_service, wait_until

RUNBOOKS = Path(__file__).parents[2] / "docs/runbooks.md"
ADDRESSES: dict[str, Any] = {
    "grafana_url": "http://grafana.example/d/lensgate",
    "runbooks_url": "http://wiki.example/runbooks",
}


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that was restarted after 30 decisions, 10 of them discarded, and two failed requests."""
    url = f"sqlite:///{tmp_path_factory.mktemp('records')}/records.db"
    with running_service(records_url=url) as service:
        for index in range(30):
            service.post(encode(DARK if index % 3 else GREY), id=f"run-7/face-{index}", source="gan-7")
        service.post(b"no image", id="a/broken.png", source="gan-7")
        service.post(b"no image")
        wait_until(lambda: service.metric("lensgate_record_images_total", result="written") == 10)
        wait_until(lambda: len(service.client.get("/v1/failures").json()["failures"]) == 2)
    with running_service(records_url=url, **ADDRESSES) as service:
        yield service


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_history_of_a_day_survives_a_restart(
    browser: Browser, restarted: Running, width: int, scheme: Scheme
) -> None:
    with open_page(browser, restarted.url, width=width, scheme=scheme) as page:
        page.goto("/")
        expect(page.locator("#history-readout")).to_have_text("Last 15 minutes: 30 images, 10 discarded")
        for window, text in (("1 h", "Last hour"), ("24 h", "Last 24 hours"), ("15 min", "Last 15 minutes")):
            page.get_by_text(window, exact=True).click()
            expect(page.locator("#history-readout")).to_have_text(f"{text}: 30 images, 10 discarded")
            expect(page.locator("#reject")).to_have_text("33.3\u202f%")
            expect(page.locator("#reject-note")).to_have_text(f"of 30, {text.lower()}")
        expect(page.locator(".error-examples li")).to_have_count(2)
        expect(page.locator("#versions")).to_contain_text("33.3")
        for summary in page.locator("summary").all():
            summary.click()
        check_width(page)
        check_accessibility(page)


def test_from_a_banner_to_the_picture_that_caused_it(browser: Browser, restarted: Running) -> None:
    with open_page(browser, restarted.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(drift={"psi": 0.31, "limit": 0.12}))
        page.goto("/")
        page.get_by_role("link", name="Show discarded images").click()
        see_the_picture(page)


def test_from_the_runbook_of_an_alert_to_the_picture_that_caused_it(browser: Browser, restarted: Running) -> None:
    section = RUNBOOKS.read_text().partition("\n## LensgateRejectRateHigh\n")[2].partition("\n## ")[0]
    link = re.search(r"`\$GATE(/decisions\?[^`]+)`", section)
    assert link
    with open_page(browser, restarted.url) as page:
        page.goto(link[1])
        see_the_picture(page)


def see_the_picture(page: Page) -> None:
    """Open the newest decision of the list, which shows its picture."""
    page.locator(".result-id").first.click()
    expect(page.get_by_role("heading", name="Discarded")).to_contain_text("uncertain")
    picture = page.get_by_role("img", name="Preview of the image run-7/face-27")
    wait_until(lambda: picture.evaluate("image => image.naturalWidth") > 0)


def test_an_example_of_an_error_leads_to_its_request(browser: Browser, restarted: Running) -> None:
    with open_page(browser, restarted.url, allowed=["404"]) as page:
        page.goto("/")
        page.get_by_role("link", name="a/broken.png").click()
        expect(page.get_by_role("heading", name="the request failed")).to_contain_text("unsupported_image")
        failure = page.locator(".failure")
        expect(failure).to_contain_text("gan-7")
        expect(failure.locator(".log-id")).to_have_text(re.compile("^[0-9A-Z]{26}$"))
        check_accessibility(page)


def test_failed_loads_are_shown_with_their_runbooks(browser: Browser, restarted: Running) -> None:
    loads = {"model": True, "tokens": True, "certificate": True}
    with open_page(browser, restarted.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(loads=loads))
        page.goto("/")
        banners = page.locator("#banners .notice")
        expect(banners).to_have_count(3)
        expect(banners.nth(0)).to_contain_text(
            "The model named by CURRENT cannot be loaded; version 1 is still served."
        )
        for index, alert in enumerate(("modelloadfailed", "tokensloadfailed", "certificateloadfailed")):
            link = banners.nth(index).get_by_role("link", name="Runbook")
            expect(link).to_have_attribute("href", f"http://wiki.example/runbooks#lensgate{alert}")
        expect(page.get_by_role("link", name="Grafana")).to_have_attribute("href", ADDRESSES["grafana_url"])
        check_accessibility(page)


def test_late_examples_do_not_bring_back_the_window_chosen_before(browser: Browser, restarted: Running) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    with open_page(browser, restarted.url) as page:
        page.route("**/v1/failures?*", hold_the_first)
        with page.expect_request("**/v1/failures?*"):
            page.goto("/")
        page.get_by_text("24 h", exact=True).click()
        expect(page.locator(".error-bars")).to_have_attribute("data-steps", "96")
        with page.expect_response("**/v1/failures?*") as late:
            held[0].continue_()
        late.value.finished()
        page.evaluate("fetch('/v1/session').then((response) => response.text())")
        expect(page.locator(".error-bars")).to_have_attribute("data-steps", "96")


def test_the_history_goes_on_after_the_clock_of_the_service_is_set_back(browser: Browser, restarted: Running) -> None:
    with open_page(browser, restarted.url) as page:
        page.clock.install()
        page.goto("/")
        expect(page.locator("#history-readout")).to_contain_text("Last 15 minutes")
        change_snapshot(page, lambda snapshot: snapshot.update(time=snapshot["time"] - 3600))
        with page.expect_request("**/v1/operations/history?*"):
            page.clock.run_for(2_500)


def test_a_promotion_is_marked_and_versions_are_compared(browser: Browser, restarted: Running) -> None:
    history = restarted.client.get("/v1/operations/history").json()
    (old,) = history["versions"]
    new = {**old, "version": "2", "images": 400, "reject_ratio": 0.015}

    def promote(changed: dict[str, Any]) -> dict[str, Any]:
        return {**changed, "versions": [new, old], "changes": [{"time": changed["time"] - 120, "version": "2"}]}

    with open_page(browser, restarted.url) as page:
        page.route("**/v1/operations/history?*", lambda route: route.fulfill(json=promote(history)))
        page.goto("/")
        expect(page.locator("#history .change text")).to_have_text("version 2")
        expect(page.locator("#versions tr")).to_have_count(2)
        discarded = page.locator("#versions tr", has_text="400").get_by_role("link")
        expect(discarded).to_have_attribute("href", re.compile(r"^/decisions\?version=2&decision=discard&since="))
        check_accessibility(page)
