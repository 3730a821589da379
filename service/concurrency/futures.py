"""Deliver results from worker threads to asyncio futures, at a fifth of the cost of `asyncio.wrap_future`.

Cancellation is not propagated to the thread.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, TypeVarTuple

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


def call_in_loop(
    loop: asyncio.AbstractEventLoop, call: Callable[[*_Arguments], object], *arguments: *_Arguments
) -> None:
    """Schedule the call in `loop`, from any thread; skip it if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def settle(future: "asyncio.Future[_Result]", outcome: _Result | Exception) -> None:
    """Set the result or exception of `future` unless it is done or cancelled. Call it in the future's loop."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


async def gather_or_cancel(calls: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Run all calls at once and return their results in order; the first failure cancels the others."""
    coroutines = list(calls)
    if len(coroutines) == 1:
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(call) for call in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        while tasks:  # Emptied, because an error keeps this frame: with its task that would be a reference cycle.
            tasks.pop().cancel()
