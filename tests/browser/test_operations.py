import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page, tab_to
from tests.browser.panel import BRIGHT, GREY, change_snapshot, file_of, wait_for_numbers
from tests.support.images import encode
from tests.support.servers import Running, running_service, wait_until

# On a busy machine the last images may be older than the window of the last point.
AT_A_POINT = re.compile("images/s, reject rate|: no images")


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


def test_text_of_twice_the_size_does_not_widen_the_pages(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url, width=NARROW, allowed=["404"]) as page:
        for path in ("/", "/decisions", "/review", "/docs"):
            page.goto(path)
            page.evaluate("document.documentElement.style.fontSize = '200%'")
            check_width(page)


@pytest.mark.parametrize("width", [320, 768, 1024])
def test_no_fact_of_a_discarded_image_lies_over_the_next_one(browser: Browser, busy: Running, width: int) -> None:
    busy.post(encode(BRIGHT), id="contradicted", expected="no_glasses")
    with open_page(browser, busy.url, width=width) as page:
        page.goto("/")
        expect(page.locator(".thumb").first).to_contain_text("contradicted")
        sizes = page.locator(".thumb").evaluate_all("all => all.map((each) => [each.scrollWidth, each.clientWidth])")
        assert all(needed <= given for needed, given in sizes)


def colour(place: Locator, name: str, part: str = "") -> str:
    return str(place.evaluate("(place, [name, part]) => getComputedStyle(place, part)[name]", [name, part]))


