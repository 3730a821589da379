"""Limit the time in which a model must load and pass its golden samples: a graph can loop forever."""

import atexit
import threading
from types import TracebackType
from typing import Self

from gate.onnx_runtime import onnxruntime

LOAD_SECONDS = 120.0
"""Default, from the graph's bytes to a session that has scored its golden samples."""

_END_SECONDS = 1.0


class TimeLimit:
    """Make ONNX Runtime abort the loading of a session, or a run, when the time is over.

    The time starts with the `with` block. Process exit also aborts: native code that runs while its library is unloaded
    would crash. Create sessions and runs with the options of this object.

    Args:
        seconds: the time limit of the block.
    """

    def __init__(self, seconds: float = LOAD_SECONDS) -> None:
        self.seconds = seconds
        self.run_options = onnxruntime.RunOptions()
        self.session_options = onnxruntime.SessionOptions()
        for options in (self.run_options, self.session_options):
            options.log_severity_level = 4  # Faults are raised; ONNX Runtime's own log lines are not JSON.
        self.is_over = False
        self._timer = threading.Timer(seconds, self._stop)
        self._timer.daemon = True
        self._left = threading.Event()

    def __enter__(self) -> Self:
        atexit.register(self._end)
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._left.set()
        atexit.unregister(self._end)

    def _end(self) -> None:
        self._stop()
        self._left.wait(_END_SECONDS)

    def _stop(self) -> None:
        self.is_over = True
        self.session_options.set_load_cancellation_flag(True)
        self.run_options.terminate = True
