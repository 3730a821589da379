"""The decision explorer: from a list with filters to the explanation of one verdict."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from service.ids import new_id
from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page
from tests.browser.desk import Desk, open_desk
from tests.service.review.decisions import audited, decision, fill

ODD = "run  7/50% off?#<b>/☃.png"


@pytest.fixture(scope="module")
def desk(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A store with 60 discarded images, two of other kinds and one with an unusual id."""
    with open_desk(browser, tmp_path_factory.mktemp("records")) as desk:
        desk.fill(60)
        # Ids of the same millisecond are in no order.
        oldest, middle, newest = sorted(new_id() for _ in range(3))
        unfamiliar: dict[str, Any] = {"reason": "unfamiliar", "probability": 0.97, "novelty": 3.5, "version": "2"}
        fill(desk.store, [decision(oldest, id="upside-down", expected="glasses", **unfamiliar)])
        fill(desk.store, [audited(middle, id="kept", novelty=-1.0, expected="glasses")], jpeg=None)
        fill(desk.store, [decision(newest, id=ODD, reason="contradicted", probability=0.02, label="no_glasses")])
        yield desk


def visit(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_list_and_decision_are_accessible_at_every_width(desk: Desk, width: int, scheme: Scheme) -> None:
    with open_page(desk.browser, desk.running.url, width=width, scheme=scheme, allowed=["404"]) as page:
        visit(page, "/decisions")
        expect(page.locator(".result")).to_have_count(50)
        for name in ("upside-down", "kept", "unknown"):
            check_width(page)
            check_accessibility(page)
            visit(page, f"/decisions/{name}")
        check_width(page)
        check_accessibility(page)


def test_a_list_is_filtered_and_paged_by_links(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        visit(page, "/decisions")
        page.get_by_label("Reason").select_option("uncertain")
        page.get_by_label("Probability from").fill("0.5")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile(r"/decisions\?reason=uncertain&min_probability=0.5$"))
        expect(page.locator(".result")).to_have_count(50)
        page.get_by_role("link", name="Older").click()
        expect(page.locator(".result")).to_have_count(10)
        expect(page.locator(".result").last).to_contain_text("face-0")
        expect(page.get_by_label("Reason")).to_have_value("uncertain")
        page.get_by_role("link", name="Newest").click()
        expect(page.locator(".result").first).to_contain_text("face-59")
        page.go_back()
        expect(page.locator(".result")).to_have_count(10)
        page.get_by_role("link", name="Clear").click()
        expect(page.locator(".result").first).to_contain_text("☃")


def test_back_shows_the_filters_in_use_and_no_others(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        visit(page, "/decisions")
        page.get_by_label("Reason").select_option("unfamiliar")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".result")).to_have_count(1)
        page.go_back()
        expect(page.locator(".result")).to_have_count(50)
        expect(page.get_by_label("Reason")).to_have_value("")


def test_decisions_are_counted_in_words(browser: Browser, tmp_path: Path) -> None:
    with open_desk(browser, tmp_path) as desk, open_page(browser, desk.running.url) as page:
        count = page.locator("#count")
        visit(page, "/decisions")
        expect(count).to_have_text("No decisions yet.")
        visit(page, "/decisions?reason=uncertain")
        expect(count).to_have_text("No decision matches these filters.")
        desk.fill(51)
        visit(page, "/decisions")
        expect(count).to_have_text("50 decisions of more, newest first")
        page.get_by_role("link", name="Older").click()
        expect(count).to_have_text("1 decision of more")


def test_times_are_entered_in_the_readers_time_zone(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        visit(page, "/decisions")
        page.get_by_label("From", exact=True).fill("2027-01-15T08:00:00")
        with page.expect_request("**/v1/decisions?since=*") as request:
            page.get_by_role("button", name="Apply").click()
        local = page.evaluate("new Date('2027-01-15T08:00:00').toISOString()")
        assert quote(local.replace(".000", ""), safe="") in request.value.url
        expect(page.get_by_label("From", exact=True)).to_have_value(re.compile("^2027-01-15T08:00(:00)?$"))


def test_time_of_the_address_stays_exact_while_other_filters_change(desk: Desk) -> None:
    """It is the second 02:30 of that night in Berlin."""
    with open_page(desk.browser, desk.running.url, zone="Europe/Berlin") as page:
        visit(page, "/decisions?since=2026-10-25T01:30:00.250Z")
        page.get_by_label("Reason").select_option("uncertain")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile(r"reason=uncertain&since=2026-10-25T01%3A30%3A00.250Z$"))
        page.get_by_label("From", exact=True).fill("2026-10-26T02:30")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile(r"since=2026-10-26T01%3A30%3A00Z$"))


