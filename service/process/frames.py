"""Frames between the parent process and its workers: one byte of kind, four of length, and the payload."""

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

_HEAD = struct.Struct("!cI")
_LENGTH = struct.Struct("!I")
_CHUNK = 256 * 2**10


class Kind(Enum):
    """The kinds of frames, with their direction and payload."""

    READY = b"R"  # To the parent: the worker listens.
    READING = b"S"  # To the parent: number of the request, or 0, and the worker's metrics.
    COLLECT = b"C"  # To the parent: asks for the metrics of all workers; number of the request and whether to ask them.
    RELOADED = b"D"  # To the parent: model, tokens and certificate were read again.
    EARLIER = b"B"  # To a worker: the last metrics of its predecessor.
    REPORT = b"P"  # To a worker: send a reading; number of the request.
    COLLECTED = b"A"  # To a worker: the answer to COLLECT.
    RELOAD = b"L"  # To a worker: read model, tokens and certificate again.


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: Kind
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        return _HEAD.pack(self.kind.value, len(self.payload)) + self.payload


class FrameBuffer:
    """Splits received bytes into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes and yield the frames that are complete."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._data)
            end = _HEAD.size + size
            if len(self._data) < end:
                return
            payload = bytes(self._data[_HEAD.size : end])
            del self._data[:end]
            yield Frame(Kind(kind), payload)


class Channel:
    """The parent's end of the link to one worker. Neither sending nor receiving blocks."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.link = link
        self._received = FrameBuffer()
        self._unsent = bytearray()

    @property
    def unsent(self) -> int:
        """Bytes that the worker has not taken yet."""
        return len(self._unsent)

    def send(self, frame: Frame) -> None:
        """Queue a frame and send as much as fits."""
        self._unsent += frame.encode()
        self.flush()

    def flush(self) -> None:
        """Send as much of the queue as fits; a closed link discards it."""
        try:
            while self._unsent:
                del self._unsent[: self.link.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def receive(self) -> tuple[list[Frame], bool]:
        """Return the frames that have arrived, and whether the link is still open."""
        frames: list[Frame] = []
        while True:
            try:
                data = self.link.recv(_CHUNK)
            except BlockingIOError:
                return frames, True
            except OSError:
                return frames, False
            if not data:
                return frames, False
            frames.extend(self._received.feed(data))


def number_payload(number: int, payload: bytes = b"") -> bytes:
    """Put a request's number before a payload."""
    return _LENGTH.pack(number) + payload


def split_number(payload: bytes) -> tuple[int, bytes]:
    """Return a request's number and the payload after it."""
    return _LENGTH.unpack_from(payload)[0], payload[_LENGTH.size :]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReading:
    """The last metrics of one worker.

    Args:
        number: of the worker, from 1 on.
        is_alive: whether the process runs.
        has_answered: whether it sent this reading when asked; otherwise it is an earlier one.
        data: the encoded reading; empty for a worker that has not sent any.
    """

    number: int
    is_alive: bool
    has_answered: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Collected:
    """The metrics of all other workers, and how often workers were restarted."""

    restarts: int
    workers: Sequence[WorkerReading]

    def encode(self) -> bytes:
        """Return the payload of COLLECTED after its number."""
        head = json.dumps([self.restarts, [[w.number, w.is_alive, w.has_answered, len(w.data)] for w in self.workers]])
        return number_payload(len(head), head.encode()) + b"".join(worker.data for worker in self.workers)

    @classmethod
    def decode(cls, payload: bytes) -> "Collected":
        """Return what `encode` was called on."""
        size, rest = split_number(payload)
        restarts, listed = json.loads(rest[:size])
        workers, start = [], size
        for number, is_alive, has_answered, length in listed:
            data = rest[start : start + length]
            workers.append(WorkerReading(number=number, is_alive=is_alive, has_answered=has_answered, data=data))
            start += length
        return cls(restarts, workers)
