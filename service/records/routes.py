"""`GET /v1/decisions`: the record, read back. None of it runs in the event loop."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from service.documentation import describe_problems
from service.errors import MalformedRequest, NotFound, RecordsUnavailable
from service.records.query import Page, find_all, find_image, find_one, find_page
from service.records.store import Store
from service.records.view import FLAT_NAMES, Record, flatten

_NDJSON = "application/x-ndjson"
_CSV = "text/csv"
_FORMATS = {_CSV: "csv", _NDJSON: "ndjson"}

# A spreadsheet takes a cell that begins like this for a formula, and the names of images are the callers'.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Records = Iterable[dict[str, Any]]


class RecordPage(BaseModel):
    """Some decisions, the newest first; `next` is the cursor of the page after them."""

    decisions: list[Record]
    next: str | None


def make_record_routes(store: Store | None) -> APIRouter:
    """All of them; without a store they say so."""
    router = APIRouter(responses=describe_problems([MalformedRequest, NotFound, RecordsUnavailable]))

    @router.get("/v1/decisions", response_model=RecordPage, summary="Decisions that were taken, the newest first")
    def list_decisions(request: Request, page: Annotated[Page, Query()]) -> Response:
        kind = page.format or _FORMATS.get(request.headers.get("accept", ""), "json")
        if kind != "json":
            return _stream(find_all(existing(store), page), kind)
        found, after = find_page(existing(store), page)
        return _json({"decisions": found, "next": after})

    @router.get("/v1/decisions/{record}/image", response_class=Response, summary="What is kept of an image, a JPEG")
    def image(record: str) -> Response:
        # What is kept under this name never becomes another.
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(find_image(existing(store), record), media_type="image/jpeg", headers=headers)

    @router.get("/v1/decisions/{name}", response_model=Record, summary="One decision, by `record` or `id`")
    def decision(name: str) -> Response:
        return _json(find_one(existing(store), name))

    return router


def existing(store: Store | None) -> Store:
    """The store.

    Raises:
        NotFound: there is none.
    """
    if store is None:
        raise NotFound("records are off: set LENSGATE_RECORDS_URL, then restart")
    return store


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _stream(pages: Iterator[Records], kind: str) -> StreamingResponse:
    # The first page before the answer begins: what is wrong with the store can still be said.
    pages = chain([next(pages)], pages)
    name = f"decisions.{kind}"
    write, media_type = (_write_csv, _CSV) if kind == "csv" else (_write_lines, _NDJSON)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(write(pages), media_type=media_type, headers=headers)


def _write_lines(pages: Iterator[Records]) -> Iterator[bytes]:
    for page in pages:
        yield b"".join(orjson.dumps(record) + b"\n" for record in page)


def _write_csv(pages: Iterator[Records]) -> Iterator[str]:
    buffer = io.StringIO()
    write: Callable[[Iterable[Any]], Any] = csv.writer(buffer).writerow
    write(FLAT_NAMES)
    for page in pages:
        for record in page:
            write(_harmless(value) for value in flatten(record).values())
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
