import re
from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe

import pytest
from playwright.sync_api import Browser, Route, expect
from sqlalchemy import select

from service.access.tokens import hash_token
from service.records.tables import Verdict, verdicts
from service.review.queue import ReviewQueue
from service.review.reviewer import Reviewer
from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page, tab_to
from tests.browser.desk import Desk, button, judge, loaded, open_desk, saved, shown
from tests.service.review.decisions import audited, decision, fill


@pytest.fixture
def desk(browser: Browser, tmp_path: Path) -> Iterator[Desk]:
    with open_desk(browser, tmp_path) as desk:
        yield desk


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")])
def test_every_button_does_what_it_says(desk: Desk, width: int, scheme: Scheme) -> None:
    desk.fill(6, expected="no_glasses")
    with desk.sit_down(width=width, scheme=scheme) as page:
        shown(page, "face-0")
        expect(page.get_by_role("img", name="Portrait for review")).to_be_visible()
        expect(page.get_by_role("img", name="probability of glasses 0.510; discarded from 0.4 to 0.6")).to_be_visible()
        lefts = {page.locator(part).evaluate("e => e.getBoundingClientRect().x") for part in (".scale", ".fact-list")}
        assert len(lefts) == 1  # One below the other.
        check_accessibility(page)
        check_width(page)
        for number, name in enumerate(("Glasses", "No glasses", "Unclear", "Skip"), start=1):
            button(page, name)
            shown(page, f"face-{number}")
        desk.awaits(face_0="glasses", face_1="no_glasses", face_2="unclear")
        for identity in ("face-3", "face-2"):
            button(page, "Undo")
            shown(page, identity)
        desk.awaits(face_0="glasses", face_1="no_glasses")
        expect(page.locator("#waiting-discarded")).to_have_text("4")
        expect(page.locator("#session-count")).to_have_text("2")
        page.locator("[value=grid] + span").click()
        expect(page.locator(".tile")).to_have_count(4)
        page.locator(".tile").nth(3).click()
        loaded(page)
        button(page, "No glasses")
        desk.awaits(face_0="glasses", face_1="no_glasses", face_5="no_glasses")
        check_accessibility(page)
        check_width(page)
        button(page, "Help")
        expect(page.get_by_role("dialog", name="Help")).to_be_visible()
        check_accessibility(page)
        button(page, "Close")
        expect(page.get_by_role("dialog")).to_be_hidden()


def test_keyboard_alone_judges_skips_and_undoes(desk: Desk) -> None:
    desk.fill(5)
    with open_page(desk.browser, desk.running.url) as page:
        page.goto("/review")
        expect(page.get_by_label("Your name")).to_be_focused()
        expect(page.locator("aside .skeleton")).to_have_text([""] * 5)
        page.keyboard.type("Anna")
        page.keyboard.press("Enter")
        shown(page, "face-0")
        judge(page, "g", "N", "u", "s")
        shown(page, "face-4")
        for key in ("z", "Backspace"):
            page.keyboard.press(key)
        shown(page, "face-2")
        judge(page, "n")
        desk.awaits(face_0="glasses", face_1="no_glasses", face_2="no_glasses")
        expect(page.get_by_role("status").filter(has_text="no glasses. Next:")).to_be_attached()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Help")).to_be_visible()
        judge(page, "g")  # Keys do not judge images behind the help dialog.
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        shown(page, "face-3")
        tab_to(page, "[data-act=unclear]")
        page.keyboard.press("Enter")
        shown(page, "face-4")
        desk.awaits(face_0="glasses", face_1="no_glasses", face_2="no_glasses", face_3="unclear")


@pytest.mark.parametrize(
    ("typed", "key", "code"), [("Cyrillic", "\N{CYRILLIC SMALL LETTER PE}", "KeyG"), ("shifted digits", "&", "Digit2")]
)
def test_shortcuts_work_on_other_layouts(desk: Desk, typed: str, key: str, code: str) -> None:
    desk.fill(2)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.dispatch_event("body", "keydown", {"key": key, "code": code})
        if typed == "Cyrillic":
            desk.awaits(face_0="glasses")
        else:
            expect(page.locator(".tile")).to_have_count(2)