def test_filters_that_their_fields_cannot_show_stay_in_use(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        visit(page, "/decisions?since=2026-11-30_12:00:00Z&min_probability=%2B0.5&max_probability=1.")
        expect(page.get_by_label("From", exact=True)).to_have_value("2026-11-30_12:00:00Z")
        expect(page.get_by_label("Probability from")).to_have_value("0.5")
        page.get_by_label("Reason").select_option("uncertain")
        page.get_by_role("button", name="Apply").click()
        applied = r"\?reason=uncertain&since=2026-11-30_12%3A00%3A00Z&min_probability=0.5&max_probability=1$"
        expect(page).to_have_url(re.compile(applied))


def test_a_time_without_a_zone_is_utc_as_for_the_api(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, zone="Asia/Kathmandu") as page:
        visit(page, "/decisions?since=2026-11-30T12:00&until=2026-11-30T12:00:00-05:00")
        expect(page.get_by_label("From", exact=True)).to_have_value(re.compile("^2026-11-30T17:45"))
        expect(page.get_by_label("Before", exact=True)).to_have_value(re.compile("^2026-11-30T22:45"))


def test_moments_name_the_time_zone_of_the_reader(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, zone="Asia/Kathmandu") as page:
        visit(page, "/decisions?id=upside-down")
        page.get_by_role("link", name="upside-down").click()
        expect(page.get_by_text(re.compile(r"^\d+ \w+ \d{4}, \d\d:\d\d:\d\d GMT\+5:45$"))).to_be_visible()


def test_invalid_filter_value_is_named(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, allowed=["400"]) as page:
        visit(page, "/decisions?reason=bored")
        expect(page.get_by_role("alert")).to_contain_text("reason: must be")
        expect(page.get_by_label("Reason")).to_have_value("bored")


def test_a_query_that_cannot_be_followed_lists_nothing(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        for address, fault in (
            ("/decisions?expcted=glasses", "unknown name “\u2068expcted\u2069”, accepted: id, source,"),
            ("/decisions?reason=uncertain&reason=unfamiliar", "reason has two values"),
            ("/decisions?source=", "source is empty, give a value or leave it out"),
            ("/review?Reason=uncertain", "unknown name “\u2068Reason\u2069”"),
            ("/review?kind=Audit", "kind must be discarded, audit or all"),
        ):
            visit(page, address)
            expect(page.get_by_text("The filters cannot be applied")).to_be_visible()
            expect(page.get_by_text(fault)).to_be_visible()
            expect(page.get_by_label("Your name").or_(page.locator(".result"))).to_have_count(0)


def test_a_part_of_the_address_without_effect_is_named(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        for path, part in (("/decisions/upside-down", "?.png"), ("/decisions/kept", "#2"), ("/", "?window=24h")):
            visit(page, path + part)
            expect(page.get_by_role("alert").first).to_contain_text(
                f"“\u2068{part}\u2069” in the address has no effect"
            )


def test_the_verdict_is_explained_by_its_checks(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        visit(page, "/decisions?id=upside-down")
        page.get_by_role("link", name="upside-down").click()
        expect(page.get_by_role("heading", name="Discarded")).to_contain_text("unfamiliar")
        checks = page.locator(".check")
        expect(checks.nth(0)).to_contain_text("failed")
        expect(checks.nth(0)).to_contain_text("Novelty 3.50")
        expect(checks.nth(1)).to_contain_text("not applied")
        expect(checks.nth(2)).to_contain_text("The label is glasses, expected glasses.")
        scale = page.get_by_role("img", name="probability 0.970; the band is 0.4 to 0.6")
        expect(scale).to_be_visible()
        expect(page.get_by_role("img", name="Preview of the image upside-down")).to_be_visible()
        expect(page.get_by_role("link", name="glasses 2")).to_have_attribute("href", "/decisions?version=2")
        visit(page, "/decisions/kept")
        expect(page.get_by_role("heading", name="Accepted")).to_contain_text("accepted")
        expect(page.locator(".decision-picture")).to_contain_text("No picture")


def test_links_to_the_same_images_wait_for_the_filters(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        page.route("**/v1/decisions?*", lambda _: None)
        page.goto("/decisions?reason=unfamiliar")
        expect(page.locator("#box-title")).to_have_text("Filters (1 in use)")
        for name in ("Review these", "decisions.csv"):
            expect(page.get_by_text(name)).not_to_have_attribute("href", re.compile("."))


def test_the_link_to_the_review_selects_the_same_images(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        review = page.get_by_text("Review these")
        for filters, address in (
            ("label=glasses", "/review?label=glasses&kind=all"),
            ("reason=confident&audit=true", "/review?reason=confident&kind=audit"),
            ("audit=0", "/review?kind=discarded"),
        ):
            visit(page, f"/decisions?{filters}")
            expect(review).to_have_attribute("href", address)
        visit(page, "/decisions?verdict=glasses")  # Judged images are not in the review.
        expect(review).to_be_hidden()


def test_a_probability_near_an_edge_is_shown_on_its_side_of_the_band(desk: Desk) -> None:
    band: dict[str, Any] = {"band_low": 0.0499, "band_high": 0.99999467}
    kept: dict[str, Any] = {"decision": "accept", "reason": "confident"} | band
    fill(desk.store, [decision(id="inside", probability=0.99956286, source="edge", **band)], jpeg=None)
    fill(desk.store, [decision(id="above", probability=0.99999857, source="edge", **kept)], jpeg=None)
    fill(desk.store, [decision(id="rounded", probability=0.9999995, source="edge", **kept)], jpeg=None)
    fill(desk.store, [decision(id="below", probability=0.04988, label="no_glasses", source="edge", **kept)], jpeg=None)
    shown = {"inside": "0.9996", "above": "0.999999", "rounded": ">\u202f0.999999", "below": "0.04988"}
    with open_page(desk.browser, desk.running.url) as page:
        visit(page, "/decisions?source=edge")
        for name, text in shown.items():
            expect(page.locator(".result", has_text=name).locator("strong")).to_have_text(text)
        for name, text in shown.items():
            visit(page, f"/decisions/{name}")
            side = "inside" if name == "inside" else "outside"
            expect(page.locator(".check").nth(1)).to_contain_text(f"{text}, {side} the band 0.0499 to 0.99999467.")


def test_any_id_has_a_page_and_an_unknown_one_helps(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, allowed=["404"]) as page:
        visit(page, f"/decisions/{quote(ODD, safe='')}")
        expect(page.locator("#title")).to_have_text(ODD)
        assert page.locator("#title").inner_text() == ODD  # With both blanks, as it is copied.
        answer = page.goto("/decisions/face-100")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", name="No decision with this id")).to_be_visible()
        page.get_by_label("Id", exact=True).fill("face-7")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".result")).to_have_count(1)
        expect(page.locator(".result")).to_contain_text("face-7")


def test_unavailable_store_is_shown(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "records.db").mkdir()
    with open_desk(browser, tmp_path) as desk, open_page(browser, desk.running.url, allowed=["503"]) as page:
        answer = page.goto("/decisions/face-1")
        assert answer is not None
        assert answer.status == 503
        expect(page.get_by_role("alert")).to_contain_text("the record store is unavailable")
        visit(page, "/decisions")
        expect(page.get_by_role("alert")).to_contain_text("The records cannot be read")


def test_ages_grow_while_the_list_is_open(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        page.clock.install(time="2027-01-15T08:00:00Z")
        visit(page, "/decisions?id=face-0")
        age = page.locator("#results time")
        before = age.inner_text()
        page.clock.fast_forward("02:30")
        expect(age).not_to_have_text(before)
        expect(age).to_have_text(re.compile(r"^[2-4] min ago$"))


def test_a_time_ahead_of_the_readers_clock_has_no_age(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url) as page:
        page.clock.install(time="2027-01-15T07:00:00Z")
        visit(page, "/decisions?id=face-0")
        expect(page.locator("#results time")).to_contain_text("15 Jan 2027")
