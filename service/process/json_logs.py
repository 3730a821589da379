"""Structured logs: one JSON object per line on standard error, bounded in size and written without blocking."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from service.process.standard_streams import Sink, open_sink, text_stream

MAX_MESSAGE = 2_000
MAX_FIELD = 1_000
"""Limits in characters; longer text is cut."""

MAX_EXCEPTION = 8_000
MAX_LINE = 16_000
"""Limits in bytes: Docker and containerd split a line at 16 KiB, and its parts are not JSON."""

_MAX_CUT = 1_000

# Terminals and viewers read these as a new line, a command or a change of direction. JSON does not escape them.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message and the worker's number, then the members of `extra={"fields": {...}}`.

    Args:
        worker: number of this worker; None for a service of one process.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._always = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _clip(record.getMessage(), MAX_MESSAGE),
            **self._always,
        }
        fields = {name: _clip(value, MAX_FIELD) for name, value in getattr(record, "fields", {}).items()}
        if record.exc_info:
            # The end of a traceback is more useful than its beginning.
            trace = self.formatException(record.exc_info).encode(errors="backslashreplace")
            fields["exception"] = trace[-MAX_EXCEPTION:].decode(errors="ignore")
        text = _dump({**line, **fields})
        if len(text) > MAX_LINE // 4 and len(text.encode()) > MAX_LINE:
            text = _dump({**line, "cut": text[:_MAX_CUT]})
        return text


def configure_logging(level: str, *, worker: int | None = None) -> None:
    """Send every logger of the process, uvicorn's among them, to standard error as JSON.

    Standard output and error are replaced by streams that never block. Lines name the `worker`, if there are several.
    """
    formatter = JsonFormatter(worker)
    recovered = partial(_recovered, formatter)
    if sys.stdout is sys.__stdout__:
        sys.stdout = text_stream(open_sink(1, recovered))
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if sys.stderr is sys.__stderr__:
        sink = open_sink(2, recovered)
        sys.stderr = text_stream(sink)
        handler = _SinkHandler(sink)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The lines name no source file, as Python documents it, and neither threads nor processes.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Warnings, such as those of a decoder, become log lines too.
    logging.captureWarnings(True)


class _SinkHandler(logging.Handler):
    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.put(f"{self.format(record)}\n".encode())
        except Exception:
            self.handleError(record)


def _recovered(formatter: JsonFormatter, lost: int) -> bytes:
    record = logging.makeLogRecord(
        {
            "name": __name__,
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "log lines were dropped: the output was blocked for a time",
            "fields": {"dropped": lost},
        }
    )
    return f"{formatter.format(record)}\n".encode()


def _clip(value: Any, length: int) -> Any:
    if isinstance(value, str | bytes | bytearray) and len(value) > length:
        return f"{value[:length]!s}… ({len(value):,})"
    return value


def _dump(line: dict[str, Any]) -> str:
    try:
        text = orjson.dumps(line, default=_describe).decode()
    except TypeError:  # orjson rejects lone surrogates and integers beyond 64 bits; the slower encoder accepts them.
        text = json.dumps(line, default=_describe)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _describe(value: object) -> str:
    return str(_clip(str(value), MAX_FIELD))