def test_letters_of_other_latin_layouts_are_what_they_say(desk: Desk) -> None:
    desk.fill(2)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.dispatch_event("body", "keydown", {"key": "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "code": "KeyG"})
        page.dispatch_event("body", "keydown", {"key": "i", "code": "KeyG"})
        page.dispatch_event("body", "keydown", {"key": "u", "code": "KeyF"})
        desk.awaits(face_0="unclear")


def test_key_events_of_autofill_and_extensions_are_left_alone(desk: Desk) -> None:
    desk.fill(1)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.evaluate("document.body.dispatchEvent(new Event('keydown', { bubbles: true }))")
        page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'g' }))")
        judge(page, "n")
        desk.awaits(face_0="no_glasses")


def test_a_double_click_judges_one_image(desk: Desk) -> None:
    desk.fill(3)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.get_by_role("button", name="Glasses", exact=True).dblclick()
        shown(page, "face-1")
        desk.awaits(face_0="glasses")
        page.get_by_role("button", name="Glasses", exact=True).click()
        shown(page, "face-2")
        page.get_by_role("button", name="Undo").dblclick()
        shown(page, "face-1")
        desk.awaits(face_0="glasses")


def test_equal_verdicts_are_both_announced(desk: Desk) -> None:
    desk.fill(3)
    with desk.sit_down() as page:
        shown(page, "face-0")
        judge(page, "n")
        first = page.locator("#announce").text_content()
        judge(page, "n")
        assert page.locator("#announce").text_content() not in (first, "")


def test_the_grid_is_walked_by_arrows_and_keeps_its_focus(desk: Desk) -> None:
    desk.fill(30)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.keyboard.press("2")
        tiles = page.locator(".tile")
        expect(tiles).to_have_count(24)
        tab_to(page, ".tile")
        for key in (
            "ArrowRight",
            "ArrowRight",
            "ArrowLeft",
            "End",
            "Home",
            "ArrowDown",
            "ArrowUp",
            "ArrowUp",
            "ArrowRight",
        ):
            page.keyboard.press(key)
        expect(tiles.nth(1)).to_be_focused()
        judge(page, "g")
        expect(tiles.nth(2)).to_be_focused()
        expect(tiles.nth(1)).to_have_accessible_name("Image 2 of 24: glasses; the model: glasses 0.510, uncertain")
        page.keyboard.press("ArrowLeft")
        judge(page, "n")  # Said otherwise after all.
        desk.awaits(face_1="no_glasses")
        page.keyboard.press("z")
        desk.awaits(face_1="glasses")
        page.keyboard.press("z")
        desk.awaits()
        expect(tiles.nth(1)).to_be_focused()
        for _ in range(24):
            judge(page, "u")
        expect(tiles).to_have_count(6)
        expect(tiles.first).to_be_focused()
        saved(page)
        assert set(desk.said().values()) == {"unclear"}
        assert len(desk.said()) == 24


def test_the_selected_image_has_an_outline_which_forced_colours_leave(desk: Desk) -> None:
    desk.fill(3)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.keyboard.press("2")
        page.emulate_media(forced_colors="active")
        expect(page.locator('.tile[aria-selected="true"]')).to_have_css("outline-style", "solid")
        expect(page.locator('.tile[aria-selected="false"]').first).to_have_css("outline-style", "none")


def test_the_filters_of_a_link_choose_the_images(desk: Desk) -> None:
    desk.fill(3)
    fill(desk.store, [decision(id="upside-down", reason="unfamiliar", probability=0.98)])
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.goto("/decisions?reason=unfamiliar")
        page.get_by_role("link", name="Review these").click()
        shown(page, "upside-down")
        expect(page.locator("#filters-title")).to_have_text("Filters (1 in use)")
        expect(page.locator(".badge--unfamiliar")).to_be_visible()
        check_accessibility(page)
        judge(page, "u")
        expect(page.get_by_text("Only images that match the filters are shown.")).to_be_visible()
        page.get_by_role("link", name="Clear").click()
        shown(page, "face-0")


