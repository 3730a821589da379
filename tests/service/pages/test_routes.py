from collections.abc import Iterator

import pytest

from service.pages.routes import PAGES
from tests.support.servers import Running, running_service


@pytest.fixture(scope="module")
def pages() -> Iterator[Running]:
    """A service with its pages."""
    with running_service() as running:
        yield running


@pytest.mark.parametrize(
    ("path", "title"),
    [("/", "Operations"), ("/decisions", "Decisions"), ("/review", "Review"), ("/docs", "API"), ("/login", "Log in")],
)
def test_a_page_is_answered_with_its_policy(pages: Running, path: str, title: str) -> None:
    answer = pages.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert f"<title>{title} · Lensgate" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_script_and_no_style_inside(pages: Running, path: str) -> None:
    text = pages.client.get(path).text
    assert "<style" not in text
    assert " style=" not in text
    assert all("src=" in part.split(">")[0] for part in text.split("<script")[1:])


@pytest.mark.parametrize("path", PAGES)
def test_everything_that_a_page_names_is_there_and_of_this_service(pages: Running, path: str) -> None:
    text = pages.client.get(path).text
    named = {part.split('"')[0] for mark in ('src="', 'href="') for part in text.split(mark)[1:]}
    assert all(name.startswith(("/", "#")) and not name.startswith("//") for name in named)
    files = {name for name in named if name.startswith("/static/")}
    assert len(files) >= 3
    assert {pages.client.get(name).status_code for name in files} == {200}


def test_head_has_the_headers_and_no_body(pages: Running) -> None:
    whole, head = pages.client.get("/static/lensgate.css"), pages.client.head("/static/lensgate.css")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert head.headers["etag"] == whole.headers["etag"]


def test_a_page_that_is_known_is_answered_304(pages: Running) -> None:
    tag = pages.client.get("/").headers["etag"]
    again = pages.client.get("/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert "default-src 'none'" in again.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/static/nothing.js", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%00"]
)
def test_unknown_static_file_is_404(pages: Running, path: str) -> None:
    answer = pages.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_snapshot_is_json_that_is_not_cached(pages: Running) -> None:
    answer = pages.client.get("/v1/operations")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["state"] == "ready"
