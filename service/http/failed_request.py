"""A request for a decision that failed, as it is logged and recorded."""

from dataclasses import dataclass

from service.paths import BATCH, DECISIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """One failed request, or one failed image of an upload.

    Attributes:
        status: of the answer; None for one image of an upload.
        code: stable code of the error.
        detail: text of the error.
        path: of the request.
        request_id: as in the log.
        identity: the caller's id of the image, if it is known.
        source: the caller's name of the generator, if it is known.
        token: name of the token, if there is one.
    """

    status: int | None
    code: str
    detail: str
    path: str
    request_id: str
    identity: str | None = None
    source: str | None = None
    token: str | None = None


def asks_for_decisions(method: str, path: str) -> bool:
    """Return whether a request asks for decisions that count; refused requests have no route yet, so by its path."""
    if method != "POST":
        return False
    is_v2 = path.startswith("/v2/models/") and path.endswith("/infer")
    is_grpc = path.endswith(("/ModelInfer", "/ModelStreamInfer"))
    return is_v2 or is_grpc or path in (DECISIONS, BATCH)
