import re
from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe

import pytest
from playwright.sync_api import Browser, Route, expect

from service.access.tokens import hash_token
from service.records.tables import Verdict
from service.review.queue import ReviewQueue
from service.review.reviewer import Reviewer
from tests.browser.browser import NARROW, check_accessibility, check_width, open_page
from tests.browser.desk import REFUSED, Desk, button, held_back, judge, open_desk, saved, shown
from tests.support.servers import running_service


@pytest.fixture
def desk(browser: Browser, tmp_path: Path) -> Iterator[Desk]:
    with open_desk(browser, tmp_path) as desk:
        yield desk


def test_the_next_image_is_there_before_the_verdict_is_saved(desk: Desk) -> None:
    desk.fill(5)
    with desk.sit_down() as page:
        shown(page, "face-0")
        with held_back(page, "PUT", "**/v1/review/verdicts/*"):
            for number, key in enumerate("gnu", start=1):
                judge(page, key)
                shown(page, f"face-{number}")
                assert page.locator(".portrait").evaluate("picture => picture.complete && picture.naturalWidth > 0")
            expect(page.locator("#saving")).to_have_text("saving 3")
            assert desk.said() == {}
        saved(page)
        desk.awaits(face_0="glasses", face_1="no_glasses", face_2="unclear")


def test_unsaved_verdicts_are_kept_and_sent_again(desk: Desk) -> None:
    desk.fill(3)
    with desk.sit_down(allowed=REFUSED) as page:
        shown(page, "face-0")
        problem = {"status": 503, "code": "records_unavailable", "detail": "the record store is unavailable"}
        page.route("**/v1/review/verdicts/*", lambda route: route.fulfill(status=503, json=problem))
        judge(page, "g")
        shown(page, "face-1")
        judge(page, "n")
        expect(page.locator("#saving")).to_have_text("2 not saved, retrying")
        with page.expect_event("dialog") as leaving:
            page.close(run_before_unload=True)
        assert leaving.value.type == "beforeunload"
        leaving.value.dismiss()
        page.unroute("**/v1/review/verdicts/*")
        page.evaluate("dispatchEvent(new Event('online'))")
        saved(page)
        desk.awaits(face_0="glasses", face_1="no_glasses")


def test_conflicting_verdict_is_shown_and_the_review_continues(desk: Desk) -> None:
    records = desk.fill(3)
    with desk.sit_down(allowed=REFUSED) as page:
        shown(page, "face-0")
        # The claim has expired, and another reviewer was quicker.
        late = ReviewQueue(desk.store, clock=lambda: 4e9)
        late.judge(Reviewer("Béla"), records[0], Verdict.UNCLEAR)
        judge(page, "g")
        expect(page.get_by_role("alert")).to_contain_text("Your verdict on face-0 was not accepted: Béla has judged")
        shown(page, "face-1")
        judge(page, "n")
        desk.awaits(face_0="unclear", face_1="no_glasses")
        check_accessibility(page)
        button(page, "Close")
        expect(page.locator("#notices")).to_be_empty()
        page.keyboard.press("z")
        page.keyboard.press("z")  # No own verdict is left to undo.
        desk.awaits(face_0="unclear")


def test_undo_of_a_verdict_after_a_refused_one_deletes_it(desk: Desk) -> None:
    records = desk.fill(2)
    with desk.sit_down(allowed=REFUSED) as page:
        page.keyboard.press("2")
        # Both images are claimed by this page before another reviewer judges one of them.
        expect(page.locator(".tile")).to_have_count(2)
        late = ReviewQueue(desk.store, clock=lambda: 4e9)
        late.judge(Reviewer("Béla"), records[0], Verdict.UNCLEAR)
        page.locator(".tile").first.click()
        judge(page, "g")
        expect(page.locator(".tile").first).to_have_attribute("data-choice", "refused")
        late.retract(Reviewer("Béla"), records[0])
        late.release(Reviewer("Béla"))
        page.locator(".tile").first.click()
        judge(page, "g")
        desk.awaits(face_0="glasses")
        page.keyboard.press("z")
        desk.awaits()
        saved(page)


def test_empty_queue_is_shown_until_an_image_arrives(desk: Desk) -> None:
    with desk.sit_down(width=NARROW) as page:
        expect(page.get_by_text("No discarded images are waiting for a verdict.")).to_be_visible()
        check_accessibility(page)
        check_width(page)
        desk.fill(1)
        button(page, "Check again")
        shown(page, "face-0")


