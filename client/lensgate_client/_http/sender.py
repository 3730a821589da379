"""Run calls with a blocking httpx client."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import httpx

from lensgate_client._http.deadline import ThreadDeadline, apply_deadline
from lensgate_client._http.lifetime import AttemptsInFlight, ForkGuard, closed_error
from lensgate_client._http.options import client_options, request_options
from lensgate_client._http.response_reader import ResponseReader, raw_chunks
from lensgate_client._http.transport_errors import transport_error
from lensgate_client._protocol.retry_loop import Attempt, AttemptResult, Call
from lensgate_client.errors import UnexpectedAnswer

_Result = TypeVar("_Result")


class Sender:
    """Sends the attempts of calls. Thread-safe.

    Args:
        url: URL of the gate.
        token: access token, if the gate requires one.
        concurrency: number of request threads.
        transport: a transport instead of httpx's default.
        sleep: waits for seconds; by default a wait that `close` ends.

    Raises:
        ValueError: the URL or the token is invalid, or a variable of the environment.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        concurrency: int,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], object] | None,
    ) -> None:
        options = client_options(url, token, transport=transport, handler="handle_request")
        self._proxy: httpx.Proxy | None = options.get("proxy")
        self._http = httpx.Client(**options)
        self._deadline = ThreadDeadline()
        apply_deadline(self._deadline, self._http)
        self._fork_guard = ForkGuard()
        self._attempts = AttemptsInFlight(self._fork_guard)
        self._sleep = sleep or self._attempts.closing.wait
        self._executor = ThreadPoolExecutor(concurrency, "lensgate-send")

    def run(self, call: Call[_Result]) -> _Result:
        """Send the attempts of a call; return its value.

        Raises:
            GateError: the call failed, or the sender is closed.
            RuntimeError: this is a forked process.
        """
        # Also before a call that needs no request: what follows it may wait for threads, which a fork does not copy.
        self._fork_guard.check()
        self._check_open()
        try:
            attempt = next(call)
            while True:
                attempt = call.send(self._send(attempt))
        except StopIteration as end:
            result: _Result = end.value
            return result

    def submit(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Run `work` on a request thread; the future has the error if the sender is closed.

        Raises:
            RuntimeError: this is a forked process, or Python is ending.
        """
        self._fork_guard.check()
        try:
            return self._executor.submit(work)
        except RuntimeError as error:
            if not self._attempts.closing.is_set():
                if "cannot schedule" not in str(error):
                    raise
                # Python ends executors when the main thread ends, before it waits for other threads.
                advice = "Python is ending: end streams in other threads before the main thread ends"
                raise RuntimeError(advice) from error
            # The caller does not raise this at once, because earlier requests may have succeeded.
            future = Future[_Result]()
            future.set_exception(closed_error())
            return future

    def close(self) -> None:
        """Refuse new attempts, end the waits before retries, wait for attempts in flight and close the connections."""
        self._attempts.close()
        # Queued work is not cancelled: it fails with the error of a closed gate object.
        self._executor.shutdown()
        self._attempts.wait()
        self._http.close()

    def _send(self, attempt: Attempt) -> AttemptResult:
        if attempt.delay:
            self._sleep(attempt.delay)
        try:
            with self._attempts.attempt(), self._deadline.within(attempt.seconds):
                return self._exchange(attempt)
        except UnexpectedAnswer as error:
            return error
        except httpx.RequestError as error:
            return transport_error(error, self._proxy)

    def _exchange(self, attempt: Attempt) -> AttemptResult:
        with self._http.stream(**request_options(attempt)) as response:
            reader = ResponseReader(response, attempt.request.max_bytes, self._proxy)
            for chunk in raw_chunks(response):
                if not reader.add(chunk):
                    break
            return reader.result()

    def _check_open(self) -> None:
        if self._attempts.closing.is_set():
            raise closed_error()
