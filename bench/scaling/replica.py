"""A simulated replica: the gate's admission, a queue, cores, and answers in batches."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bench.scaling.arrivals import Arrival
from service.errors import Overloaded
from service.inference.admission import Admission, Permit
from service.inference.running_mean import RunningMean
from service.settings import Settings

ANSWERED, REFUSED, LOST, EXPIRED = 200, 429, 502, 504


@dataclass(slots=True, eq=False)
class QueuedImage:
    """An image that a replica admitted in its life number `life`, to be answered by `deadline`."""

    arrival: Arrival
    replica: int
    permit: Permit
    life: int
    deadline: float


class Events(Protocol):
    """The part of the simulation that a replica uses: the clock, scheduling, and a receiver of results."""

    now: float

    def schedule(self, time: float, action: Callable[[Any], None], given: Any) -> None:
        """Schedule `action(given)` at that time."""
        ...

    def end(self, request: QueuedImage, status: int) -> None:
        """Report the answer of a request."""
        ...


class Replica:
    """Admit images as the gate does, and process them in order of arrival.

    Decoding, event loop and model share the cores, so all work on an image is one task here.

    Args:
        number: index of the replica.
        settings: admission limits, deadline of all images, and the batching delay of answers.
        cores: number of images processed concurrently.
        speed: seconds of work per second of a core.
        events: the simulation.
    """

    def __init__(self, number: int, settings: Settings, *, cores: int, speed: float, events: Events) -> None:
        self.number = number
        self.is_up = True
        self._life = 0
        self._settings = settings
        self._timeout = settings.timeout(None)
        self._delay = settings.max_batch_delay_ms / 1e3
        self._cores = cores
        self._speed = speed
        self._events = events
        self._begin()

    def admit(self, arrival: Arrival) -> bool:
        """Admit an image; return False if the gate would answer 429."""
        try:
            permit = self._admission.admit(arrival.size, self._timeout)
        except Overloaded:
            return False
        request = QueuedImage(arrival, self.number, permit, self._life, self._events.now + self._timeout)
        self._busy += 1
        if self._free:
            self._start(request)
        else:
            self._waiting.append(request)
        return True

    def stop(self, _: object = None) -> None:
        """Crash. Queued images are lost now, running ones at their end."""
        self.is_up = False
        self._life += 1
        for request in (*self._waiting, *self._scored):
            self._events.end(request, LOST)
        self._waiting.clear()
        self._scored.clear()

    def restart(self, _: object = None) -> None:
        """Restart, with empty statistics."""
        self.is_up = True
        self._begin()

    def _begin(self) -> None:
        self._free = self._cores
        self._busy = 0
        self._mean = RunningMean()
        self._waiting: deque[QueuedImage] = deque()
        self._scored: list[QueuedImage] = []
        self._admission = Admission(
            max_images=self._settings.max_inflight_images,
            max_bytes=self._settings.max_inflight_bytes,
            max_body_bytes=self._settings.max_body_bytes,
            predicted_wait=self._predicted_wait,
        )

    def _predicted_wait(self) -> float:
        """Predict the wait like the gate's decode pool."""
        return self._busy * self._mean.value / self._cores

    def _start(self, request: QueuedImage) -> None:
        self._free -= 1
        self._events.schedule(self._events.now + request.arrival.seconds / self._speed, self._finish, request)

    def _finish(self, request: QueuedImage) -> None:
        """Finish an image on a core and start the next one."""
        if request.life != self._life:
            self._events.end(request, LOST)
            return
        self._free += 1
        self._busy -= 1
        self._mean.update(request.arrival.seconds / self._speed)
        self._take()
        self._scored.append(request)
        if not (self._waiting and self._delay) or len(self._scored) >= self._settings.max_batch_size:
            self._answer()
        elif len(self._scored) == 1:
            self._events.schedule(self._events.now + self._delay, self._answer_if_first, request)

    def _take(self) -> None:
        while self._free and self._waiting:
            following = self._waiting.popleft()
            if self._events.now <= following.deadline:
                self._start(following)
            else:  # Skip images whose deadline has passed.
                self._busy -= 1
                self._end(following, EXPIRED)

    def _answer_if_first(self, request: QueuedImage) -> None:
        """End the wait for a fuller batch, unless that batch has run already."""
        if self._scored and self._scored[0] is request:
            self._answer()

    def _answer(self) -> None:
        scored, self._scored = self._scored, []
        for request in scored:
            self._end(request, ANSWERED if self._events.now <= request.deadline else EXPIRED)

    def _end(self, request: QueuedImage, status: int) -> None:
        request.permit.leave()
        self._events.end(request, status)
