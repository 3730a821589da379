"""Admit a request before its body is read, and report refusals."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType

from starlette.requests import Request

from service.errors import DeadlineExceeded, InvalidImage, Overloaded
from service.http.caller import name_caller
from service.http.request_body import content_length
from service.http.scope_state import request_state
from service.inference.admission import Permit
from service.inference.request_context import RequestContext
from service.metrics.decisions import Metrics
from service.runtime import Runtime
from service.timings import Stages, show_duration


def admit_request(
    runtime: Runtime,
    request: Request,
    *,
    timeout_ms: int | None = None,
    max_body_bytes: int | None = None,
    is_trial: bool = False,
) -> AbstractAsyncContextManager[RequestContext]:
    """Hold a permit and the deadline of one HTTP request, as `admit` does.

    `timeout_ms` can only shorten the service's own timeout; `max_body_bytes` is for bodies of several images.
    Refusals of a trial are not counted.

    Raises:
        ServiceError: the request is not admitted, its deadline passes, or an image of it cannot be judged.
    """
    return admit(
        runtime,
        request_state(request.scope).stages,
        timeout=runtime.settings.timeout(timeout_ms),
        size=content_length(request),
        max_body_bytes=max_body_bytes,
        caller=name_caller(request.scope),
        is_trial=is_trial,
    )


@asynccontextmanager
async def admit(
    runtime: Runtime,
    stages: Stages,
    *,
    timeout: float,
    size: int | None,
    max_body_bytes: int | None,
    caller: str,
    is_trial: bool = False,
) -> AsyncIterator[RequestContext]:
    """Hold a permit and the deadline of one request for as long as the block lasts.

    Args:
        runtime: admits it.
        stages: receives its timings.
        timeout: seconds until its deadline.
        size: bytes of its body, if known.
        max_body_bytes: largest body, if it may hold several images.
        caller: whose share of the capacity it takes.
        is_trial: whether its refusals and decisions do not count.

    Raises:
        ServiceError: the request is not admitted, its deadline passes, or an image of it cannot be judged.
    """
    started = time.monotonic()
    with (
        CountRefusals(None if is_trial else runtime.metrics),
        runtime.admission.admit(size, timeout, max_body_bytes=max_body_bytes, caller=caller) as permit,
        runtime.runner as runner,
    ):
        deadline = started + timeout
        context = RequestContext(
            runner=runner, permit=permit, deadline=deadline, stages=stages, started=started, is_trial=is_trial
        )
        try:
            async with asyncio.timeout(timeout) as context.limit:
                yield context
        except TimeoutError as error:
            raise DeadlineExceeded(_describe_timeout(permit, context.deadline - started)) from error


def _describe_timeout(permit: Permit, seconds: float) -> str:
    if permit.is_complete:
        return f"there was no answer within {show_duration(seconds)}"
    return f"the body did not arrive within {show_duration(seconds)}: send it faster, or allow more time"


class CountRefusals:
    """Counts the refused requests and invalid images of its block.

    Args:
        metrics: count them; None counts none.
    """

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics is None:
            return
        if isinstance(error, InvalidImage):
            self._metrics.observe_image_error(error.code)
        elif isinstance(error, Overloaded) and error.reason is not None:
            self._metrics.observe_shed(error.reason)
