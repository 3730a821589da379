"""Credentials in URLs: presigned queries and `user:password@` open a file and are never written down."""

import hashlib
import html
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

from common.errors import UrlError

# Query parameters that sign a URL or say how it is delivered: the file is the same one whatever they say.
_SIGNING = re.compile(
    r"x-(amz|goog|oss|ms)-.*|(aws|google|oss)accesskeyid|googleaccessid|key-pair-id|signature|expires|policy|"
    r"(access_)?token|download|response-content-.*|sv|ss|srt?|si|sig|st|se|sp|spr|sip|sdd|sk(oid|tid|t|e|s|v)",
    re.IGNORECASE,
)
_WEB_URL = re.compile(r"""(https?://)(?:[^\s/'"<>]*@)?([^\s?#'"<>]*)([?#][^\s'"<>]*)?""", re.IGNORECASE)
# The password of a database may hold slashes.
_PASSWORD = re.compile(r"""(\b(?!https?:)\w+://)[^\s/'"<>@]*:[^\s'"<>]*@""", re.IGNORECASE)
_QUERY_PASSWORD = re.compile(r"""([?&](?:ssl)?password=)[^\s&'"<>]*""", re.IGNORECASE)

# With its semicolon: in `?a=1&copy=2` the name is one of a query.
_REFERENCE = re.compile("&#?[a-zA-Z0-9]+;")


def plain_url(url: str) -> str:
    """Return a web URL as outputs show it: without credentials, query and fragment.

    Where the query chooses the file (`?id=5`), a digest of it stands before the ending: `get~ef2d127d`.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    chosen = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNING.fullmatch(pair[0])]
    folder, slash, name = parts.path.rpartition("/")
    if chosen:
        stem, dot, ending = name.rpartition(".") if "." in name else (name, "", "")
        name = f"{stem}~{hashlib.sha256(repr(chosen).encode()).hexdigest()[:8]}{dot}{ending}"
    return f"{parts.scheme}://{host}{folder}{slash}{name}"


def links_below(folder: str, links: Iterable[str]) -> list[str]:
    """Return the links of an index page that lead into its folder, each once and without `.` and `..`.

    A link such as `../other/` leads out of the folder, and from page to page without end. fsspec leaves the references
    of HTML in the links: Apache writes `a&amp;b.png`.
    """
    start = f"{_without_dots(folder)}/"
    plain = (_REFERENCE.sub(lambda match: html.unescape(match[0]), link) for link in links)
    absolute = map(_without_dots, plain)
    inside = (link.removeprefix(start) for link in absolute if link.startswith(start) and link != start)
    return list(dict.fromkeys(f"{folder.rstrip('/')}/{rest}" for rest in inside))


def _without_dots(url: str) -> str:
    """Resolve `.` and `..` in the path of a URL as a request for it does, and drop a slash at its end."""
    parts = urlsplit(url)
    steps: list[str] = []
    for step in parts.path.split("/"):
        plain = step.replace("%2e", ".").replace("%2E", ".")
        if plain == "..":
            del steps[max(1, len(steps) - 1) :]
        elif plain != ".":
            steps.append(step)
    return parts._replace(path="/".join(steps).rstrip("/")).geturl()


def url_path(url: str) -> str:
    """Return the path of a web URL, percent-decoded."""
    return unquote(urlsplit(url).path)


def without_secrets(text: str) -> str:
    """Remove user names, passwords, queries and fragments from the URLs in a text."""
    text = _WEB_URL.sub(lambda match: f"{match[1]}{match[2]}{'?...' if match[3] else ''}", text)
    return _QUERY_PASSWORD.sub(r"\1...", _PASSWORD.sub(r"\1", text))


def check_url(url: str) -> None:
    """Refuse a malformed web URL.

    Raises:
        UrlError: its host or port is not one.
    """
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise UrlError(f"{without_secrets(url)!r} is not a URL: {error}") from error


def refuse_password(url: str) -> None:
    """Refuse a store's URL with a password in it.

    Raises:
        UrlError: it has one. The text does not repeat it.
    """
    host = url.partition("://")[2].partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise UrlError(
            f"{without_secrets(url)}: credentials do not belong into the URL: set them in the environment, or give "
            "them with --storage-options"
        )
