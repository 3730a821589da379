"""The pool that turns bodies into pixels, one image a job; the decoders release the GIL."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gate import read_pixels
from gate.pixels import Pixels


@dataclass(frozen=True, slots=True)
class Decoded:
    """uint8 `[S, S, 3]`, and how many seconds the image waited for a thread before."""

    pixels: Pixels
    waited: float


class DecodePool:
    """Decodes on `threads` threads, straight down to the model's `size`, so that only kilobytes wait in the queue.

    Args:
        size: edge of the model's input in pixels.
        threads: how many images are decoded at a time; 0 is one per core this process may use.
        max_pixels: most pixels that are decoded.
        observe: is told the seconds of each decode that succeeded.
    """

    def __init__(self, size: int, *, threads: int, max_pixels: int, observe: Callable[[float], None]) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self.busy = 0
        self._size = size
        self._max_pixels = max_pixels
        self._observe = observe
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")

    @property
    def queued(self) -> int:
        """Images that wait for a thread."""
        return max(0, self.busy - self.threads)

    async def decode(self, data: bytes) -> Decoded:
        """Decode one image. Cancelled while it waits, it costs no decode.

        Raises:
            ImageError: the image cannot be judged.
        """
        self.busy += 1
        try:
            decoded, seconds = await asyncio.wrap_future(self._pool.submit(self._timed, data, time.perf_counter()))
        finally:
            self.busy -= 1
        self._observe(seconds)
        return decoded

    def close(self) -> None:
        """Wait for the jobs under way and end the threads."""
        self._pool.shutdown()

    def _timed(self, data: bytes, submitted: float) -> tuple[Decoded, float]:
        start = time.perf_counter()
        pixels = read_pixels(data, self._size, max_pixels=self._max_pixels)
        return Decoded(pixels, start - submitted), time.perf_counter() - start
