"""Coordinate a search on several machines: the chief assigns trials and collects their results.

Keras Tuner's own chief never reassigns the trial of a dead worker, and waits for it forever; after an error of its own
its lock stays taken. Here a worker that is silent for `LEASE` seconds loses its trial, and an error ends the chief. A
restarted chief continues from its saved state, and the workers need no restart.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from keras_tuner.errors import FatalError

from common.terminal import say
from training.errors import SearchError
from training.search.keras_tuner_adapter import OracleClient, OracleServicer, messages, rpc
from training.search.oracles import SingleFileOracle

LEASE = 60.0
"""Seconds of silence after which a worker counts as dead."""

BEAT = 10.0
"""Seconds between the heartbeats of a training worker."""

PATIENCE = 3600.0
"""Seconds that the chief waits for a worker, and a worker for the chief (like Keras Tuner's `TIMEOUT`)."""

POLL = 0.2

_OPTIONS = (
    # Otherwise Linux lets a second chief share the port and distributes the workers among both.
    ("grpc.so_reuseport", 0),
    # A configured proxy is for object storage and cannot reach the chief.
    ("grpc.enable_http_proxy", 0),
    # A dead machine does not close connections: without pings, a call to it would hang for 15 minutes.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def serve(oracle: SingleFileOracle) -> None:
    """Assign the trials of `oracle` until all have ended and every living worker has been told.

    Raises:
        SearchError: the address cannot be bound, or no worker called for an hour.
        Exception: any error while the chief answered a worker, such as failed writes to storage.
    """
    chief = ChiefService(oracle)
    # One thread, because an oracle is not thread-safe.
    server = grpc.server(ThreadPoolExecutor(1), options=_OPTIONS)
    rpc.add_OracleServicer_to_server(chief, server)
    try:
        server.add_insecure_port(_address())
    except RuntimeError as error:
        raise SearchError(f"the chief cannot listen on {_address()}, check KERASTUNER_ORACLE_IP: {error}") from error
    server.start()
    _log(f"the chief listens on {_address()}")
    try:
        while not chief.is_done():
            time.sleep(POLL)
    finally:
        server.stop(grace=1).wait()


class ChiefService(OracleServicer):  # type: ignore[misc,unused-ignore]
    """The gRPC service for workers; it records when each worker last called."""

    def __init__(self, oracle: SingleFileOracle, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(oracle)
        self._clock, self._lock = clock, threading.Lock()
        self._fault: Exception | None = None
        self._started = self._last = clock()
        self._has_told = False
        # After a restart, workers with ongoing trials get a full lease.
        self._last_calls = dict.fromkeys(oracle.ongoing_trials, clock())

    def is_done(self) -> bool:
        """Whether every trial has ended and every worker has been told, late ones included for a while.

        Raises:
            SearchError: no worker called for an hour.
            Exception: the error that occurred while a worker was answered.
        """
        with self._lock:
            if self._fault:
                raise self._fault
            now = self._clock()
            if now - self._last > PATIENCE:
                raise SearchError("no worker called for an hour: start workers, then start this chief again")
            living = len(self._last_calls) > len(self._silent(now))
            if living or self.oracle.ongoing_trials or not self.oracle.over:
                return False
            return self._has_told or now - self._started > LEASE

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - Keras Tuner's protocol defines these names.
        """Assign a trial, those of dead workers first, or tell the worker to wait or to stop."""
        with self._answering(context) as now:
            self._last_calls[request.tuner_id] = now
            self._release_trials(now)
            trial = self.oracle.create_trial(request.tuner_id)
            if trial.status == "RUNNING":
                _log(f"trial {trial.trial_id} runs on {request.tuner_id}")
            if trial.status == "STOPPED":
                self._has_told = True
                del self._last_calls[request.tuner_id]
            return messages.CreateTrialResponse(trial=trial.to_proto())

    def GetTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the trial; the call counts as a heartbeat."""
        return self._of_trial(super().GetTrial, request.trial_id, request, context)

    def UpdateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Store the metrics of a trial."""
        return self._of_trial(super().UpdateTrial, request.trial_id, request, context)

    def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Store the end of a trial."""
        name, ended = request.trial.trial_id, len(self.oracle.end_order)
        answer = self._of_trial(super().EndTrial, name, request, context)
        if len(self.oracle.end_order) > ended:
            _log(f"trial {name} has ended, {ended + 1} in all")
        return answer

    def _of_trial(self, answer: Callable[[Any, Any], Any], name: str, request: Any, context: Any) -> Any:
        if name not in self.oracle.trials:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown trial {name}")
        with self._answering(context) as now:
            self._last_calls |= {
                worker: now for worker, trial in self.oracle.ongoing_trials.items() if trial.trial_id == name
            }
            return answer(request, context)

    @contextmanager
    def _answering(self, context: Any) -> Iterator[float]:
        """Serialize calls; an error ends the chief, because its memory may then differ from its saved state."""
        with self._lock:
            if self._fault:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the chief is shutting down")
            self._last = self._clock()
            try:
                yield self._last
            except Exception as error:
                self._fault = error
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            # Time spent in a call, such as slow storage, must not count as silence of the other workers.
            spent = self._clock() - self._last
            self._last_calls = {worker: called + spent for worker, called in self._last_calls.items()}

    def _silent(self, now: float) -> list[str]:
        """Return the workers that count as dead."""
        return [worker for worker, called in self._last_calls.items() if now - called > LEASE]

    def _release_trials(self, now: float) -> None:
        """Queue the trials of dead workers for others."""
        for worker in self._silent(now):
            del self._last_calls[worker]
            if worker in self.oracle.ongoing_trials:
                name = self.oracle.release(worker)
                _log(f"trial {name} is reassigned: {worker} is silent")


class ChiefClient(OracleClient):  # type: ignore[misc,unused-ignore]
    """A worker's connection to the chief; calls wait while the chief starts or restarts."""

    def __init__(self, oracle: SingleFileOracle) -> None:
        super().__init__(oracle)
        _log(f"this worker connects to the chief at {_address()}")
        self._direct = rpc.OracleStub(grpc.insecure_channel(_address(), options=_OPTIONS))
        self.stub = _RetryingStub(self._direct)

    @contextmanager
    def beating(self, trial: str) -> Iterator[None]:
        """Send heartbeats for this trial inside the context."""
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(trial, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, trial: str, over: threading.Event) -> None:
        request = messages.GetTrialRequest(trial_id=trial)
        while not over.wait(BEAT):
            # Without a chief, the end of the trial waits for one.
            with suppress(grpc.RpcError):
                self._direct.GetTrial(request, timeout=BEAT)


class _RetryingStub:
    """A stub that repeats calls while the chief is unavailable; the chief may receive a call twice."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._stub, name)

        def retrying(request: Any, **options: Any) -> Any:
            started = time.monotonic()
            while True:
                try:
                    return call(request, **options)
                except grpc.RpcError as error:
                    is_unavailable = error.code() == grpc.StatusCode.UNAVAILABLE
                    if not is_unavailable or time.monotonic() - started > PATIENCE:
                        # Keras Tuner would treat any other error as a failed trial.
                        raise FatalError(str(error)) from SearchError(_explain(error))
                    time.sleep(POLL)

        return retrying


def _explain(error: Any) -> str:
    if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
        return f"no chief has answered at {_address()} for an hour: check that it runs and that the address is correct"
    return f"the chief at {_address()} refused the call: {error.details()}; start this worker again"


def _log(text: str) -> None:
    say(text, error=True)


def _address() -> str:
    return f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
