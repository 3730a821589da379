"""`GET /v1/decisions`: query the records. All of them are read in worker threads."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from common.terminal import escape_formula
from service.accept import preferred
from service.errors import MalformedRequest, NotFound, RecordsUnavailable
from service.http.downloads import Downloads
from service.http.openapi import BINARY, TEXT, describe_files, describe_problems
from service.http.responses import json_response, write_table
from service.paths import DECISIONS
from service.records.failures import FailureFilters, FailurePage, find_failures
from service.records.path_parameters import NAME, RECORD
from service.records.query import PAGE, Page, find_all, find_image, find_one, find_page
from service.records.serialization import FLAT_NAMES, Record, flatten
from service.records.store import Store, require_store

_NDJSON = "application/x-ndjson"
_CSV = "text/csv"
_FORMATS = {"application/json": "json", _CSV: "csv", _NDJSON: "ndjson"}

Records = Iterable[dict[str, Any]]


class RecordPage(BaseModel):
    """A page of decisions, newest first; `next` is the cursor of the next page."""

    decisions: list[Record]
    next: str | None


def make_record_routes(store: Store | None, downloads: Downloads) -> APIRouter:
    """Make the routes; without a store they respond with 404 and the reason."""
    router = APIRouter(responses=describe_problems([MalformedRequest, NotFound, RecordsUnavailable]))

    @router.get(
        DECISIONS,
        response_model=RecordPage,
        responses=describe_files({_CSV: TEXT, _NDJSON: TEXT}),
        summary="List decisions, newest first",
    )
    async def list_decisions(request: Request, page: Annotated[Page, Query()]) -> Response:
        kept = require_store(store)
        accepted = preferred(",".join(request.headers.getlist("accept")), _FORMATS)
        kind = page.format or (_FORMATS[accepted] if accepted else "json")
        if kind == "csv":
            return await downloads.respond(_write_csv(find_all(kept, page)), "decisions.csv", media_type=_CSV)
        if kind == "ndjson":
            return await downloads.respond(_write_lines(find_all(kept, page)), "decisions.ndjson", media_type=_NDJSON)
        if page.limit is not None and page.limit > PAGE:
            raise MalformedRequest(f"limit: must be at most {PAGE:,} in JSON; format=csv and format=ndjson take any")
        return await run_in_threadpool(_answer_page, kept, page)

    # Callers' ids may contain slashes; only after a record does `/image` name its preview.
    @router.get(
        f"{DECISIONS}/{RECORD}/image",
        response_class=Response,
        responses=describe_files({"image/jpeg": BINARY}),
        summary="Get the preview of an image, a JPEG",
    )
    def image(record: str) -> Response:
        # The preview of a record never changes.
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(find_image(require_store(store), record), media_type="image/jpeg", headers=headers)

    @router.get(f"{DECISIONS}/{NAME}", response_model=Record, summary="Get one decision by `record` or `id`")
    def decision(name: Annotated[str, Path(description="`record` or `id` of the decision")]) -> Response:
        return json_response(find_one(require_store(store), name))

    @router.get("/v1/failures", response_model=FailurePage, summary="List examples of failed requests, newest first")
    def list_failures(filters: Annotated[FailureFilters, Query()]) -> Response:
        failures, after = find_failures(require_store(store), filters)
        return json_response({"failures": failures, "next": after})

    return router


def _answer_page(store: Store, page: Page) -> Response:
    decisions, after = find_page(store, page)
    return json_response({"decisions": decisions, "next": after})


def _write_lines(pages: Iterator[Records]) -> Iterator[bytes]:
    for page in pages:
        yield b"".join(orjson.dumps(record) + b"\n" for record in page)


def _write_csv(pages: Iterator[Records]) -> Iterator[str]:
    return write_table(FLAT_NAMES, (map(_flat_row, page) for page in pages))


def _flat_row(record: dict[str, Any]) -> list[Any]:
    return [escape_formula(cell) if type(cell) is str else cell for cell in flatten(record)]
