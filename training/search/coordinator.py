"""The chief of a search on several machines: it hands out the trials and hears what becomes of them.

Keras Tuner's own chief never gives the trial of a worker that died to another, and waits for both for ever; so does
one that fails, whose lock stays taken. Here a worker that says nothing for `LEASE` seconds loses its trial, and what
fails ends the chief: started again on what it saved, it goes on, and no worker has to start anew for that.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from keras_tuner.errors import FatalError

from training.errors import SearchError
from training.search.keras_tuner_adapter import OracleClient, OracleServicer, messages, rpc
from training.search.oracles import SingleFileOracle

LEASE = 60.0
"""Seconds without a word after which a worker has died."""

BEAT = 10.0
"""Seconds between the words of a worker that trains."""

PATIENCE = 3600.0
"""Seconds that the chief waits for any worker, and a worker for the chief (as Keras Tuner's `TIMEOUT`)."""

POLL = 0.2

_OPTIONS = (
    # Linux would let a second chief listen beside the first, and give each some of the workers.
    ("grpc.so_reuseport", 0),
    # A proxy is there for the object storage, and leads to no chief.
    ("grpc.enable_http_proxy", 0),
    # A machine that is gone closes no connection: without pings, a call to it would hang for a quarter of an hour.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def serve(oracle: SingleFileOracle) -> None:
    """Hand out the trials of `oracle` until all have ended and every worker that is alive knows.

    Raises:
        SearchError: the address cannot be had, or no worker was heard of for an hour.
        Exception: whatever kept the chief from answering, such as storage that takes nothing.
    """
    chief = ChiefService(oracle)
    # One thread: an oracle answers one worker after the other.
    server = grpc.server(ThreadPoolExecutor(1), options=_OPTIONS)
    rpc.add_OracleServicer_to_server(chief, server)
    try:
        server.add_insecure_port(_address())
    except RuntimeError as error:
        raise SearchError(f"the chief cannot listen on {_address()}, see KERASTUNER_ORACLE_IP: {error}") from error
    server.start()
    _log(f"the chief listens on {_address()}")
    try:
        while not chief.is_done():
            time.sleep(POLL)
    finally:
        server.stop(grace=1).wait()


class ChiefService(OracleServicer):  # type: ignore[misc,unused-ignore]
    """What workers may ask, and when each of them last did."""

    def __init__(self, oracle: SingleFileOracle, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(oracle)
        self._clock, self._lock = clock, threading.Lock()
        self._fault: Exception | None = None
        self._started = self._last = clock()
        self._told = False
        # Those that were at work when the chief was stopped have as long to be heard of as any.
        self._heard = dict.fromkeys(oracle.ongoing_trials, clock())

    def is_done(self) -> bool:
        """Whether every trial has ended and every worker knows; one that comes later is told too, for a while.

        Raises:
            SearchError: no worker was heard of for an hour.
            Exception: what went wrong while a worker was answered.
        """
        with self._lock:
            if self._fault:
                raise self._fault
            now = self._clock()
            if now - self._last > PATIENCE:
                raise SearchError("no worker was heard of for an hour: start some, and this chief again")
            living = len(self._heard) > len(self._silent(now))
            if living or self.oracle.ongoing_trials or not self.oracle.over:
                return False
            return self._told or now - self._started > LEASE

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - as all of these, a name of the protocol.
        """A trial for a worker, that of one that died before any other; or that it is to wait, or to end."""
        with self._answering(context) as now:
            self._heard[request.tuner_id] = now
            self._bury(now)
            trial = self.oracle.create_trial(request.tuner_id)
            if trial.status == "RUNNING":
                _log(f"trial {trial.trial_id} is run by {request.tuner_id}")
            if trial.status == "STOPPED":
                self._told = True
                del self._heard[request.tuner_id]
            return messages.CreateTrialResponse(trial=trial.to_proto())

    def GetTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The trial, and a sign that it is being run."""
        return self._of_trial(super().GetTrial, request.trial_id, request, context)

    def UpdateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take the metrics of a trial."""
        return self._of_trial(super().UpdateTrial, request.trial_id, request, context)

    def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take the end of a trial."""
        name, ended = request.trial.trial_id, len(self.oracle.end_order)
        answer = self._of_trial(super().EndTrial, name, request, context)
        if len(self.oracle.end_order) > ended:
            _log(f"trial {name} has ended, {ended + 1} in all")
        return answer

    def _of_trial(self, answer: Callable[[Any, Any], Any], name: str, request: Any, context: Any) -> Any:
        if name not in self.oracle.trials:
            context.abort(grpc.StatusCode.NOT_FOUND, f"trial {name} is none of this chief's")
        with self._answering(context) as now:
            self._heard |= {one: now for one, trial in self.oracle.ongoing_trials.items() if trial.trial_id == name}
            return answer(request, context)

    @contextmanager
    def _answering(self, context: Any) -> Iterator[float]:
        """Any fault ends the chief: what it holds may not be what it saved, and what it saved is what counts."""
        with self._lock:
            if self._fault:
                context.abort(grpc.StatusCode.UNAVAILABLE, "this chief is about to end")
            self._last = self._clock()
            try:
                yield self._last
            except Exception as error:
                self._fault = error
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            # Nobody is heard while one is answered, however long the storage takes for it: no worker is silent then.
            deaf = self._clock() - self._last
            self._heard = {worker: heard + deaf for worker, heard in self._heard.items()}

    def _silent(self, now: float) -> list[str]:
        return [worker for worker, heard in self._heard.items() if now - heard > LEASE]

    def _bury(self, now: float) -> None:
        for worker in self._silent(now):
            del self._heard[worker]
            if worker in self.oracle.ongoing_trials:
                name = self.oracle.release(worker)
                _log(f"trial {name} is given out again: {worker} is silent")


class ChiefClient(OracleClient):  # type: ignore[misc,unused-ignore]
    """A worker's line to the chief, which waits for one that is being started, or started again."""

    def __init__(self, oracle: SingleFileOracle) -> None:
        super().__init__(oracle)
        _log(f"asks the chief at {_address()}")
        self._direct = rpc.OracleStub(grpc.insecure_channel(_address(), options=_OPTIONS))
        self.stub = _RetryingStub(self._direct)

    @contextmanager
    def beating(self, trial: str) -> Iterator[None]:
        """Has the chief hear of this trial as long as it is run."""
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
            # Where there is no chief, the end of the trial waits for it.
            with suppress(grpc.RpcError):
                self._direct.GetTrial(request, timeout=BEAT)


class _RetryingStub:
    """The calls of a stub, repeated where the chief went while it was asked: each may be asked twice."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._stub, name)

        def patient(request: Any, **options: Any) -> Any:
            started = time.monotonic()
            while True:
                try:
                    return call(request, **options)
                except grpc.RpcError as error:
                    gone = error.code() == grpc.StatusCode.UNAVAILABLE
                    if not gone or time.monotonic() - started > PATIENCE:
                        # Keras Tuner would take another error for a fault of the trial.
                        raise FatalError(str(error)) from SearchError(_told(error))
                    time.sleep(POLL)

        return patient


def _told(error: Any) -> str:
    if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
        return f"no chief has answered at {_address()} for an hour: is it running, and does its address lead there?"
    return f"the chief at {_address()} refuses: {error.details()}; start this worker again"


def _log(text: str) -> None:
    print(text, file=sys.stderr)


def _address() -> str:
    return f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
