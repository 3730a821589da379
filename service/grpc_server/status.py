"""The gRPC status of each error, and the metadata that goes with it."""

import grpc

from service.errors import ServiceError

REQUEST_ID = "x-request-id"

_MAX_DETAIL = 1000

# By the status of HTTP, which each error class owns.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,  # As gRPC itself answers a message above its limit.
    417: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: ServiceError) -> grpc.StatusCode:
    """Return the status of an error."""
    return _CODES[error.status]


def detail_of(error: ServiceError) -> str:
    """Return the text of an error, short enough for a header."""
    return error.detail[:_MAX_DETAIL]


def metadata_of(error: ServiceError, request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata of an error: `code`, the request's id, and when to try again."""
    metadata = [("code", error.code), (REQUEST_ID, request_id)]
    if after := error.headers.get("Retry-After"):
        # The second is the name that gRPC's own retries read.
        metadata += [("retry-after", after), ("grpc-retry-pushback-ms", str(int(after) * 1000))]
    elif code_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # A message that is too large has the code of an overload. A negative number ends gRPC's own retries.
        metadata.append(("grpc-retry-pushback-ms", "-1"))
    return tuple(metadata)
