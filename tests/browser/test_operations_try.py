import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browser import NARROW, check_accessibility, check_width, open_page, tab_to
from tests.browser.panel import BRIGHT, GREY, drop, file_of, wait_for_numbers
from tests.service.access.keys import token_of, write_tokens
from tests.support.images import encode
from tests.support.servers import Running, running_service, wait_until


def test_an_image_is_chosen_by_keyboard_and_decided_about(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        # Chromium is told to report choosers once a listener exists, and a key press may come earlier.
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
        expect(verdict.get_by_role("img", name="the band is 0.4 to 0.6")).to_be_visible()


def test_an_image_is_dropped_anywhere_and_decided_about(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        wait_for_numbers(page)
        # No id may begin with this mark, which Windows puts before a path that is copied from its dialogs.
        drop(page, file_of(GREY, "\u202adropped.png"))
        expect(page.locator("#verdict")).to_contain_text("Discarded")
        expect(page.locator("#verdict")).to_contain_text("lies in the uncertainty band")


def test_a_trial_changes_no_figure_of_production(browser: Browser, busy: Running) -> None:
    before = busy.client.get("/v1/operations").json()["decisions"]
    with open_page(browser, busy.url) as page:
        page.goto("/")
        page.set_input_files("#file", file_of(GREY, "tried.png"))
        expect(page.locator("#verdict")).to_contain_text("Discarded")
    busy.post(encode(GREY), id="after-the-trial")
    wait_until(lambda: busy.client.get("/v1/decisions?id=after-the-trial").json()["decisions"])
    assert busy.client.get("/v1/decisions?id=tried.png").json()["decisions"] == []

    def counted() -> int:
        decisions: int = busy.client.get("/v1/operations").json()["decisions"]
        return decisions

    wait_until(lambda: counted() > before)  # A snapshot serves all callers for a second.
    assert counted() == before + 1


def test_several_dropped_files_decide_the_first_and_name_the_rest(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        wait_for_numbers(page)
        drop(page, file_of(GREY, "first.png"), file_of(BRIGHT, "second.png"))
        expect(page.locator("#verdict")).to_contain_text("Discarded")
        expect(page.locator("#verdict")).to_contain_text("The other file was not sent")
        drop(page, file_of(BRIGHT, "alone.png"))
        expect(page.locator("#verdict")).to_contain_text("Accepted")
        expect(page.locator("#verdict")).not_to_contain_text("not sent")


def test_expected_label_changes_the_shown_decision(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url) as page:
        page.goto("/")
        page.set_input_files("#file", file_of(BRIGHT))
        expect(page.locator("#verdict")).to_contain_text("Accepted")
        page.get_by_label("Expected label").select_option("no_glasses")
        expect(page.locator("#verdict")).to_contain_text("Label glasses, expected no glasses.")


def test_invalid_file_shows_its_error(browser: Browser, busy: Running) -> None:
    with open_page(browser, busy.url, allowed=["422"]) as page:
        page.goto("/")
        page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image at all"})
        expect(page.locator("#verdict")).to_contain_text("No decision")
        expect(page.locator("#verdict")).to_contain_text("422 unsupported_image")
        expect(page.locator("#verdict")).to_contain_text("no preview")


def test_the_same_file_can_be_chosen_again(browser: Browser, busy: Running, tmp_path: Path) -> None:
    chosen = tmp_path / "again.png"
    chosen.write_bytes(encode(BRIGHT))
    with open_page(browser, busy.url) as page:
        page.goto("/")
        for _ in range(2):
            with page.expect_response("**/v1/trials"):
                page.set_input_files("#file", chosen)


def test_a_file_that_has_changed_since_it_was_chosen_is_named(browser: Browser, busy: Running, tmp_path: Path) -> None:
    chosen = tmp_path / "generated.png"
    chosen.write_bytes(encode(BRIGHT))
    with open_page(browser, busy.url, allowed=["ERR_"]) as page:
        page.goto("/")
        page.set_input_files("#file", chosen)
        expect(page.locator("#verdict")).to_contain_text("Accepted")
        os.utime(chosen, (1, 1))
        page.get_by_label("Expected label").select_option("glasses")
        expect(page.locator("#verdict")).to_contain_text("the file cannot be read, because it has changed or moved")


def test_a_service_that_has_decided_nothing_says_how_to_begin(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto("/")
        expect(page.get_by_text("No decisions in the last 15 minutes.")).to_be_visible()
        expect(page.locator("#history")).to_be_hidden()
        tab_to(page, "#copy")
        page.keyboard.press("Enter")
        expect(page.locator("#copy")).to_have_text("Copied")
        command = page.evaluate("navigator.clipboard.readText()")
        assert command == f"curl --data-binary @face.png '{idle.url}/v1/decisions?id=face'"
        check_accessibility(page)
        page.set_viewport_size({"width": NARROW, "height": 844})
        check_width(page)


@pytest.mark.parametrize(
    "script",
    [
        "navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))",
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})",  # As over plain HTTP.
    ],
    ids=["denied", "missing"],
)
def test_without_the_clipboard_the_command_is_selected(browser: Browser, idle: Running, script: str) -> None:
    with open_page(browser, idle.url) as page:
        page.add_init_script(script)
        page.goto("/")
        page.click("#copy")
        expect(page.locator("#copy")).to_have_text("Selected: press Ctrl+C")
        assert "curl --data-binary" in page.evaluate("getSelection().toString()")


def test_logged_in_user_tries_an_image_and_logs_out(browser: Browser, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", {"eva": 'scopes = ["review", "decide"]'})
    with running_service(tokens=tokens) as service, open_page(browser, service.url) as page:
        page.goto("/")
        page.get_by_label("Token").fill(token_of("eva"))
        page.keyboard.press("Enter")
        expect(page.locator("#session")).to_contain_text("eva")
        expect(page.locator("#curl")).to_contain_text('-H "Authorization: Bearer $TOKEN"')
        page.set_input_files("#file", file_of(BRIGHT))
        expect(page.locator("#verdict")).to_contain_text("Accepted")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto("/")
        expect(page).to_have_url(f"{service.url}/login?next=/")


def test_a_tab_of_an_older_session_ends_the_current_one(browser: Browser, tmp_path: Path) -> None:
    """Another tab has logged in again, so that this one has an outdated CSRF value."""
    tokens = write_tokens(tmp_path / "tokens.toml", {"eva": 'scopes = ["review"]'})
    with (
        running_service(tokens=tokens) as service,
        open_page(browser, service.url, allowed=["403", "404", "ERR_"]) as page,
    ):
        page.request.post("/v1/session", data={"token": token_of("eva")})
        page.goto("/decisions")
        expect(page.locator("#session")).to_contain_text("eva")
        page.request.post("/v1/session", data={"token": token_of("eva")})
        page.context.set_offline(True)
        page.get_by_role("button", name="Log out").click()
        page.context.set_offline(False)
        page.get_by_role("button", name="Not logged out, try again").click()
        page.wait_for_url("**/login")
        assert page.request.get("/v1/session").status == 401


def test_reviewer_without_scope_decide_sees_the_reason(browser: Browser, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", {"eva": 'scopes = ["review"]'})
    with running_service(tokens=tokens) as service, open_page(browser, service.url, allowed=["403"]) as page:
        page.goto("/")
        page.get_by_label("Token").fill(token_of("eva"))
        page.keyboard.press("Enter")
        wait_for_numbers(page)
        page.set_input_files("#file", file_of(BRIGHT))
        expect(page.locator("#verdict")).to_contain_text("403 forbidden")
