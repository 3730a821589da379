import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page, tab_to
from tests.service.access.keys import token_of, write_tokens
from tests.support.images import encode, flat
from tests.support.servers import Running, running_service, wait_until

SNAPSHOT = "**/v1/operations"
BLANK = "<link rel=icon href=data:,>"
BRIGHT, GREY, DARK = flat(250), flat(128), flat(5)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that has decided about some images and recorded them, two of five as uncertain or contradicted."""
    database = tmp_path_factory.mktemp("records") / "records.db"
    with running_service(records_url=f"sqlite:///{database}") as service:
        for index in range(50):
            service.post(encode((BRIGHT, DARK, GREY)[index % 3]), id=f"face-{index}")
            service.post(encode(DARK), id=f"ordered-{index}", expected="no_glasses" if index % 10 else "glasses")
        images = 16 + 5
        wait_until(lambda: service.metric("lensgate_record_images_total", result="written") == images)
        yield service


@pytest.fixture(scope="module")
def idle() -> Iterator[Running]:
    """A service that nobody has sent an image to, without records."""
    with running_service() as service:
        yield service


def file_of(pixels: Any = GREY, name: str = "mine.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": encode(pixels)}


def wait_for_numbers(page: Page) -> None:
    expect(page.locator("#content")).to_have_attribute("aria-busy", "false")


def change_snapshot(page: Page, change: Callable[[dict[str, Any]], object]) -> None:
    """Let the page see the service's snapshot as `change` leaves it."""

    def answer(route: Route) -> None:
        response = route.fetch()
        snapshot = response.json()
        change(snapshot)
        route.fulfill(response=response, json=snapshot)

    page.route(SNAPSHOT, answer)


def refuse(status: int, code: str, detail: str) -> Callable[[Route], None]:
    problem = {"status": status, "code": code, "detail": detail}
    return lambda route: route.fulfill(status=status, json=problem, content_type="application/problem+json")