def test_the_kind_in_the_address_outlives_filters_and_reloads(desk: Desk) -> None:
    desk.fill(1)
    fill(desk.store, [audited(id="kept")])
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.goto("/review?kind=audit&decision=accept")
        shown(page, "kept")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile(r"/review\?decision=accept&kind=audit$"))
        shown(page, "kept")
        page.get_by_text("Discarded", exact=True).click()
        expect(page.get_by_text("No discarded images are waiting")).to_be_visible()
        page.reload()
        expect(page.get_by_text("No discarded images are waiting")).to_be_visible()


def test_two_reviewers_never_see_the_same_image(desk: Desk) -> None:
    desk.fill(36)
    with desk.sit_down("Anna") as first, desk.sit_down("Béla") as second:
        shown(first, "face-0")
        shown(second, "face-30")
        for _ in range(6):
            judge(second, "n")
        expect(second.get_by_text("No discarded images are waiting for a verdict.")).to_be_visible()
        expect(second.get_by_text("Other reviewers are looking at")).to_be_visible()
        saved(second)
    assert sorted(desk.said()) == [f"face-{index}" for index in range(30, 36)]


def test_skipped_image_can_be_reviewed_later(desk: Desk) -> None:
    desk.fill(2)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.keyboard.press("s")
        shown(page, "face-1")
        page.keyboard.press("s")
        button(page, "Show the 2 again")
        shown(page, "face-0")
        judge(page, "g")
        desk.awaits(face_0="glasses")


def test_the_audit_hides_the_models_answer_until_the_verdict(desk: Desk) -> None:
    fill(desk.store, [audited(id=f"audit-{index}") for index in range(4)])
    desk.fill(1)
    with desk.sit_down() as page:
        shown(page, "face-0")
        expect(page.locator(".scale-value")).to_contain_text("0.510")
        page.get_by_text("Audit", exact=True).click()
        expect(page.locator(".veil")).to_be_visible()
        expect(page.locator(".scale-value")).to_be_hidden()
        expect(page.locator(".fact-list").get_by_text("Reason")).to_be_hidden()
        judge(page, "n")
        expect(page.get_by_text("Last: no glasses; the model: glasses 0.980")).to_be_visible()
        judge(page, "g")
        expect(page.locator("#audit-body")).to_contain_text("50.00 % 1 of 2 labelled wrongly".replace(" %", "\u202f%"))
        expect(page.locator("#audit-body")).to_contain_text("Of 4 images in the sample, 2 without a verdict")
        expect(page.locator("#audit-body")).to_contain_text("25.0\u202f% and 75.0\u202f%")
        expect(page.locator("#audit-body")).to_contain_text("not certified")
        expect(page.get_by_text("Second reading, waiting").locator("xpath=..")).to_contain_text("1")
        page.get_by_role("button", name="Certify").click()
        expect(page.locator("#certificate-body")).to_contain_text(
            "1 of 2 wrong above 0.6, too many errors for 20\u202f000 more labels"
        )
        expect(page.locator("#certificate-body")).to_contain_text("about 372 more labels needed")
        page.get_by_label("Model's answer").select_option("always shown")
        expect(page.locator(".scale-value")).to_contain_text("0.980")
        page.get_by_text("Discarded", exact=True).click()
        page.get_by_label("Model's answer").select_option("always hidden")
        shown(page, "face-0")
        expect(page.locator(".veil")).to_be_visible()


