from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from service.errors import NotFound
from service.pages.assets import Assets


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    """The files of a folder that has private files in it and beside it."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "page.html").write_text("<!doctype html>")
    (folder / "look.css").write_text("p { color: red }")
    (folder / "code.js").write_text("export {};")
    (folder / "notes.txt").write_text("secret")
    (tmp_path / "secret.html").write_text("secret")
    return Assets(folder)


def ask(assets: Assets, name: str, *, known: str | None = None) -> Response:
    headers = [] if known is None else [(b"if-none-match", known.encode())]
    return assets.find(name).answer(Request({"type": "http", "headers": headers}))


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("page.html", "text/html; charset=utf-8"),
        ("look.css", "text/css; charset=utf-8"),
        ("code.js", "text/javascript; charset=utf-8"),
    ],
)
def test_a_file_is_answered_with_its_media_type(assets: Assets, name: str, media_type: str) -> None:
    assert ask(assets, name).headers["content-type"] == media_type


def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(assets: Assets) -> None:
    headers = ask(assets, "page.html").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("given", ["{tag}", "W/{tag}", '"other", {tag}', "*"])
def test_matching_etag_is_304(assets: Assets, given: str) -> None:
    tag = ask(assets, "look.css").headers["etag"]
    again = ask(assets, "look.css", known=given.format(tag=tag))
    assert (again.status_code, again.body) == (304, b"")
    assert again.headers["etag"] == tag


def test_other_etag_is_200_with_the_file(assets: Assets) -> None:
    again = ask(assets, "look.css", known='"of the version before"')
    assert (again.status_code, again.body) == (200, b"p { color: red }")


@pytest.mark.parametrize("name", ["../secret.html", "secret.html", "notes.txt", "", ".", "nothing.js", "\x00"])
def test_names_outside_the_folder_are_not_found(assets: Assets, name: str) -> None:
    with pytest.raises(NotFound):
        assets.find(name)
