"""Errors that are reported to callers, each class with its status and its stable code.

ServiceError
├── MalformedRequest      400
├── Unauthorized          401, with WWW-Authenticate
├── Forbidden             403
├── NotFound              404
├── MethodNotAllowed      405
├── BodyTooSlow           408
├── Conflict              409
├── BodyTooLarge          413
├── ExpectationFailed     417
├── InvalidImage          422, with the code of the image error
├── MissingImage          422, of one image among many
├── Overloaded            429, with Retry-After
├── RateLimited           429, with Retry-After
├── HeaderTooLarge        431
├── ClientGone            499, seen in metrics and logs only
├── Internal              500
├── NotReady              503
│   ├── Draining
│   └── RecordsUnavailable
└── DeadlineExceeded      504
SettingsError             the service does not start
"""

from http import HTTPStatus
from typing import ClassVar, Literal

from gate.errors import GateError


class ServiceError(Exception):
    """Base of all errors that are answered as `application/problem+json` (RFC 9457)."""

    status: ClassVar[int] = 500
    code: str = "internal"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}

    def problem(self, request_id: str) -> dict[str, str | int]:
        """Return the body of the answer."""
        return {
            "type": "about:blank",
            "title": _title(self.status),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        }


def detach(error: BaseException) -> None:
    """Drop the traceback and the causes of an error that is kept: their frames hold large objects, such as a body.

    If one of those frames holds the error too, that is a reference cycle, which lasts until a garbage collection.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


class MalformedRequest(ServiceError):
    """A parameter or the framing of the request is wrong."""

    status = 400
    code = "malformed_request"


class Unauthorized(ServiceError):
    """The token is missing or unknown."""

    status = 401
    code = "unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    """The token lacks the required scope, or the request comes from a page of another origin."""

    status = 403
    code = "forbidden"


class NotFound(ServiceError):
    """The path, or the record or model that it names, does not exist."""

    status = 404
    code = "not_found"


class MethodNotAllowed(ServiceError):
    """The path exists, but not with this method."""

    status = 405
    code = "method_not_allowed"


class Conflict(ServiceError):
    """The request conflicts with a change that another caller made meanwhile."""

    status = 409
    code = "conflict"


class BodyTooSlow(ServiceError):
    """The body arrives below the minimum rate."""

    status = 408
    code = "body_too_slow"


class BodyTooLarge(ServiceError):
    """The body exceeds the limit, as announced or as sent."""

    status = 413
    code = "body_too_large"


class ExpectationFailed(ServiceError):
    """The request has an `Expect` that this service cannot meet."""

    status = 417
    code = "expectation_failed"


class InvalidImage(ServiceError):
    """The image cannot be judged; `code` says why."""

    status = 422
    code = "invalid_image"

    def __init__(self, detail: str, *, code: str) -> None:
        super().__init__(detail)
        self.code = code


class MissingImage(ServiceError):
    """A member of a tar that names an image and does not contain it."""

    status = 422
    code = "missing_image"


ShedReason = Literal["images", "bytes", "deadline", "streams", "calls", "rate_limit"]
"""The label of `lensgate_shed_total`: why a request for decisions was not admitted."""


class Overloaded(ServiceError):
    """The service is at a limit, or cannot meet the deadline; `Retry-After` says when to try again."""

    status = 429
    code = "overloaded"

    def __init__(self, detail: str, *, reason: ShedReason | None, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})
        # None if the request does not ask for decisions.
        self.reason = reason


class RateLimited(ServiceError):
    """The token has exceeded its rate limit."""

    status = 429
    code = "rate_limited"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class HeaderTooLarge(ServiceError):
    """The header of the request exceeds the limit."""

    status = 431
    code = "header_too_large"


class ClientGone(ServiceError):
    """The caller closed the connection before the answer; the status appears in metrics and logs only."""

    status = 499
    code = "client_gone"


class Internal(ServiceError):
    """An unexpected fault of the service; the log has the details, the answer does not."""

    status = 500
    code = "internal"

    def __init__(self) -> None:
        super().__init__("unexpected fault: the log has the details under this request_id")


class NotReady(ServiceError):
    """The service cannot make decisions at present."""

    status = 503
    code = "not_ready"


class Draining(NotReady):
    """The service is shutting down and admits no further requests."""

    code = "draining"


class RecordsUnavailable(NotReady):
    """The store of decisions cannot be read or written at present; decisions continue."""

    code = "records_unavailable"


class DeadlineExceeded(ServiceError):
    """The deadline passed before the answer."""

    status = 504
    code = "deadline_exceeded"


class SettingsError(GateError):
    """A setting is invalid; the service does not start."""


def _title(status: int) -> str:
    return "Client Closed Request" if status == ClientGone.status else HTTPStatus(status).phrase
