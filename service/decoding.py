"""The pool that turns bodies into pixels, one image a job; the decoders release the GIL."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gate import read_pixels
from gate.pixels import Pixels
from service.estimate import RunningMean


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
        observe: is told the seconds of each decode.
        on_idle: is called when a decode ended and no other is left.
    """

    def __init__(
        self,
        size: int,
        *,
        threads: int,
        max_pixels: int,
        observe: Callable[[float], None],
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._size = size
        self._max_pixels = max_pixels
        self._observe = observe
        self._on_idle = on_idle
        self._mean = RunningMean()
        self._busy = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")

    @property
    def busy(self) -> int:
        """Images that wait for a thread or have one, those whose caller is gone but that still run among them."""
        return self._busy

    @property
    def queued(self) -> int:
        """Images that wait for a thread."""
        return max(0, self._busy - self.threads)

    def predicted_wait(self) -> float:
        """Seconds until an image that came now would be decoded."""
        return self._busy * self._mean.value / self.threads

    async def decode(self, data: bytes) -> Decoded:
        """Decode one image. Cancelled while it waits, it costs no decode.

        Raises:
            ImageError: the image cannot be judged.
        """
        # The pool keeps a cancelled job, and with it what it was given, until a thread comes by: it is given a box
        # that can be emptied before.
        box = [data]
        del data
        with self._lock:
            self._busy += 1
        future = self._pool.submit(self._timed, box, time.perf_counter())
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wrap_future(future)
        finally:
            box.clear()

    def close(self) -> None:
        """Drop what waits; a decode under way is left to end by itself, which it does within seconds."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: "Future[Decoded]") -> None:
        with self._lock:
            self._busy -= 1
            idle = self._busy == 0
        if idle:
            self._on_idle()

    def _timed(self, box: list[bytes], submitted: float) -> Decoded:
        start = time.perf_counter()
        try:
            return Decoded(read_pixels(box.pop(), self._size, max_pixels=self._max_pixels), start - submitted)
        finally:
            seconds = time.perf_counter() - start
            with self._lock:
                self._mean.update(seconds)
            self._observe(seconds)
