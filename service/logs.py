"""Structured logs: one JSON object a line on standard error."""

import io
import json
import logging
import sys
from datetime import UTC, datetime

import orjson


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, then the members of `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # Half of a surrogate pair, a number past 64 bits: better slow than lost.
            return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Send every logger of the process, uvicorn's among them, to standard error as JSON."""
    if sys.stderr and sys.stderr is sys.__stderr__:
        # What a full device does not take is lost. A buffer would keep it to the end, and the exit status would be 120.
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Where in the code a line comes from, in which thread and process, no line says: it need not be found out.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # A decoder's warning about a picture is a line like any other, not text in between.
    logging.captureWarnings(True)
