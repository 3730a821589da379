"""One replica as it is simulated: the gate's own admission, a queue, so many cores, and answers in batches."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bench.scaling.arrivals import Arrival
from service.errors import Overloaded
from service.inference.admission import Admission, Place
from service.inference.running_mean import RunningMean
from service.settings import Settings

ANSWERED, REFUSED, LOST, EXPIRED = 200, 429, 502, 504


@dataclass(slots=True, eq=False)
class QueuedImage:
    """An image that a replica has admitted, in its `life` of that number, to be answered by `deadline`."""

    arrival: Arrival
    replica: int
    place: Place
    life: int
    deadline: float


class Events(Protocol):
    """What a replica needs of the simulation: the time, what is to happen later, and somebody to tell the ends to."""

    now: float

    def schedule(self, time: float, action: Callable[[Any], None], given: Any) -> None:
        """Let `action(given)` happen then."""
        ...

    def end(self, request: QueuedImage, status: int) -> None:
        """A request has its answer."""
        ...


class Replica:
    """Takes images in as the gate does, and works on them in the order in which they came.

    Decoding, the event loop and the model share the cores: all that an image takes of them is one piece of work here.

    Args:
        number: which of all replicas it is.
        settings: the bounds of its admission, the deadline of all images, and how long answers are held.
        cores: how many images are worked on at a time.
        speed: seconds of work that a core does in a second.
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
        """Take an image in; False where the gate would answer 429."""
        try:
            place = self._admission.admit(arrival.size, self._timeout)
        except Overloaded:
            return False
        request = QueuedImage(arrival, self.number, place, self._life, self._events.now + self._timeout)
        self._busy += 1
        if self._free:
            self._start(request)
        else:
            self._waiting.append(request)
        return True

    def stop(self, _: object = None) -> None:
        """End without warning. What waits is lost now, what is worked on when its end comes."""
        self.is_up = False
        self._life += 1
        for request in (*self._waiting, *self._scored):
            self._events.end(request, LOST)
        self._waiting.clear()
        self._scored.clear()

    def restart(self, _: object = None) -> None:
        """Be there again, with nothing learned."""
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
        """As the gate's decode pool does it."""
        return self._busy * self._mean.value / self._cores

    def _start(self, request: QueuedImage) -> None:
        self._free -= 1
        self._events.schedule(self._events.now + request.arrival.seconds / self._speed, self._finish, request)

    def _finish(self, request: QueuedImage) -> None:
        """A core is done with an image and takes the next one."""
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
            else:  # Nobody works on what nobody waits for.
                self._busy -= 1
                self._end(following, EXPIRED)

    def _answer_if_first(self, request: QueuedImage) -> None:
        """The wait for a fuller batch is over, unless that batch has been run."""
        if self._scored and self._scored[0] is request:
            self._answer()

    def _answer(self) -> None:
        scored, self._scored = self._scored, []
        for request in scored:
            self._end(request, ANSWERED if self._events.now <= request.deadline else EXPIRED)

    def _end(self, request: QueuedImage, status: int) -> None:
        request.place.leave()
        self._events.end(request, status)
