"""Bound the threads of requests that use the records: more of them would take the connections of the recorder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter

from service.records.store import READERS


@asynccontextmanager
async def bounded_reader_threads() -> AsyncIterator[None]:
    """Let Starlette call at most `READERS` endpoints in threads at a time while the block runs; others wait."""
    limiter = current_default_thread_limiter()
    usual, limiter.total_tokens = limiter.total_tokens, READERS
    try:
        yield
    finally:
        limiter.total_tokens = usual
