"""Errors of this package, one class for each way a call can fail.

GateError
├── GateUnreachable      no response: the connection could not be opened, or was lost
├── DeadlineExceeded     the call timed out, in the client or in the gate
├── RequestRefused       400, 404 and similar: the gate does not accept such a request
│   ├── Unauthorized     401
│   └── Forbidden        403
├── BadImage             413, 422, or detected before sending; `code` names the fault of the image
├── Overloaded           429, with `retry_after`
│   └── RateLimited
├── NotReady             503
│   └── Draining
├── ServiceFault         500 and other faults of a server or a proxy
├── UnexpectedAnswer     the response does not follow the protocol of a Lensgate
└── GaveUp               a GateFilter accepted too few images

Error texts quote values of the caller and of the server; `quoted`, `truncated` and `single_line` keep them bounded and
printable.
"""

import reprlib
from collections.abc import Mapping
from typing import ClassVar

MAX_CHARACTERS = 2_000
"""Limit of one error text, quotations included."""

_QUOTED_CHARACTERS = 80
_bounded = reprlib.Repr()
_bounded.maxstring = _bounded.maxother = _QUOTED_CHARACTERS


class GateError(Exception):
    """Base class of the errors that this package raises about the gate and about images.

    Args:
        detail: a text for people, truncated to 2,000 characters.
        code: a stable identifier for programs; each class has a default.
        status: HTTP status of the response, if there was one.
        request_id: identifies the request in the log of the gate.
        retry_after: seconds that the gate asked the client to wait.
    """

    code: str = "gate_error"
    is_retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.detail = truncated(detail)
        super().__init__(self.detail)
        self.code = code or self.code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class GateUnreachable(GateError):
    """No response arrived. If `is_lost`, the request was sent, and the gate may have decided and recorded it."""

    code = "unreachable"
    is_retryable = True

    def __init__(self, detail: str, *, is_lost: bool = False, status: int | None = None) -> None:
        super().__init__(detail, status=status)
        self.is_lost = is_lost


class DeadlineExceeded(GateError):
    """No response arrived in time."""

    code = "deadline_exceeded"


class RequestRefused(GateError):
    """The gate rejected the request: wrong URL, another version, or a fault of this client."""

    code = "malformed_request"


class Unauthorized(RequestRefused):
    """The token is missing or unknown to the gate."""

    code = "unauthorized"


class Forbidden(RequestRefused):
    """The token is valid but lacks the permission for this request."""

    code = "forbidden"


class BadImage(GateError):
    """The image cannot be scored; `code` is `not_square`, `image_too_small`, `corrupt_image` or similar."""

    code = "unsupported_image"


class Overloaded(GateError):
    """The gate is at capacity and did not process the request."""

    code = "overloaded"
    is_retryable = True


class RateLimited(Overloaded):
    """The token exceeded its rate limit; the request was not processed."""

    code = "rate_limited"


class NotReady(GateError):
    """The gate is not ready and did not process the request."""

    code = "not_ready"
    is_retryable = True


class Draining(NotReady):
    """The gate is shutting down; another replica or its successor will respond."""

    code = "draining"


class ServiceFault(GateError):
    """The service failed; its log has the details under `request_id`."""

    code = "internal"


class UnexpectedAnswer(GateError):
    """The response does not follow the protocol of a Lensgate."""

    code = "unexpected_answer"


class GaveUp(GateError):
    """A filter stopped before it had the requested images; `detail` has the reason and the counts."""

    code = "gave_up"


_BY_CODE: Mapping[str, type[GateError]] = {"rate_limited": RateLimited, "draining": Draining}
_BY_STATUS: Mapping[int, type[GateError]] = {
    401: Unauthorized,
    403: Forbidden,
    413: BadImage,
    422: BadImage,
    429: Overloaded,
    503: NotReady,
    504: DeadlineExceeded,
    524: DeadlineExceeded,  # Cloudflare's 504.
}
# A proxy sends no code; its 413 refers to the size of the body.
_DEFAULT_CODES: Mapping[int, str] = {413: "body_too_large"}
# Proxies send these if they have no connection to the gate, or have lost it: the last four are Cloudflare's.
_BAD_GATEWAY = (502, 520, 521, 522, 523)
_REQUEST_TIMEOUT = 408


def error_for_response(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
) -> GateError:
    """Create the error for an HTTP status and, if a Lensgate sent one, its code."""
    # A proxy ends an idle connection with 408, which meets the next request on its way. A gate's 408 has a code.
    is_idle = status == _REQUEST_TIMEOUT and code is None
    if status in _BAD_GATEWAY or is_idle:
        # The gate may have decided already.
        return GateUnreachable(detail, is_lost=True, status=status)
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status) or _class_by_range(status)
    code = code or _DEFAULT_CODES.get(status)
    return kind(detail, code=code, status=status, request_id=request_id, retry_after=retry_after)


def _class_by_range(status: int) -> type[GateError]:
    if status >= 500:
        return ServiceFault
    return RequestRefused if status >= 400 else UnexpectedAnswer


def quoted(value: object) -> str:
    """Return `repr(value)`; shorten a long value to its beginning and its length."""
    if isinstance(value, str | bytes | bytearray):
        unit = "characters" if isinstance(value, str) else "bytes"
        if len(value) <= _QUOTED_CHARACTERS:
            return repr(value)
        return f"{value[:_QUOTED_CHARACTERS]!r}... ({len(value):,} {unit})"
    return truncated(_bounded.repr(value), 2 * _QUOTED_CHARACTERS)


def truncated(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return at most `limit` characters of `text`; an ellipsis marks a shortened text."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def single_line(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return `text` on one line without control characters, which could forge log lines or drive a terminal."""
    head = text[: 4 * limit]
    return truncated(" ".join("".join(letter if letter.isprintable() else " " for letter in head).split()), limit)
