"""`/v1/review`: claims, verdicts, skips, progress and exports. All of them work in threads."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.concurrency.shared_computation import SharedComputation
from service.errors import Conflict, Forbidden, MalformedRequest, NotFound, RecordsUnavailable
from service.http.downloads import Downloads
from service.http.json_body import JsonRoute, KnownMembers
from service.http.openapi import BINARY, TEXT, describe_files, describe_problems
from service.http.responses import json_response
from service.ids import Source
from service.records.query import NO_FILTERS, Filters, RecordId
from service.records.serialization import Record, show_time
from service.records.store import Store, require_store
from service.records.tables import Verdict
from service.review.exports import Ids, write_corrections, write_dataset
from service.review.metrics import ReviewMetrics
from service.review.progress import Progress, read_progress
from service.review.queue import ReviewQueue
from service.review.recertify import MIN_CONFIDENCE, Recertificate, recertify
from service.review.review_kind import ReviewKind
from service.review.reviewer import Name, find_reviewer
from service.review.served_version import ServedVersion

MAX_CLAIMED = 100


class ReviewerBody(KnownMembers):
    """The reviewer; with tokens the name of the token."""

    model_config = ConfigDict(frozen=True)

    reviewer: Name | None = None


class ClaimBody(ReviewerBody):
    """The images to reserve."""

    count: Annotated[int, Field(ge=1, le=MAX_CLAIMED)] = 10
    kind: ReviewKind = ReviewKind.ALL
    filters: Filters = NO_FILTERS

    @field_validator("filters")
    @classmethod
    def _have_no_verdict(cls, filters: Filters) -> Filters:
        if filters.verdict is not None:
            raise ValueError("images in the review have no verdict yet: leave `verdict` out")
        return filters


class ClaimedImages(BaseModel):
    """Images reserved for this reviewer until `expires`: contradicted ones first, then the audit, then the others."""

    images: list[Record]
    expires: datetime


class VerdictBody(ReviewerBody):
    """A verdict on an image."""

    verdict: Verdict


class VerdictAnswer(BaseModel):
    """A stored verdict."""

    record: str
    verdict: Verdict
    reviewer: str


class CertificateQuery(BaseModel):
    """The images to certify from, and the certificate to compute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source | None = Field(None, description="Only images of this source")
    target_risk: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None, description="For both labels; by default that of the card for each label, or 0.01"
    )
    confidence: Annotated[float, Field(ge=MIN_CONFIDENCE, lt=1.0)] = Field(0.95, description="Of each label by itself")


ReviewerParameter = Annotated[Name | None, Query(description="Name of the reviewer; with tokens the name of the token")]


def make_review_routes(
    store: Store | None, *, served: Callable[[], ServedVersion], metrics: ReviewMetrics, downloads: Downloads
) -> APIRouter:
    """Make the routes; without a store they respond with 404 and the reason.

    Args:
        store: the store of records and verdicts.
        served: returns the served version, which the audit is about.
        metrics: counts verdicts.
        downloads: generates the exports.
    """
    problems = (MalformedRequest, Forbidden, NotFound, RecordsUnavailable)
    router = APIRouter(prefix="/v1/review", route_class=JsonRoute, responses=describe_problems(problems))
    _add_claims(router, store)
    _add_verdicts(router, store, metrics)
    _add_skips(router, store)
    _add_reading(router, store, served)
    _add_exports(router, store, downloads)
    return router


def _add_claims(router: APIRouter, store: Store | None) -> None:
    @router.post(
        "/claims", response_model=ClaimedImages, summary="Reserve images for the reviewer, or extend the reservation"
    )
    def claim(request: Request, body: ClaimBody) -> Response:
        who = find_reviewer(request, body.reviewer)
        images, expires = _queue(store).claim(who, count=body.count, kind=body.kind, filters=body.filters)
        return json_response({"images": images, "expires": show_time(expires)})

    @router.delete("/claims", status_code=204, summary="Release all reserved images")
    def release(request: Request, reviewer: ReviewerParameter = None) -> None:
        _queue(store).release(find_reviewer(request, reviewer))


def _add_verdicts(router: APIRouter, store: Store | None, metrics: ReviewMetrics) -> None:
    conflict = describe_problems([Conflict])

    @router.put("/verdicts/{record}", responses=conflict, summary="Give a verdict")
    def judge(request: Request, record: RecordId, body: VerdictBody) -> VerdictAnswer:
        who = find_reviewer(request, body.reviewer)
        if _queue(store).judge(who, record, body.verdict):
            metrics.observe_verdict(body.verdict)
        return VerdictAnswer(record=record, verdict=body.verdict, reviewer=who.name)

    @router.delete("/verdicts/{record}", status_code=204, responses=conflict, summary="Delete a verdict")
    def retract(request: Request, record: RecordId, reviewer: ReviewerParameter = None) -> None:
        _queue(store).retract(find_reviewer(request, reviewer), record)


def _add_skips(router: APIRouter, store: Store | None) -> None:
    conflict = describe_problems([Conflict])

    @router.post("/skips/{record}", status_code=204, summary="Skip an image")
    def skip(request: Request, record: RecordId, body: ReviewerBody) -> None:
        _queue(store).skip(find_reviewer(request, body.reviewer), record)

    @router.delete("/skips/{record}", status_code=204, responses=conflict, summary="Delete a skip")
    def unskip(request: Request, record: RecordId, reviewer: ReviewerParameter = None) -> None:
        _queue(store).unskip(find_reviewer(request, reviewer), record)

    @router.delete("/skips", status_code=204, summary="Delete all skips of the reviewer")
    def unskip_all(request: Request, reviewer: ReviewerParameter = None) -> None:
        _queue(store).unskip_all(find_reviewer(request, reviewer))


def _add_reading(router: APIRouter, store: Store | None, served: Callable[[], ServedVersion]) -> None:
    # Both read the whole audit sample, which takes a second of a core for 20,000 verdicts.
    readings: SharedComputation[Progress] = SharedComputation()
    certificates: SharedComputation[Recertificate] = SharedComputation()

    @router.get("/progress", summary="Show the progress of the review and the result of the audit")
    async def progress(request: Request, reviewer: ReviewerParameter = None) -> Progress:
        kept, who = require_store(store), find_reviewer(request, reviewer)
        return await readings.get(who, lambda: read_progress(kept, who, served()))

    @router.get("/certificate", summary="Certify the band again from the verdicts of the audit")
    async def certificate(query: Annotated[CertificateQuery, Query()]) -> Recertificate:
        kept = require_store(store)

        def compute() -> Recertificate:
            with kept.begin() as connection:
                return recertify(connection, served(), **dict(query))

        return await certificates.get(query, compute)


def _add_exports(router: APIRouter, store: Store | None, downloads: Downloads) -> None:
    @router.get(
        "/corrections.csv",
        response_class=Response,
        responses=describe_files({"text/csv": TEXT}),
        summary="Export all verdicts as corrections for training",
    )
    async def corrections(ids: Ids = Ids.RECORD) -> Response:
        lines = write_corrections(require_store(store), ids)
        return await downloads.respond(lines, "corrections.csv", media_type="text/csv")

    @router.get(
        "/dataset.tar",
        response_class=Response,
        responses=describe_files({"application/x-tar": BINARY}),
        summary="Export labelled images in the Kaggle layout",
    )
    async def dataset() -> Response:
        parts = write_dataset(require_store(store))
        return await downloads.respond(parts, "dataset.tar", media_type="application/x-tar")


def _queue(store: Store | None) -> ReviewQueue:
    return ReviewQueue(require_store(store))