def test_forced_colours_leave_what_is_chosen_and_the_legend(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.emulate_media(forced_colors="active")
        page.goto("/")
        chosen, other, *_ = page.locator(".segments span").all()
        assert colour(chosen, "backgroundColor") != colour(other, "backgroundColor")
        current, elsewhere, *_ = page.locator(".nav a").all()
        assert colour(current, "borderBottomColor") != colour(elsewhere, "borderBottomColor")
        keys = page.locator("#history-legend .key").all()
        assert len({colour(key, "backgroundColor", "::before") for key in keys}) == len(keys) == 4


def test_a_dark_page_is_printed_in_dark_ink(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, scheme="dark") as page:
        page.goto("/")
        body = page.locator("body")
        assert colour(body, "color") == "rgb(230, 235, 241)"
        page.emulate_media(media="print", color_scheme="dark")
        assert colour(body, "color") == "rgb(23, 32, 43)"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_longest_version_does_not_widen_the_page(browser: Browser, busy: Running, width: int) -> None:
    version = "v" * 64
    shadow = {
        **{"version": version, "scored": 9, "dropped": 0, "failed": 0},
        **{"label_disagreements": 0, "decision_disagreements": 0},
    }

    def lengthen(snapshot: dict[str, Any]) -> None:
        snapshot["model"]["version"] = version
        snapshot["shadow"] = shadow

    with open_page(browser, busy.url, width=width) as page:
        change_snapshot(page, lengthen)
        page.goto("/")
        expect(page.locator("#model")).to_have_attribute("title", f"glasses {version}")
        check_width(page)


def test_without_decisions_there_is_no_reject_rate(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        page.goto("/")
        expect(page.locator("#reject")).to_have_text("\u2013")
        expect(page.locator("#reject-note")).to_have_text("of 0, last 15 minutes, not recorded")


def test_the_first_image_is_drawn_at_once(browser: Browser, idle: Running) -> None:
    def decide(snapshot: dict[str, Any]) -> None:
        now, steps = snapshot["time"], range(3)
        history: dict[str, list[float]] = {name: [0, 0, 0] for name in ("unfamiliar", "contradicted", "shed", "errors")}
        history |= {"times": [now - 10 + 5 * step for step in steps], "seconds": [5.0, 5.0, 5.0]}
        snapshot.update(decisions=1, history={**history, "decisions": [0, 0, 1], "uncertain": [0, 0, 1]})

    with open_page(browser, idle.url) as page:
        change_snapshot(page, decide)
        page.goto("/")
        expect(page.locator(".area--uncertain")).to_have_attribute("d", re.compile("^M"))


def test_the_numbers_are_those_of_the_service(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(decisions=12_345))
        page.goto("/")
        expect(page.locator("#throughput-note")).to_contain_text("12\u202f345 since start")
        expect(page.locator("#model")).to_have_text("glasses 1")
        expect(page.locator("#model-note")).to_contain_text("fake, since")
        expect(page.locator("#drift")).to_have_text("\u2013")
        expect(page.locator("#load")).to_contain_text("0.4 to 0.6, from the paper")
        expect(page.locator("#state")).to_have_text("Ready")


def test_every_stage_has_its_latencies(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        for stage in ("Decode", "Queue", "Inference", "Whole request"):
            row = page.locator("#stages tr", has_text=stage)
            expect(row.locator("td").first).to_contain_text("ms")
        expect(page.locator("#latency")).to_contain_text("ms")


def test_long_latencies_do_not_widen_the_page_on_the_smallest_phone(browser: Browser, busy: Running) -> None:
    def delay(snapshot: dict[str, Any]) -> None:
        for stage in snapshot["latency"]["stages"]:
            stage.update(p50=88.8, p95=888_888.8, p99=888_888.8)

    with open_page(browser, busy.url, width=320) as page:
        change_snapshot(page, delay)
        page.goto("/")
        expect(page.locator("#stages")).to_contain_text("888.89")
        check_width(page)
        check_accessibility(page)


def test_score_chart_has_band_reference_and_text_alternative(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator("#scores .bar")).to_have_count(20)
        expect(page.locator("#scores .bar--reference")).to_have_count(20)
        expect(page.locator("#scores .band-edge")).to_have_count(2)
        expect(page.get_by_role("img", name="The uncertainty band is 0.4 to 0.6")).to_be_visible()
        page.locator(".scores summary").click()
        expect(page.locator("#scores-table tr")).to_have_count(20)


@pytest.mark.parametrize(("low", "high"), [(0.0499, 0.99999467), (0.96, 1.0), (0.02, 0.02)])
def test_a_band_at_an_end_is_named_with_its_edges_and_its_label_is_whole(
    browser: Browser, busy: Running, low: float, high: float
) -> None:
    with open_page(browser, busy.url, width=NARROW) as page:
        change_snapshot(page, lambda snapshot: snapshot["model"]["band"].update(low=low, high=high))
        page.goto("/")
        expect(page.locator("#load")).to_contain_text(f"{low:g} to {high:.9g}, from the paper")
        expect(page.locator("#scores-note")).to_contain_text(f"only scores from {low:g} on are uncertain")
        label = page.locator("#scores text").get_by_text("discarded as uncertain")
        box, chart = label.bounding_box(), page.locator("#scores").bounding_box()
        assert box and chart
        assert chart["x"] <= box["x"] and box["x"] + box["width"] <= chart["x"] + chart["width"]


def test_the_latest_discarded_images_are_shown_with_what_is_known_of_them(browser: Browser, busy: Running) -> None:
    busy.post(encode(GREY), id="the-latest")
    busy.post(encode(BRIGHT), id="the-very-latest", expected="no_glasses")
    with open_page(browser, busy.url) as page:
        page.goto("/")
        first = page.locator(".thumb").first
        expect(first).to_contain_text("the-very-latest")
        expect(first).to_contain_text("contradicted")
        expect(first).to_contain_text("expected no glasses")
        expect(first).to_contain_text("0.980")
        picture = page.get_by_role("img", name="Discarded image the-very-latest")
        expect(picture).to_be_visible()
        wait_until(lambda: picture.evaluate("image => image.naturalWidth") > 0)
        expect(page.locator(".thumb").nth(1)).to_contain_text("uncertain")


def test_new_discarded_image_appears_without_a_reload(browser: Browser, busy: Running) -> None:
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


def test_back_leads_to_the_window_that_was_chosen(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        page.get_by_text("24 h", exact=True).click()
        expect(page.locator("#history-readout")).to_contain_text("Last 24 hours:")
        page.goto("/docs")
        page.go_back()
        expect(page.locator("#history-readout")).to_contain_text("Last 24 hours:")
        expect(page.get_by_label("24 h")).to_be_checked()


def test_the_history_is_read_with_arrow_keys(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator("#history-readout")).to_contain_text("Last 15 minutes:")
        tab_to(page, "#history")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#history-readout")).to_have_text(AT_A_POINT)
        expect(page.locator("#history .cursor")).to_have_count(1)
        page.keyboard.press("Home")
        expect(page.locator("#history")).to_have_attribute("aria-valuenow", "0")
        page.keyboard.press("Escape")
        expect(page.locator("#history-readout")).to_contain_text("Last 15 minutes:")


def test_the_history_is_read_under_the_pointer(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator("#history-readout")).to_contain_text("Last 15 minutes:")
        page.hover("#history")
        expect(page.locator("#history-readout")).to_have_text(AT_A_POINT)
        page.hover("#scores-title")
        expect(page.locator("#history-readout")).to_contain_text("Last 15 minutes:")


def test_history_has_a_table_for_screen_readers(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        wait_for_numbers(page)
        tab_to(page, "#history-details summary")
        page.keyboard.press("Enter")
        expect(page.get_by_role("table", name="The history as a table")).to_be_visible()
        expect(page.locator("#history-table tr").first).to_contain_text("%")


def test_key_press_opens_the_explanation_of_the_terms(browser: Browser, busy: Running) -> None:
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


def test_without_discarded_images_the_page_says_so(browser: Browser, tmp_path: Path) -> None:
    with running_service(records_url=f"sqlite:///{tmp_path}/r.db") as service, open_page(browser, service.url) as page:
        page.goto("/")
        expect(page.locator("#latest")).to_contain_text("No discarded images.")


def test_the_shadow_is_shown_with_how_often_it_disagrees(browser: Browser, busy: Running) -> None:
    shadow = {
        **{"version": "9", "scored": 200, "dropped": 0, "failed": 0},
        **{"label_disagreements": 1, "decision_disagreements": 3},
    }
    with open_page(browser, busy.url) as page:
        change_snapshot(page, lambda snapshot: snapshot.update(shadow=shadow))
        page.goto("/")
        expect(page.locator("#load")).to_contain_text("version 9, 1.5\u202f% different decisions")
