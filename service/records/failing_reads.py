"""Reads of the store in the background, whose results stay as they are while it fails."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import RecordsUnavailable

log = logging.getLogger(__name__)


class FailingReads:
    """Logs why reads fail, each cause once until they succeed: the recorder, which writes, may not fail.

    Args:
        fault: the log message before the cause.
    """

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._cause: str | None = None

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """End the block at a failing read."""
        try:
            yield
        except RecordsUnavailable as error:
            if error.detail != self._cause:
                log.warning("%s: %s", self._fault, error.detail)
            self._cause = error.detail
        else:
            self._cause = None
