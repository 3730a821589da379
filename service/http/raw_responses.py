"""Answers to malformed HTTP, written without the app; the connection is closed afterwards."""

import json
import logging
from collections.abc import Callable
from http import HTTPStatus

from service.errors import ServiceError
from service.ids import new_id

log = logging.getLogger(__name__)


def make_refusal(error: ServiceError, on_refusal: Callable[[str], None]) -> bytes:
    """Return a complete answer, log it, and pass its code to `on_refusal`."""
    on_refusal(error.code)
    request_id = new_id()
    log.info("refused: %s", error.detail, extra={"fields": {"request_id": request_id, "status": error.status}})
    body = json.dumps(error.problem(request_id)).encode()
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return status + head + body
