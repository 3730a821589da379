"""A limit on how long a model may take to load and to prove itself: a graph can loop for ever."""

import atexit
import threading
from types import TracebackType
from typing import Self

from gate.onnx_runtime import onnxruntime

LOAD_SECONDS = 120.0
"""From a graph's bytes to a session that has scored its golden samples, where nothing else is said."""

_END_SECONDS = 1.0


class TimeLimit:
    """Makes ONNX Runtime give up a session that is being opened, or a run, once the time is over.

    The time begins with the `with` block, and ends with the process at the latest: native code that still ran while
    its library is taken down would crash. Sessions and runs have to be given the options of this object.

    Args:
        seconds: how long the block may take.
    """

    def __init__(self, seconds: float = LOAD_SECONDS) -> None:
        self.seconds = seconds
        self.run_options = onnxruntime.RunOptions()
        self.run_options.log_severity_level = 4  # What goes wrong is raised; its own log is no JSON.
        self.session_options = onnxruntime.SessionOptions()
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