def drop(page: Page, file: FilePayload) -> None:
    """Drag a file over the page and let it go there."""
    carried = page.evaluate_handle(
        """([name, type, data]) => {
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode()],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": carried})
    expect(page.locator("#curtain")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": carried})
    expect(page.locator("#curtain")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_is_whole_and_accessible_at_every_width_and_in_both_schemes(
    browser: Browser, busy: Running, width: int, scheme: Scheme
) -> None:
    with open_page(browser, busy.url, width=width, scheme=scheme) as page:
        page.goto("/")
        expect(page.locator(".thumb")).to_have_count(12)
        page.set_input_files("#file", file_of())
        expect(page.locator("#verdict")).to_contain_text("Discarded")
        for summary in page.locator("summary").all():
            summary.click()
        check_width(page)
        check_accessibility(page)


def test_the_numbers_are_those_of_the_service(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(reject_ratio=0.0312, decisions=12_345))
        page.goto("/")
        expect(page.locator("#reject")).to_have_text("3.1\u202f%")
        expect(page.locator("#throughput-note")).to_contain_text("12\u202f345 since the start")
        expect(page.locator("#model")).to_have_text("glasses 1")
        expect(page.locator("#model-note")).to_contain_text("fake, since")
        expect(page.locator("#drift")).to_have_text("\u2013")
        expect(page.locator("#load")).to_contain_text("0.400 to 0.600, the paper's")
        expect(page.locator("#state")).to_have_text("Ready")


def test_every_stage_has_its_latencies(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        for stage in ("Decode", "Queue", "Inference", "Whole request"):
            row = page.locator("#stages tr", has_text=stage)
            expect(row.locator("td").first).to_contain_text("ms")
        expect(page.locator("#latency")).to_contain_text("ms")


def test_scores_are_drawn_with_the_band_and_the_reference_and_told_in_words(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator("#scores .bar")).to_have_count(20)
        expect(page.locator("#scores .bar--reference")).to_have_count(20)
        expect(page.locator("#scores .band-edge")).to_have_count(2)
        expect(page.get_by_role("img", name="The band is 0.4 to 0.6")).to_be_visible()
        page.locator(".scores summary").click()
        expect(page.locator("#scores-table tr")).to_have_count(20)


def test_the_latest_discarded_images_are_shown_with_what_is_known_of_them(browser: Browser, busy: Running) -> None:
    busy.post(encode(GREY), id="the-latest")
    busy.post(encode(BRIGHT), id="the-very-latest", expected="no_glasses")
    with open_page(browser, busy.url) as page:
        page.goto("/")
        first = page.locator(".thumb").first
        expect(first).to_contain_text("the-very-latest")
        expect(first).to_contain_text("contradicted")
        expect(first).to_contain_text("asked for no glasses")
        expect(first).to_contain_text("0.980")
        picture = page.get_by_role("img", name="Discarded image the-very-latest")
        expect(picture).to_be_visible()
        wait_until(lambda: picture.evaluate("image => image.naturalWidth") > 0)
        expect(page.locator(".thumb").nth(1)).to_contain_text("uncertain")


def test_what_is_discarded_while_one_looks_appears_by_itself(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator(".thumb")).to_have_count(12)
        busy.post(encode(GREY), id="while-open")
        expect(page.locator(".thumb").first).to_contain_text("while-open")


def test_names_that_callers_choose_are_shown_as_text(browser: Browser, busy: Running) -> None:
    busy.post(encode(GREY), id="<img src=x onerror=alert(1)>")
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator(".thumb").first).to_contain_text("<img src=x onerror=alert(1)>")


def test_the_pages_are_reached_from_the_header(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        pages = page.get_by_role("navigation", name="Pages")
        expect(pages.get_by_role("link", name="Review")).to_have_attribute("href", "/review")
        expect(pages.get_by_role("link", name="Operations")).to_have_attribute("aria-current", "page")
        expect(page.get_by_role("link", name="Review them")).to_have_attribute("href", "/review")


def test_the_history_is_read_with_arrow_keys(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator("#history-readout")).to_contain_text("The last 15 minutes:")
        tab_to(page, "#history")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#history-readout")).to_contain_text("images/s, rejected")
        expect(page.locator("#history .cursor")).to_have_count(1)
        page.keyboard.press("Home")
        expect(page.locator("#history")).to_have_attribute("aria-valuenow", "0")
        page.keyboard.press("Escape")
        expect(page.locator("#history-readout")).to_contain_text("The last 15 minutes:")


def test_the_history_is_read_under_the_pointer(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        wait_for_numbers(page)
        page.hover("#history")
        expect(page.locator("#history-readout")).to_contain_text("images/s, rejected")
        page.hover("#scores-title")
        expect(page.locator("#history-readout")).to_contain_text("The last 15 minutes:")


def test_the_history_is_a_table_for_who_cannot_see_the_chart(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        wait_for_numbers(page)
        tab_to(page, "#history-details summary")
        page.keyboard.press("Enter")
        expect(page.get_by_role("table", name="The last 15 minutes, by the minute")).to_be_visible()
        expect(page.locator("#history-table tr").first).to_contain_text("%")


def test_the_words_are_explained(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        tab_to(page, ".words summary")
        page.keyboard.press("Space")
        expect(page.get_by_text("population stability index")).to_be_visible()


def test_the_first_tab_leads_past_the_header(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()


def test_an_image_is_chosen_by_keyboard_and_decided_about(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        # Chromium is told to report choosers once somebody listens, and a key may be faster than that.
        page.on("filechooser", lambda _: None)
        page.goto("/")
        tab_to(page, "#file")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(file_of(BRIGHT))
        verdict = page.locator("#verdict")
        expect(verdict).to_contain_text("Accepted")
        expect(verdict).to_contain_text("probability 0.980")
        expect(verdict.get_by_role("img", name="The image mine.png")).to_be_visible()
        expect(verdict.get_by_role("img", name="the band is 0.400 to 0.600")).to_be_visible()


def test_an_image_is_dropped_anywhere_and_decided_about(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        wait_for_numbers(page)
        drop(page, file_of(GREY, "dropped.png"))
        expect(page.locator("#verdict")).to_contain_text("Discarded")
        expect(page.locator("#verdict")).to_contain_text("too uncertain to keep")
        expect(page.locator(".thumb").first).to_contain_text("dropped.png")


def test_what_the_generator_was_asked_for_changes_the_decision(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        page.set_input_files("#file", file_of(BRIGHT))
        expect(page.locator("#verdict")).to_contain_text("Accepted")
        page.get_by_label("The generator was asked for").select_option("no_glasses")
        expect(page.locator("#verdict")).to_contain_text("It shows glasses, and no glasses was asked for.")


def test_what_is_no_image_is_told_why_it_has_no_decision(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["422"]) as page:
        page.goto("/")
        page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image at all"})
        expect(page.locator("#verdict")).to_contain_text("No decision")
        expect(page.locator("#verdict")).to_contain_text("422 unsupported_image")
        expect(page.locator("#verdict")).to_contain_text("no picture")


def test_the_same_file_can_be_chosen_again(browser: Browser, busy: Running, tmp_path: Path) -> None:
    chosen = tmp_path / "again.png"
    chosen.write_bytes(encode(BRIGHT))
    with open_page(browser, busy.url) as page:
        page.goto("/")
        for _ in range(2):
            with page.expect_response("**/v1/decisions?id=again.png"):
                page.set_input_files("#file", chosen)


def test_a_service_that_has_decided_nothing_says_how_to_begin(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto("/")
        expect(page.get_by_text("No image has been decided about yet.")).to_be_visible()
        expect(page.locator("#history")).to_be_hidden()
        tab_to(page, "#copy")
        page.keyboard.press("Enter")
        expect(page.locator("#copy")).to_have_text("Copied")
        command = page.evaluate("navigator.clipboard.readText()")
        assert command == f"curl --data-binary @face.png '{idle.url}/v1/decisions?id=face'"
        check_accessibility(page)


def test_without_the_clipboard_the_command_is_selected(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        page.add_init_script("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
        page.goto("/")
        page.click("#copy")
        expect(page.locator("#copy")).to_have_text("Selected: press Ctrl C")
        assert "curl --data-binary" in page.evaluate("getSelection().toString()")


def test_with_records_off_it_is_said_and_nothing_is_asked_for(browser: Browser, idle: Running) -> None:
    asked: list[str] = []
    with open_page(browser, idle.url) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto("/")
        expect(page.locator("#latest")).to_contain_text("Records are off.")
        expect(page.locator("#load")).to_contain_text("off")
    assert not [url for url in asked if "/v1/decisions" in url]


def test_nothing_discarded_is_no_fault(browser: Browser, tmp_path: Path) -> None:
    with running_service(records_url=f"sqlite:///{tmp_path}/r.db") as service, open_page(browser, service.url) as page:
        page.goto("/")
        expect(page.locator("#latest")).to_contain_text("Nothing was discarded.")


def test_before_the_first_answer_the_places_of_the_numbers_are_kept(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.route(SNAPSHOT, lambda _: None)
        page.goto("/")
        expect(page.locator("#content")).to_have_attribute("aria-busy", "true")
        expect(page.locator(".skeleton")).to_have_count(6)
        expect(page.locator("#state")).to_have_text("Loading")
        check_accessibility(page)


def test_records_that_fail_are_told_and_do_not_hide_the_rest(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["503"]) as page:
        change_snapshot(page, lambda snapshot: snapshot["records"].update(state="failing", dropped=1200, queued=7))
        page.route("**/v1/decisions?*", refuse(503, "records_unavailable", "the database is locked"))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("Decisions cannot be recorded at present")
        expect(page.locator("#banners")).to_contain_text("1\u202f200 were not recorded")
        expect(page.locator("#latest")).to_contain_text("the database is locked")
        expect(page.locator("#history")).to_be_visible()
        check_accessibility(page)


def test_scores_that_drift_are_told(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(drift={"psi": 0.31, "limit": 0.12}))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("The scores have drifted")
        expect(page.locator("#drift-note")).to_have_text("above the limit 0.120")


def test_a_dead_inference_thread_is_told(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(state="failed"))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("The inference thread has ended")
        expect(page.locator("#state")).to_have_text("Failed")


def test_a_service_that_drains_says_so(browser: Browser) -> None:
    with running_service() as service, open_page(browser, service.url) as page:
        service.pipeline.drain()
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("The service is shutting down")
        expect(page.locator("#state")).to_have_text("Draining")


def test_the_shadow_is_shown_with_how_often_it_disagrees(browser: Browser, busy: Running) -> None:
    shadow = {
        **{"version": "9", "scored": 200, "dropped": 0, "failed": 0},
        **{"label_disagreements": 1, "decision_disagreements": 3},
    }
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(shadow=shadow))
        page.goto("/")
        expect(page.locator("#load")).to_contain_text("version 9, 1.5\u202f% decided otherwise")


def test_a_service_that_is_away_leaves_its_last_numbers_dimmed_until_it_is_back(
    browser: Browser, busy: Running
) -> None:
    with open_page(browser, busy.url, allowed=["ERR_FAILED"]) as page:
        page.goto("/")
        wait_for_numbers(page)
        page.route(SNAPSHOT, lambda route: route.abort())
        expect(page.locator("#banners")).to_contain_text("The service does not answer")
        expect(page.locator("#banners")).to_contain_text("What you see is of")
        expect(page.locator("#content")).to_have_class("operations is-stale")
        expect(page.locator("#state")).to_have_text("No connection")
        check_accessibility(page)
        page.unroute(SNAPSHOT)
        page.get_by_role("button", name="Try now").click()
        expect(page.locator("#banners")).to_be_hidden()
        expect(page.locator("#content")).to_have_class("operations")


def test_who_may_not_see_the_numbers_is_told_what_to_ask_for(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["403"]) as page:
        page.route(SNAPSHOT, refuse(403, "forbidden", "this token has no scope review"))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("this token has no scope review")
        expect(page.locator("#content")).to_be_hidden()
        check_accessibility(page)


def test_who_is_not_logged_in_is_led_to_the_login_and_back(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["401"]) as page:
        page.route(SNAPSHOT, refuse(401, "unauthorized", "no session"))
        page.route("**/login?*", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
        page.goto("/")
        page.wait_for_url("**/login?next=%2F")


def test_a_hidden_tab_asks_for_nothing(browser: Browser, busy: Running) -> None:
    asked: list[str] = []
    with open_page(browser, busy.url) as page:
        page.clock.install()
        page.goto("/")
        wait_for_numbers(page)
        hide(page, is_hidden=True)
        page.on("request", lambda request: asked.append(request.url))
        page.clock.run_for(60_000)
        assert asked == []
        with page.expect_request(SNAPSHOT):
            hide(page, is_hidden=False)


def hide(page: Page, *, is_hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def test_a_service_that_is_away_is_asked_ever_more_rarely_until_it_answers(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        # A document without scripts: nobody else sets timers.
        page.route("**/blank", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
        page.goto("/blank")
        delays = page.evaluate(
            """async () => {
                const { Poll } = await import("/static/poll.js");
                const delays = [];
                const work = async () => { if (delays.length < 6) throw new Error("away"); };
                await new Promise((done) => {
                    window.setTimeout = (again, delay) => {
                        delays.push(delay);
                        delays.length < 7 ? again() : done();
                    };
                    new Poll(work).now();
                });
                return delays;
            }"""
        )
    assert delays == [4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 2_000]


def test_who_logged_in_tries_an_image_and_logs_out(browser: Browser, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", {"eva": 'scopes = ["review", "decide"]'})
    with running_service(tokens=tokens) as service, open_page(browser, service.url) as page:
        page.goto("/")
        page.get_by_label("Token").fill(token_of("eva"))
        page.keyboard.press("Enter")
        expect(page.locator("#session")).to_contain_text("eva")
        page.set_input_files("#file", file_of(BRIGHT))
        expect(page.locator("#verdict")).to_contain_text("Accepted")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto("/")
        expect(page).to_have_url(f"{service.url}/login?next=/")


def test_who_may_look_and_not_decide_is_told_so(browser: Browser, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", {"eva": 'scopes = ["review"]'})
    with running_service(tokens=tokens) as service, open_page(browser, service.url, allowed=["403"]) as page:
        page.goto("/")
        page.get_by_label("Token").fill(token_of("eva"))
        page.keyboard.press("Enter")
        wait_for_numbers(page)
        page.set_input_files("#file", file_of(BRIGHT))
        expect(page.locator("#verdict")).to_contain_text("403 forbidden")
