"""Static files of the pages: read once, served with an ETag and a Content-Security-Policy."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

from fastapi import Request, Response

from service.errors import NotFound

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Cached but revalidated, so that a page never runs with scripts of an older version.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as served."""

    body: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from disk."""
        body = path.read_bytes()
        return cls(body, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    def answer(self, request: Request, *, status: int = 200) -> Response:
        """Return the file, or 304 if the browser has it; a page of another status is never 304."""
        if status != HTTPStatus.OK:
            return Response(self.body, status, headers=_HEADERS, media_type=self.media_type)
        headers = {**_HEADERS, "ETag": self.tag}
        if _matches(request.headers.get("if-none-match", ""), self.tag):
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


class Assets:
    """The files of one folder by name. Lookups never touch the file system, so no path leads outside."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._assets: Mapping[str, Asset] = {
            path.name: Asset.read(path) for path in folder.iterdir() if path.suffix in _MEDIA_TYPES
        }

    def find(self, name: str) -> Asset:
        """Return the file with this name.

        Raises:
            NotFound: no such file.
        """
        if name not in self._assets:
            raise NotFound("no such file")
        return self._assets[name]


def _matches(header: str, tag: str) -> bool:
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in header.split(","))
