"""Answers to what is no request: they are written without the app, and end their connection."""

import json
import logging

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.errors import ServiceError
from service.ids import new_id

log = logging.getLogger(__name__)


def make_refusal(error: ServiceError) -> bytes:
    """Return a whole answer, and log it."""
    request_id = new_id()
    log.info("refused: %s", error.detail, extra={"fields": {"request_id": request_id, "status": error.status}})
    body = json.dumps(error.problem(request_id)).encode()
    head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[error.status] + head + body
