"""Run calls that may never return, such as reads from a lost disk, in daemon threads.

asyncio and `concurrent.futures` join their threads when the process ends; these threads are not joined.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

_Result = TypeVar("_Result")


def start_daemon(call: Callable[[], _Result], *, name: str) -> "Future[_Result]":
    """Start `call` in a thread and return the future of its result; await it with `asyncio.wrap_future`."""
    future: Future[_Result] = Future()

    def run() -> None:
        # The future may have been cancelled meanwhile.
        with contextlib.suppress(InvalidStateError):
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
