"""Callers that keep a service busy while a test changes something."""

import threading
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.support.servers import TIMEOUT, wait_until


@contextmanager
def four_callers(ask: Callable[[threading.Event], object], answers: Sized) -> Iterator[None]:
    """Four threads that run `ask` until the block ends and sets its argument; the block begins after nine answers."""
    done = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, done) for _ in range(4)]
        wait_until(lambda: len(answers) > 8)
        try:
            yield
        finally:
            done.set()
        for each in asked:
            each.result(TIMEOUT)
