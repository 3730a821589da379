"""`GET /v1/sources`: the outcomes of recorded decisions by source."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.concurrency.shared_computation import SharedComputation
from service.errors import MalformedRequest, NotFound, RecordsUnavailable
from service.http.openapi import describe_problems
from service.records.store import Store, require_store
from service.review.served_version import ServedVersion
from service.review.sources import SourceQuery, SourceReport, read_sources


def make_source_routes(store: Store | None, *, served: Callable[[], ServedVersion]) -> APIRouter:
    """Make the route; without a store it responds with 404 and the reason."""
    router = APIRouter(responses=describe_problems([MalformedRequest, NotFound, RecordsUnavailable]))
    # Each takes up to seconds of a core.
    reports: SharedComputation[str] = SharedComputation()

    @router.get(
        "/v1/sources", response_model=SourceReport, summary="Compare the sources of images by outcome, over a window"
    )
    async def sources(query: Annotated[SourceQuery, Query()]) -> Response:
        kept = require_store(store)
        report = await reports.get(query, lambda: read_sources(kept, query, served()).model_dump_json())
        return Response(report, media_type="application/json")

    return router