def test_name_view_and_answer_are_remembered(desk: Desk) -> None:
    desk.fill(3)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.keyboard.press("2")
        page.get_by_label("Model's answer").select_option("always hidden")
        page.reload()
        expect(page.locator(".tile")).to_have_count(3)
        expect(page.get_by_label("Model's answer")).to_have_value("hidden")
        expect(page.locator("#who")).to_contain_text("Anna")
        button(page, "Change")
        page.get_by_label("Your name").fill("Béla")
        page.keyboard.press("Enter")
        expect(page.locator("#who")).to_contain_text("Béla")
        expect(page.locator(".tile")).to_have_count(3)  # They are no longer reserved for Anna.
        with desk.sit_down() as other:
            expect(other.get_by_text("Other reviewers are looking at 3 more")).to_be_visible()


@pytest.mark.parametrize("width", [320, WIDE])
def test_the_longest_names_of_reviewer_and_source_do_not_widen_the_page(desk: Desk, width: int) -> None:
    with desk.sit_down("M" * 64, width=width) as page:
        page.locator("#certificate-form input").fill("W" * 128)
        button(page, "Certify")
        expect(page.locator("#certificate-body")).to_contain_text("W" * 128)
        check_width(page)


def test_a_certificate_that_arrives_late_does_not_replace_a_later_one(desk: Desk) -> None:
    held: list[Route] = []
    with desk.sit_down() as page:
        page.route("**/v1/review/certificate?source=first", lambda route: held.append(route))  # noqa: PLW0108 - no builtin
        page.locator("#certificate-form input").fill("first")
        with page.expect_request("**/v1/review/certificate?source=first"):
            button(page, "Certify")
        expect(page.locator("#certificate-body")).to_have_text("Computing …")
        page.locator("#certificate-form input").fill("second")
        button(page, "Certify")
        expect(page.locator("#certificate-body")).to_contain_text("source second")
        with page.expect_response("**/v1/review/certificate?source=first") as late:
            held[0].continue_()
        late.value.finished()
        page.evaluate("fetch('/v1/session').then((response) => response.text())")
        expect(page.locator("#certificate-body")).to_contain_text("source second")


def test_single_keys_can_be_switched_off(desk: Desk) -> None:
    desk.fill(2)
    with desk.sit_down() as page:
        shown(page, "face-0")
        page.keyboard.press("?")
        page.get_by_label("Single-key shortcuts").uncheck()
        button(page, "Close")
        judge(page, "g")
        button(page, "No glasses")
        desk.awaits(face_0="no_glasses")


def test_verdicts_are_downloaded(desk: Desk) -> None:
    (record,) = desk.fill(1)
    ReviewQueue(desk.store).judge(Reviewer("Anna"), record, Verdict.GLASSES)
    with desk.sit_down() as page:
        for name, text in (
            ("corrections.csv", f"face-{record},glasses"),
            ("corrections.csv with callers' ids", "face-0,glasses"),
        ):
            with page.expect_download() as download:
                page.get_by_role("link", name=name, exact=True).click()
            assert text in download.value.path().read_text()
        with page.expect_download() as download:
            page.get_by_role("link", name="dataset.tar").click()
        assert download.value.suggested_filename == "dataset.tar"
        assert record.encode() in download.value.path().read_bytes()


def test_reviewer_name_is_that_of_the_token(browser: Browser, tmp_path: Path) -> None:
    secret = token_urlsafe()
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "carla"\nsha256 = "{hash_token(secret)}"\nscopes = ["review"]\n')
    tokens.chmod(0o600)
    with open_desk(browser, tmp_path, tokens=tokens) as desk:
        desk.fill(2)
        with open_page(browser, desk.running.url) as page:
            page.request.post("/v1/session", data={"token": secret})
            page.goto("/review")
            shown(page, "face-0")
            expect(page.locator("#who")).to_have_text("carla")
            expect(page.get_by_role("button", name="Change")).to_be_hidden()
            judge(page, "g")
            shown(page, "face-1")
            judge(page, "n")
            page.keyboard.press("z")
            desk.awaits(face_0="glasses")
            saved(page)
            with desk.store.begin() as connection:
                assert connection.scalar(select(verdicts.c.reviewer)) == "carla"
