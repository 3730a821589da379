"""The API page shows all of /openapi.json and loads only from its own host."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.browser import NARROW, WIDE, Scheme, check_accessibility, check_width, open_page, tab_to
from tests.browser.panel import BRIGHT
from tests.service.access.keys import token_of, write_tokens
from tests.support.images import encode
from tests.support.servers import Running, running_service

DECISIONS = "#post-v1-decisions"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tokens = write_tokens(tmp_path_factory.mktemp("access") / "tokens.toml", {"gen": 'scopes = ["decide"]'})
    with running_service(tokens=tokens) as service:
        yield service


def open_docs(page: Page, address: str = "/docs") -> None:
    page.goto(address)
    expect(page.locator("#paths")).to_have_attribute("aria-busy", "false")


def command_of(page: Page, operation: str) -> str:
    return page.locator(f"{operation} pre[aria-label=Command]").text_content() or ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_is_whole_and_accessible_at_every_width_and_in_both_schemes(
    browser: Browser, idle: Running, width: int, scheme: Scheme
) -> None:
    with open_page(browser, idle.url, width=width, scheme=scheme) as page:
        open_docs(page)
        page.locator("details").evaluate_all("all => all.forEach((each) => { each.open = true; })")
        check_width(page)
        check_accessibility(page)


def test_every_openapi_operation_is_shown_with_parameters_and_responses(browser: Browser, idle: Running) -> None:
    paths = idle.client.get("/openapi.json").json()["paths"]
    with open_page(browser, idle.url) as page:
        open_docs(page)
        shown = page.locator("#paths > section").evaluate_all(
            """all => all.flatMap((section) => [...section.querySelectorAll(":scope > details")].map((each) => ({
                group: section.querySelector("h2").textContent,
                path: each.querySelector(".docs-route").textContent,
                method: each.querySelector(".docs-method").textContent.toLowerCase(),
                summary: each.querySelector("summary > span:last-child").textContent,
                text: each.querySelector(".docs-text").textContent,
                codes: [...each.querySelectorAll("td:first-child > code")].map((cell) => cell.textContent),
            })))"""
        )
    assert len(shown) == sum(len(operations) for operations in paths.values())
    assert (shown[0]["method"], shown[0]["path"]) == ("post", "/v1/decisions")
    for each in shown:
        operation = paths[each["path"]][each["method"]]
        assert each["summary"] == operation["summary"].replace("`", "")
        assert each["text"] == operation["description"].replace("`", "")
        assert [each["group"]] == operation["tags"]
        kinds = operation.get("requestBody", {}).get("content", {})
        assert each["codes"] == [
            *(one["name"] for one in operation["parameters"]),
            *kinds,
            *sorted(operation["responses"]),
        ]


def test_a_schema_is_named_and_shown_by_an_example(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        open_docs(page)
        page.locator(f"{DECISIONS} > summary").click()
        operation = page.locator(DECISIONS)
        expect(operation).to_contain_text("glasses | no_glasses")
        expect(operation).to_contain_text("Problem")
        operation.get_by_text("Example of 200").click()
        example = operation.get_by_label("Example of 200")
        expect(example).to_be_visible()
        expect(example).to_contain_text('"decision": "accept"')
        expect(page.locator("#get-v1-decisions")).to_contain_text("RecordPage")


def test_operations_are_filtered_and_read_by_keyboard(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        open_docs(page)
        tab_to(page, "#filter")
        page.keyboard.type("POST batch")
        expect(page.locator("#count")).to_have_text("1 operation")
        expect(page.locator("#paths > section:visible")).to_have_count(1)
        tab_to(page, "#post-v1-decisions-batch > summary")
        page.keyboard.press("Enter")
        expect(page.locator("#post-v1-decisions-batch").get_by_role("heading", name="Responses")).to_be_visible()


def test_a_link_to_an_operation_opens_it(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        open_docs(page, f"/docs{DECISIONS}")
        expect(page.locator(f"{DECISIONS} > summary")).to_be_focused()
        expect(page.locator(DECISIONS)).to_have_attribute("open", "")


def test_the_command_is_copied_and_does_what_it_says(browser: Browser, idle: Running, tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(encode(BRIGHT))
    with open_page(browser, idle.url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        open_docs(page, f"/docs{DECISIONS}")
        page.locator(DECISIONS).get_by_role("button", name="Copy").click()
        expect(page.locator(DECISIONS).get_by_role("status")).to_have_text("Copied")
        command = page.evaluate("navigator.clipboard.readText()")
        assert command == command_of(page, DECISIONS)
        assert command_of(page, "#get-v2-models-name-ready") == f"curl '{idle.url}/v2/models/NAME/ready'"
    ran = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"decision":"accept"' in ran.stdout


def send(page: Page, operation: str) -> Locator:
    """Press Send of an operation and return its response."""
    section = page.locator(operation)
    section.get_by_role("button", name="Send").click()
    expect(section.locator(".docs-result .badge")).to_be_visible()
    return section.locator(".docs-result")


def test_an_operation_is_tried_with_the_sample_with_a_file_and_with_parameters(
    browser: Browser, busy: Running, tmp_path: Path
) -> None:
    (tmp_path / "face.png").write_bytes(encode(BRIGHT))
    with open_page(browser, busy.url, allowed=["404", "422", "ERR_UPLOAD_FILE_CHANGED"]) as page:
        open_docs(page, f"/docs{DECISIONS}")
        section = page.locator(DECISIONS)
        expect(send(page, DECISIONS)).to_contain_text('"model"')
        section.get_by_label("Image", exact=True).set_input_files(tmp_path / "face.png")
        section.get_by_label("expected").select_option("no_glasses")
        section.get_by_label("id", exact=True).fill("tried/1")
        answer = send(page, DECISIONS)
        expect(answer).to_contain_text('"id": "tried/1"')
        expect(answer).to_contain_text('"reason": "contradicted"')
        (tmp_path / "face.png").write_bytes(b"text")
        section.get_by_label("Image", exact=True).set_input_files(tmp_path / "face.png")
        expect(send(page, DECISIONS)).to_contain_text("unsupported_image")
        os.utime(tmp_path / "face.png", (1, 1))
        section.get_by_role("button", name="Send").click()
        expect(section.locator(".docs-result")).to_contain_text("Not sent: the file cannot be read")
        open_docs(page, "/docs#post-v1-decisions-batch")
        expect(send(page, "#post-v1-decisions-batch")).to_contain_text('{"summary":{"accept":')
        open_docs(page, "/docs#get-v1-decisions-name-")
        page.locator("#get-v1-decisions-name-").get_by_role("textbox", name="name").fill("absent/1")
        expect(send(page, "#get-v1-decisions-name-")).to_contain_text("not_found")


def test_an_operation_is_tried_with_a_token_instead_of_the_session(browser: Browser, guarded: Running) -> None:
    with open_page(browser, guarded.url, allowed=["401"]) as page:
        page.goto("/login?next=/docs")
        page.get_by_label("Token").fill(token_of("gen"))
        page.keyboard.press("Enter")
        expect(page.locator("#paths")).to_have_attribute("aria-busy", "false")
        page.locator(f"{DECISIONS} > summary").click()
        expect(send(page, DECISIONS)).to_contain_text('"decision"')
        page.get_by_label("Token for Try it").fill("wrong")
        expect(send(page, DECISIONS)).to_contain_text("unauthorized")
        page.get_by_label("Token for Try it").fill(token_of("gen"))
        expect(send(page, DECISIONS)).to_contain_text('"decision"')


def test_without_clipboard_access_the_command_is_selected(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url) as page:
        page.add_init_script("delete Navigator.prototype.clipboard")
        open_docs(page, f"/docs{DECISIONS}")
        page.locator(DECISIONS).get_by_role("button", name="Copy").click()
        expect(page.locator(DECISIONS).get_by_role("status")).to_contain_text("Selected")
        assert page.evaluate("getSelection().toString()") == command_of(page, DECISIONS)


def test_failed_load_is_shown_and_retried(browser: Browser, idle: Running) -> None:
    with open_page(browser, idle.url, allowed=["ERR_FAILED"]) as page:
        page.route("**/openapi.json", lambda route: route.abort())
        page.goto("/docs")
        expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
        page.unroute_all()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#paths")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#trouble")).to_be_hidden()


def test_any_known_token_opens_the_docs_and_commands_send_a_token(browser: Browser, guarded: Running) -> None:
    with open_page(browser, guarded.url) as page:
        page.goto("/docs")
        expect(page).to_have_url(f"{guarded.url}/login?next=/docs")
        page.get_by_label("Token").fill(token_of("gen"))
        page.keyboard.press("Enter")
        expect(page.locator("#paths")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#session")).to_contain_text("gen")
        assert '-H "Authorization: Bearer $LENSGATE_TOKEN"' in command_of(page, DECISIONS)
