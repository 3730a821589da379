"""What can go wrong with a call, each class with what it means.

GateError
├── GateUnreachable      no answer came: no connection, or one that was lost
├── DeadlineExceeded     the time of the call was over, here or at the gate
├── RequestRefused       400, 404 and the like: the gate takes no such request
│   ├── Unauthorized     401
│   └── Forbidden        403
├── BadImage             413, 422, or found here before anything was sent; `code` says what is wrong with the image
├── Overloaded           429, with `retry_after`
│   └── RateLimited
├── NotReady             503
│   └── Draining
├── ServiceFault         500 and what else a server or a proxy answers that is at fault itself
├── UnexpectedAnswer     what answered is no Lensgate, or not one that this client understands
└── GaveUp               a GateFilter found too little to accept
"""

from collections.abc import Mapping
from typing import ClassVar

from lensgate_client._protocol.texts import cut


class GateError(Exception):
    """Base of everything this package raises about the gate and about images.

    Args:
        detail: a text for people, cut to 2,000 characters.
        code: stable, for programs; the class has its own.
        status: of the HTTP answer, if there was one.
        request_id: under which the gate's log has the request.
        retry_after: seconds that the gate asked to wait.
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
        self.detail = cut(detail)
        super().__init__(self.detail)
        self.code = code or self.code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class GateUnreachable(GateError):
    """No answer came. Where `is_lost`, the request was on its way, and the gate may have decided and recorded it."""

    code = "unreachable"
    is_retryable = True

    def __init__(self, detail: str, *, is_lost: bool = False, status: int | None = None) -> None:
        super().__init__(detail, status=status)
        self.is_lost = is_lost


class DeadlineExceeded(GateError):
    """There was no answer in time."""

    code = "deadline_exceeded"


class RequestRefused(GateError):
    """The gate does not take such a request: another URL, another version, or a fault of this client."""

    code = "malformed_request"


class Unauthorized(RequestRefused):
    """No token, or none that the gate knows."""

    code = "unauthorized"


class Forbidden(RequestRefused):
    """The token is known, and not for this."""

    code = "forbidden"


class BadImage(GateError):
    """The image cannot be judged: `not_square`, `image_too_small`, `corrupt_image` ... in `code`."""

    code = "unsupported_image"


class Overloaded(GateError):
    """The gate has no room at present; nothing was decided."""

    code = "overloaded"
    is_retryable = True


class RateLimited(Overloaded):
    """This token has sent more requests than it may; nothing was decided."""

    code = "rate_limited"


class NotReady(GateError):
    """The gate cannot decide at present; nothing was decided."""

    code = "not_ready"
    is_retryable = True


class Draining(NotReady):
    """The gate is about to leave; another replica, or its successor, will answer."""

    code = "draining"


class ServiceFault(GateError):
    """A fault of the service; its log has it under `request_id`."""

    code = "internal"


class UnexpectedAnswer(GateError):
    """An answer that is none of a Lensgate."""

    code = "unexpected_answer"


class GaveUp(GateError):
    """A filter ended before it had what it was asked for; `detail` says why, with the counts."""

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
}
# Proxies give none, and theirs is most often about the body.
_CODES: Mapping[int, str] = {413: "body_too_large"}
_BAD_GATEWAY = 502


def error_of(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
) -> GateError:
    """The error that an answer with this status and, where a Lensgate gave it, this code stands for."""
    if status == _BAD_GATEWAY:
        # A proxy in front of the gate lost it: whether it had decided nobody knows.
        return GateUnreachable(detail, is_lost=True, status=status)
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status) or _by_range(status)
    return kind(detail, code=code or _CODES.get(status), status=status, request_id=request_id, retry_after=retry_after)


def _by_range(status: int) -> type[GateError]:
    if status >= 500:
        return ServiceFault
    return RequestRefused if status >= 400 else UnexpectedAnswer