def test_disabled_records_are_shown(browser: Browser) -> None:
    with running_service() as running, open_page(browser, running.url, width=NARROW, allowed=REFUSED) as page:
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Records are off.")).to_be_visible()
        expect(page.locator("#side")).to_be_hidden()
        check_accessibility(page)
        check_width(page)


def test_failing_store_is_shown_and_retried(desk: Desk) -> None:
    desk.fill(1)
    with open_page(desk.browser, desk.running.url, allowed=REFUSED) as page:
        problem = {"status": 503, "code": "records_unavailable", "detail": "the record store is unavailable"}
        page.route("**/v1/review/**", lambda route: route.fulfill(status=503, json=problem))
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Images cannot be loaded.")).to_be_visible()
        expect(page.get_by_text("the record store is unavailable")).to_be_visible()
        check_accessibility(page)
        with page.expect_request("**/v1/review/claims"):
            button(page, "Retry now")
        page.unroute("**/v1/review/**")  # After the click: an automatic retry would remove the button.
        shown(page, "face-0")


def test_missing_preview_is_shown(desk: Desk) -> None:
    desk.fill(2)
    with open_page(desk.browser, desk.running.url, allowed=REFUSED) as page:
        page.route("**/v1/decisions/*/image", lambda route: route.fulfill(status=404))
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        expect(page.get_by_text("The preview has been deleted. Skip this image.")).to_be_visible()
        page.keyboard.press("s")
        shown(page, "face-1")


@pytest.mark.parametrize("view", ["single", "grid"])
def test_a_verdict_waits_for_the_preview(desk: Desk, view: str) -> None:
    desk.fill(2)
    with open_page(desk.browser, desk.running.url, allowed=REFUSED) as page:
        page.route("**/v1/decisions/*/image", lambda route: route.abort())
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        expect(page.get_by_text("The preview cannot be loaded. The page tries again")).to_be_visible()
        if view == "grid":
            page.keyboard.press("2")
            expect(page.locator(".tile").first).to_contain_text("not loaded yet")
        page.keyboard.press("g")
        expect(page.get_by_role("status").filter(has_text="No verdict: the preview is not loaded.")).to_be_attached()
        page.unroute("**/v1/decisions/*/image")
        expect(page.locator("#stage")).not_to_contain_text("loaded")
        page.keyboard.press("n")
        desk.awaits(face_0="no_glasses")


def test_every_refused_verdict_is_named(desk: Desk) -> None:
    desk.fill(4)
    with desk.sit_down(allowed=REFUSED) as page:
        shown(page, "face-0")
        reasons = iter(["Béla has judged it", "Béla has judged it", "the image was deleted"])

        def refuse(route: Route) -> None:
            problem = {"status": 409, "code": "conflict", "detail": next(reasons)}
            route.fulfill(status=409, json=problem, content_type="application/problem+json")

        page.route("**/v1/review/verdicts/*", refuse)
        judge(page, "g", "n", "g")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("Your verdicts on face-0, face-1 were not accepted: Béla has judged it.")
        expect(alert).to_contain_text("Your verdict on face-2 was not accepted: the image was deleted.")
        check_accessibility(page)


@pytest.mark.parametrize("status", [403, 404, 520])
def test_a_proxys_error_loses_no_verdict(desk: Desk, status: int) -> None:
    desk.fill(2)
    with desk.sit_down(allowed=REFUSED) as page:
        shown(page, "face-0")
        page.route("**/v1/review/verdicts/*", lambda route: route.fulfill(status=status, body="<h1>no backend</h1>"))
        judge(page, "g")
        expect(page.locator("#saving")).to_have_text("1 not saved, retrying")
        page.unroute("**/v1/review/verdicts/*")
        page.evaluate("dispatchEvent(new Event('online'))")
        saved(page)
        desk.awaits(face_0="glasses")


def test_a_proxys_error_is_named_in_place_of_the_images(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, allowed=REFUSED) as page:
        page.route("**/v1/review/claims", lambda route: route.fulfill(status=404, body="<h1>no backend</h1>"))
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        expect(page.locator("#stage")).to_contain_text("a proxy answered /v1/review/claims with status 404")


