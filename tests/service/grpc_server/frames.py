"""A gRPC caller that writes HTTP/2 frames by hand, and so need not keep to the protocol."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.servers import TIMEOUT

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST = 2**31 - 1


@contextmanager
def connected(address: str, *, window: int = _LARGEST, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Connect from a loopback address, with an initial window of `window` bytes for the answer of each call."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT, (source, 0)) as connection:
        connection.sendall(_PREFACE + frame(SETTINGS, struct.pack(">HI", 4, window)) + frame(SETTINGS, flags=ACK))
        yield connection


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def call(path: str, stream: int, **metadata: str) -> bytes:
    """Return the HEADERS frame that begins a call; `_` in a name of metadata stands for `-`."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "gate"}
    fields |= {"te": "trailers", "content-type": "application/grpc"}
    fields |= {name.replace("_", "-"): value for name, value in metadata.items()}
    return frame(HEADERS, b"".join(literal(*field) for field in fields.items()), flags=END_HEADERS, stream=stream)


def literal(name: str, value: str) -> bytes:
    """Return a header field as HPACK without a table and without Huffman codes."""
    return b"\x00" + _string(name) + _string(value)


def data(body: bytes, stream: int, *, ended: bool = True, most: int = 2**14) -> bytes:
    """Return the DATA frames of a body."""
    parts = [body[start : start + most] for start in range(0, len(body), most)] or [b""]
    last = END_STREAM if ended else 0
    return b"".join(
        frame(DATA, part, flags=last if index == len(parts) - 1 else 0, stream=stream)
        for index, part in enumerate(parts)
    )


def read_frames(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield kind, flags, stream and payload of the frames received, until the connection ends."""
    with suppress(OSError), connection.makefile("rb") as received:
        while len(head := received.read(9)) == 9:
            size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
            yield kind, flags, int.from_bytes(stream, "big"), received.read(size)


def _string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    return b"\x7f" + _rest(len(raw) - 127) + raw


def _rest(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])
