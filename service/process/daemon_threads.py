"""Calls that may never return, such as reading a disk that is gone, each in a daemon thread of its own.

asyncio and `concurrent.futures` wait for their threads when the process ends; nothing waits for these.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

_Result = TypeVar("_Result")


def start_daemon(call: Callable[[], _Result], *, name: str) -> "Future[_Result]":
    """Start `call` in a thread and return what will hold its result; `asyncio.wrap_future` makes it one to await."""
    future: Future[_Result] = Future()

    def run() -> None:
        # Cancelled meanwhile, it is nobody's any more.
        with contextlib.suppress(InvalidStateError):
            try:
                found = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(found)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
