"""Uvicorn's server: a port that is bound early and served beside another one, and one start message."""

import logging
from types import TracebackType
from typing import Self

import uvicorn

from service.http.ports import bind_port, url_of

log = logging.getLogger(__name__)

STARTUP_FAILURE = 3
"""Exit status of a process that cannot listen, as uvicorn's."""


class QuietServer(uvicorn.Server):
    """Leaves the start message to its subclass: uvicorn's names the scheme http, also where TLS is on."""

    def _log_started_message(self, listeners: object) -> None:
        pass


class SecondServer(QuietServer):
    """A second port of the process, served until the block ends; signals stay with the first."""

    @property
    def url(self) -> str:
        """The address, once bound."""
        return url_of(self._listeners[0])

    def bind(self, *, share_port: bool = False) -> None:
        """Listen; connections wait until the block begins. Workers of one service share the port.

        Raises:
            OSError: the port is taken, or not allowed.
        """
        self._listeners = bind_port(self.config.host, self.config.port, share=share_port)
        for listener in self._listeners:
            listener.listen(self.config.backlog)

    async def __aenter__(self) -> Self:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=self._listeners)
        log.info("metrics on %s", self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown(sockets=self._listeners)