def test_a_page_that_could_not_begin_begins_later(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, allowed=REFUSED) as page:
        page.clock.install()
        page.route("**/v1/session", lambda route: route.fulfill(status=503, body="restarting"))
        page.goto("/review")
        expect(page.locator("#stage")).to_contain_text("The page retries automatically.")
        page.unroute("**/v1/session")
        page.clock.run_for(5_000)
        expect(page.get_by_label("Your name")).to_be_visible()


# The first verdict gets no answer, ever, and time-outs are short.
DEAD = """
const [send, wait] = [window.fetch, AbortSignal.timeout.bind(AbortSignal)];
let isFirst = true;
AbortSignal.timeout = (ms) => wait(ms / 10);
window.fetch = (url, options) => {
  if (options?.method !== "PUT" || !isFirst) return send(url, options);
  isFirst = false;
  return new Promise((_, reject) => {
    options.signal?.addEventListener("abort", () => reject(options.signal.reason));
  });
};
"""


def test_a_verdict_on_a_dead_connection_is_sent_again(desk: Desk) -> None:
    desk.fill(2)
    with open_page(desk.browser, desk.running.url) as page:
        page.add_init_script(DEAD)
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        shown(page, "face-0")
        judge(page, "g")
        expect(page.locator("#saving")).to_have_text("1 not saved, retrying")
        desk.awaits(face_0="glasses")


def test_verdicts_outlive_the_session_and_are_sent_after_a_new_login(browser: Browser, tmp_path: Path) -> None:
    secret = token_urlsafe()
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "carla"\nsha256 = "{hash_token(secret)}"\nscopes = ["review"]\n')
    tokens.chmod(0o600)
    with (
        open_desk(browser, tmp_path, tokens=tokens) as desk,
        open_page(browser, desk.running.url, allowed=REFUSED) as page,
    ):
        desk.fill(3)
        page.request.post("/v1/session", data={"token": secret})
        page.goto("/review")
        shown(page, "face-0")
        page.context.clear_cookies()
        judge(page, "g")
        judge(page, "n")
        expect(page.get_by_role("alert")).to_contain_text("Your session has ended. Log in in another tab")
        expect(page.get_by_role("link", name="Log in in another tab")).to_have_attribute(
            "href", "/login?next=%2Freview"
        )
        check_accessibility(page)
        page.request.post("/v1/session", data={"token": secret})
        page.evaluate("dispatchEvent(new Event('online'))")
        saved(page)
        desk.awaits(face_0="glasses", face_1="no_glasses")
        expect(page.locator("#logged-out")).to_be_hidden()
        # Without unsaved verdicts the page leads to the login.
        page.context.clear_cookies()
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page).to_have_url(re.compile("/login"))


def test_the_name_stays_until_the_verdicts_under_it_are_saved(desk: Desk) -> None:
    desk.fill(3)
    with desk.sit_down() as page:
        shown(page, "face-0")
        with held_back(page, "PUT", "**/v1/review/verdicts/*"):
            judge(page, "g")
            button(page, "Change")
            expect(page.get_by_role("alert")).to_contain_text("Your verdicts are not saved yet")
            shown(page, "face-1")
        saved(page)
        button(page, "Change")
        expect(page.get_by_label("Your name")).to_be_focused()
        desk.awaits(face_0="glasses")


def test_a_name_that_the_service_refuses_is_asked_for_again(desk: Desk) -> None:
    desk.fill(1)
    with desk.sit_down("Jean\N{NO-BREAK SPACE}Paul", allowed=REFUSED) as page:
        expect(page.get_by_role("alert")).to_contain_text("Choose another name: must be 1 to 64 printable characters.")
        check_accessibility(page)
        page.get_by_label("Your name").fill("Jean Paul")
        page.keyboard.press("Enter")
        shown(page, "face-0")


def test_without_storage_the_page_asks_for_the_name_each_time(desk: Desk) -> None:
    desk.fill(1)
    with open_page(desk.browser, desk.running.url) as page:
        page.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
        )
        page.goto("/review")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        shown(page, "face-0")


def test_invalid_filter_is_shown_and_not_retried(desk: Desk) -> None:
    with open_page(desk.browser, desk.running.url, allowed=REFUSED) as page:
        page.goto("/review?min_probability=2")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        expect(page.get_by_text("The filters cannot be applied.")).to_be_visible()
        expect(page.locator("#stage")).to_contain_text("min_probability")
        expect(page.locator("#stage")).not_to_contain_text("retries")
        page.get_by_role("link", name="Clear the filters").click()
        expect(page.get_by_text("No discarded images are waiting")).to_be_visible()
