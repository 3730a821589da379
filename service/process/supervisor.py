"""The parent of several workers: starts, watches, restarts, reloads and ends them, and passes their metrics on.

It serves no port and loads neither the model nor the web framework.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from common.signals import Ending
from service.process.frames import Collected, Frame, Kind, WorkerReading, number_payload, split_number
from service.process.rolling_reload import RollingReload
from service.process.slot import SILENT_SECONDS, Command, Slot, describe_status

log = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""Longest time that a collection waits for a worker; then it uses the worker's last reading."""

MAX_UNSENT = 8 * 2**20
"""A worker that leaves so many bytes unread is not asked for more."""

_TURN_SECONDS = 0.2
_PAUSE_SECONDS = 5.0
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_KILLING = (signal.SIGKILL, signal.SIGTERM)
"""Signals that come from outside, as from the kernel if memory is short: the worker is not at fault."""


@dataclass(slots=True)
class _Collection:
    """One request for the metrics of all other workers."""

    asker: Slot
    number: int
    request: int
    deadline: float
    waiting: set[int]
    answered: set[int] = field(default_factory=set)


class Supervisor:
    """Keeps `count` workers running until a signal ends them. Runs in the main thread.

    The first worker starts alone, so that an error in settings or model appears once.

    Args:
        count: number of workers.
        command: makes the command line of a worker.
        reload_seconds: longest time for one worker to reload before the next one begins.
        shared: descriptors that all workers inherit.
    """

    def __init__(
        self,
        count: int,
        command: Command,
        *,
        reload_seconds: float,
        shared: Sequence[int] = (),
    ) -> None:
        self._slots = [
            # A start loads up to two models, each about as long as a reload, after the packages.
            Slot(number, command, start_seconds=2 * reload_seconds + SILENT_SECONDS, shared=shared)
            for number in range(1, count + 1)
        ]
        self._reload = RollingReload(reload_seconds)
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._ending = Ending(lambda _: self._end(), lambda _: self._kill())
        self._collections: list[_Collection] = []
        self._requests = 0
        self._restarts = 0
        self._has_begun = self._is_ending = False
        self._status = 0
        self._turned = time.monotonic()

    def run(self) -> int:
        """Return the exit status: 0 after a signal, or that of a worker without which none serves."""
        log.info("%d workers share the port", len(self._slots))
        with self._handled():
            if not self._start(self._slots[0]):
                return 1
            while any(slot.is_alive for slot in self._slots) or not self._is_ending:
                self._turn()
        return self._status

    @contextlib.contextmanager
    def _handled(self) -> Iterator[None]:
        reading, writing = os.pipe()
        for end in (reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ)
        for number in (*_ENDING, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda received, _: self._signals.append(received))
        self._wake = reading
        yield
        signal.set_wakeup_fd(-1)
        # The interpreter restores the default as it ends, and a late order to reload would then end it with an error.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _turn(self) -> None:
        self._note_pause()
        self._expect()
        events = self._selector.select(_TURN_SECONDS)
        # All that has arrived is read before anything is answered, so that an answer never shows less than one before.
        frames = [frame for key, _ in events if key.fileobj != self._wake for frame in self._receive(key.data)]
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        for slot, frame in frames:
            if frame.kind is Kind.READING:
                self._keep(slot, frame)
        for slot, frame in frames:
            self._handle_frame(slot, frame)
        while self._signals:
            self._handle_signal(self._signals.pop(0))
        self._finish_collections()
        self._reap()
        if self._has_begun and not self._is_ending:
            self._start_due()
        if (turn := self._reload.take()) is not None:
            self._send(turn, Frame(Kind.RELOAD))

    def _note_pause(self) -> None:
        """Excuse the silence of the workers if the whole machine, and so this process, was paused."""
        now = time.monotonic()
        if now - self._turned > _PAUSE_SECONDS:
            for slot in self._slots:
                slot.excuse()
        self._turned = now

    def _expect(self) -> None:
        """Wait for frames of all workers, and for room in the links that have not taken everything."""
        for key in tuple(self._selector.get_map().values()):
            slot = key.data
            if slot is not None and slot.channel is not None:
                has_rest = slot.channel.unsent > 0
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if has_rest else 0)
                if events != key.events:
                    self._selector.modify(key.fileobj, events, slot)

    def _receive(self, slot: Slot) -> list[tuple[Slot, Frame]]:
        if slot.channel is None:
            return []
        slot.channel.flush()
        frames, is_open = slot.channel.receive()
        if frames:
            slot.heard()
        if not is_open and slot.channel.link in self._selector.get_map():
            self._selector.unregister(slot.channel.link)
        return [(slot, frame) for frame in frames]

    def _keep(self, slot: Slot, frame: Frame) -> None:
        request, slot.reading = split_number(frame.payload)
        for collection in self._collections:
            if collection.request == request and slot.number in collection.waiting:
                collection.waiting.discard(slot.number)
                collection.answered.add(slot.number)

    def _handle_frame(self, slot: Slot, frame: Frame) -> None:
        if frame.kind is Kind.READY:
            slot.is_ready = True
            slot.heard()
            self._has_begun = True
        elif frame.kind is Kind.COLLECT:
            self._collect(slot, *json.loads(frame.payload))
        elif frame.kind is Kind.RELOADED:
            self._reload.finish(slot)

    def _collect(self, asker: Slot, number: int, ask: bool) -> None:
        self._requests += 1
        polled = [slot for slot in self._others(asker) if ask and slot.is_ready and self._can_take(slot)]
        waiting = {slot.number for slot in polled}
        deadline = time.monotonic() + ANSWER_SECONDS
        self._collections.append(_Collection(asker, number, self._requests, deadline, waiting))
        for slot in polled:
            self._send(slot, Frame(Kind.REPORT, number_payload(self._requests)))

    def _finish_collections(self) -> None:
        alive = {slot.number for slot in self._slots if slot.is_alive and slot.is_ready}
        for collection in tuple(self._collections):
            if not collection.waiting & alive or time.monotonic() > collection.deadline:
                self._collections.remove(collection)
                self._answer(collection)

    def _answer(self, collection: _Collection) -> None:
        if late := collection.waiting:
            log.warning("workers did not report their metrics in time: %s", ", ".join(map(str, sorted(late))))
        readings = [
            WorkerReading(
                number=slot.number,
                is_alive=slot.is_alive and slot.is_ready,
                has_answered=slot.number not in late,
                data=slot.reading,
            )
            for slot in self._others(collection.asker)
        ]
        payload = Collected(self._restarts, readings).encode()
        if self._can_take(collection.asker):
            self._send(collection.asker, Frame(Kind.COLLECTED, number_payload(collection.number, payload)))

    def _has_others(self, slot: Slot) -> bool:
        return any(other.is_alive for other in self._others(slot))

    def _others(self, asker: Slot) -> Sequence[Slot]:
        return [slot for slot in self._slots if slot is not asker]

    @staticmethod
    def _can_take(slot: Slot) -> bool:
        return slot.channel is not None and slot.channel.unsent < MAX_UNSENT

    @staticmethod
    def _send(slot: Slot, frame: Frame) -> None:
        if slot.channel is not None:
            slot.channel.send(frame)

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            log.info("reloading one worker after the other")
            self._reload.begin(self._slots)
        elif number in _ENDING:
            self._ending(number)

    def _kill(self) -> None:
        self._signal_all(signal.SIGKILL)
        self._status = 1

    def _end(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._reload.cancel()
            self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for slot in self._slots:
            slot.signal(number)

    def _start_due(self) -> None:
        for slot in self._slots:
            if not slot.is_alive and slot.due <= time.monotonic():
                self._start(slot)

    def _start(self, slot: Slot) -> bool:
        try:
            self._selector.register(slot.start().link, selectors.EVENT_READ, slot)
        except OSError as error:  # Too many processes or open files, or too little memory.
            slot.close()
            log.error("worker %d could not be started: %s", slot.number, error)
            return False
        return True

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.kill_if_silent():
                log.error("worker %d did not respond and is killed", slot.number)
            if slot.status is not None:
                self._handle_exit(slot, slot.status)

    def _handle_exit(self, slot: Slot, status: int) -> None:
        """Keep the last counts of a worker that has ended, and plan the next one or end the service."""
        was_ready = slot.is_ready
        # The kernel still holds what the worker sent before it ended.
        for _, frame in self._receive(slot):
            if frame.kind is Kind.READING:
                self._keep(slot, frame)
        slot.close()
        if self._is_ending:
            # A worker that was still loading does not handle the signal.
            self._status = self._status or int(status not in (0, -signal.SIGTERM))
        elif was_ready or (self._has_begun and (-status in _KILLING or self._has_others(slot))):
            self._restarts += 1
            wait = max(0.0, slot.due - time.monotonic())
            log.error("worker %d ended by %s; it starts again in %.1f s", slot.number, describe_status(status), wait)
        else:
            log.error("worker %d could not start: %s", slot.number, describe_status(status))
            self._status = status if status > 0 else 1
            self._end()
