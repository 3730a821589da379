from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browser import check_accessibility, open_page
from tests.browser.panel import BLANK, SNAPSHOT, change_snapshot, refuse, wait_for_numbers
from tests.support.servers import Running, running_service


def test_drift_without_a_limit_is_shown_without_an_alarm(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(drift={"psi": 0.3, "limit": None}))
        page.goto("/")
        expect(page.locator("#drift")).to_have_text("0.300")
        expect(page.locator("#drift")).to_have_class("value")


def test_without_records_the_reason_is_shown_and_no_request_is_sent(browser: Browser, idle: Running) -> None:
    asked: list[str] = []
    with open_page(browser, idle.url) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto("/")
        expect(page.locator("#latest")).to_contain_text("Records are off.")
        expect(page.locator("#load")).to_contain_text("off")
    assert not [url for url in asked if "/v1/decisions" in url]


def test_before_the_first_answer_the_places_of_the_numbers_are_kept(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.route(SNAPSHOT, lambda _: None)
        page.goto("/")
        expect(page.locator("#content")).to_have_attribute("aria-busy", "true")
        expect(page.locator(".skeleton")).to_have_text([""] * 6)  # A placeholder would be read aloud as a number.
        expect(page.locator("#state")).to_have_text("Loading")
        check_accessibility(page)


def test_failing_records_are_shown_beside_the_other_numbers(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["503"]) as page:
        change_snapshot(page, lambda snapshot: snapshot["records"].update(state="failing", dropped=1200, queued=7))
        page.route("**/v1/decisions?*", refuse(503, "records_unavailable", "the database is locked"))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("Decisions cannot be recorded at present")
        expect(page.locator("#banners")).to_contain_text("1\u202f200 dropped so far")
        expect(page.locator("#latest")).to_contain_text("the database is locked")
        expect(page.locator("#history")).to_be_visible()
        check_accessibility(page)


def test_failed_history_request_falls_back_to_the_service_memory(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["503"]) as page:
        page.route("**/v1/operations/history?*", refuse(503, "records_unavailable", "the database is locked"))
        page.goto("/")
        expect(page.locator("#history-fault")).to_contain_text("this is what the running service remembers")
        expect(page.locator("#reject")).to_contain_text("%")
        expect(page.locator("#reject-note")).to_contain_text("last 15 minutes, not recorded")


def test_a_store_that_is_slow_is_asked_once_at_a_time(browser: Browser, busy: Running) -> None:
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    with open_page(browser, busy.url) as page:
        page.route("**/v1/decisions?*", hold)
        page.goto("/")
        wait_for_numbers(page)
        for _ in range(3):
            with page.expect_response(SNAPSHOT):
                hide(page, is_hidden=False)
        assert len(asked) == 1
        asked[0].continue_()
        expect(page.locator(".thumb")).to_have_count(12)


def test_drift_is_shown_as_trouble(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(drift={"psi": 0.31, "limit": 0.12}))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("The scores have drifted")
        expect(page.locator("#drift-note")).to_have_text("above the limit 0.120")


def test_dead_inference_thread_is_shown_as_trouble(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(state="failed"))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("An inference thread has ended")
        expect(page.locator("#state")).to_have_text("Failed")


def test_a_service_that_drains_says_so(browser: Browser) -> None:
    with running_service() as service, open_page(browser, service.url) as page:
        service.runtime.drain()
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("The service is shutting down")
        expect(page.locator("#state")).to_have_text("Draining")


def test_unreachable_service_dims_the_last_numbers_until_it_answers(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["ERR_FAILED"]) as page:
        page.goto("/")
        wait_for_numbers(page)
        page.route(SNAPSHOT, lambda route: route.abort())
        expect(page.locator("#banners")).to_contain_text("The service does not respond")
        expect(page.locator("#banners")).to_contain_text("This page shows the state of")
        expect(page.locator("#content")).to_have_class("operations is-stale")
        expect(page.locator("#state")).to_have_text("No connection")
        check_accessibility(page)
        with page.expect_request(SNAPSHOT):
            page.get_by_role("button", name="Retry now").click()
        page.unroute(SNAPSHOT)  # After the click: an automatic retry would remove the button.
        expect(page.locator("#banners")).to_be_hidden()
        expect(page.locator("#content")).to_have_class("operations")


def test_caller_without_the_scope_sees_the_scope_to_ask_for(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["403"]) as page:
        page.route(SNAPSHOT, refuse(403, "forbidden", "this token has no scope review"))
        page.goto("/")
        expect(page.locator("#banners")).to_contain_text("this token has no scope review")
        expect(page.locator("#content")).to_be_hidden()
        check_accessibility(page)


def test_unauthorized_page_redirects_to_the_login(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["401"]) as page:
        page.route(SNAPSHOT, refuse(401, "unauthorized", "no session"))
        page.route("**/login?*", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
        page.goto("/")
        page.wait_for_url("**/login?next=%2F")


def test_a_hidden_tab_asks_for_nothing(browser: Browser, idle: Running) -> None:
    asked: list[str] = []
    with open_page(browser, idle.url) as page:
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


def test_unreachable_service_is_polled_with_growing_delay(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        # A document without scripts, so that no other code sets timers.
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
