"""Shared helpers for tests of the operations page: images, snapshots and user actions."""

import base64
from collections.abc import Callable
from typing import Any

from playwright.sync_api import FilePayload, Page, Route, expect

from tests.support.images import encode, flat

SNAPSHOT = "**/v1/operations"
BLANK = "<link rel=icon href=data:,>"
BRIGHT, GREY, DARK = flat(250), flat(128), flat(5)


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


def drop(page: Page, *files: FilePayload) -> None:
    """Drag files over the page and let them go there."""
    carried = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, type, data] of files) {
                const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type }));
            }
            return transfer;
        }""",
        [[file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode()] for file in files],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": carried})
    expect(page.locator("#curtain")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": carried})
    expect(page.locator("#curtain")).to_be_hidden()
