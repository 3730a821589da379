"""One batch request: the upload is read while its answer is written."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from service.api.batch.disconnect import ConnectionWatch
from service.api.batch.intake import Intake, Line, error_line
from service.api.batch.ordered_results import OrderedResults
from service.api.batch.upload import UploadReader
from service.api.batch.upload_events import UploadParser
from service.api.decisions import decision_body
from service.api.request_admission import CountRefusals
from service.errors import ClientGone, DeadlineExceeded, Draining, Internal, MalformedRequest, ServiceError, detach
from service.http.request_body import Pace
from service.http.request_log import log_failed_image
from service.http.scope_state import request_state
from service.inference.admission import Permit
from service.inference.payload import Payload
from service.inference.request_context import ImageRequest, RequestContext
from service.paths import BATCH
from service.runtime import Runtime
from service.timings import Stages, show_duration

_WATCH_SECONDS = 0.1

log = logging.getLogger(__name__)


class BatchSession:
    """Reads, decides and answers until the upload ends; the last line is a summary.

    Args:
        runtime: decides.
        parser: splits the body into images.
        scope, receive, send: ASGI's.
        image: the requested label and the source, for all images.
        timeout: seconds from an image's last byte to its line.
    """

    def __init__(
        self,
        runtime: Runtime,
        parser: UploadParser,
        *,
        scope: Scope,
        receive: Receive,
        send: Send,
        image: ImageRequest,
        timeout: float,
    ) -> None:
        self.counts = {"accept": 0, "discard": 0, "error": 0}
        self.ignored = 0
        self.fault: ServiceError | None = None
        self._runtime = runtime
        self._parser = parser
        self._connection = ConnectionWatch(scope)
        self._send = send
        self._state = request_state(scope)
        self._image = image
        self._timeout = timeout
        self._read_timeout = runtime.settings.timeout_ms / 1000
        self._upload = UploadReader(receive, Pace(runtime.settings.min_body_rate, self._read_timeout))
        # Enough to keep all decode threads busy while earlier images are decided.
        self._lines: OrderedResults[Line] = OrderedResults(2 * runtime.decode_pool.threads + 2)
        self._is_started = False

    async def run(self) -> None:
        """Serve the request from the first byte to the last."""
        try:
            await self._converse()
            await self._finish()
        except ClientGone as gone:
            await self._end(str(gone))
        except ExceptionGroup as group:
            if not all(isinstance(error, ClientGone) for error in group.exceptions):
                raise
            # The frame of the task group keeps its error. Not `except*`, which would set the traceback again.
            detach(group)
            await self._end(str(group.exceptions[0]))

    async def _end(self, detail: str) -> None:
        self.fault = ClientGone(detail)
        self._connection.abort()
        # Uvicorn notices in the next loop iteration, and then does not expect the end of the answer.
        await asyncio.sleep(0)

    async def _converse(self) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(group))
            watching = group.create_task(self._watch(reading))
            async for line in self._lines:
                self.counts[line.body.get("decision", "error")] += 1
                self._runtime.metrics.observe_upload_image(line.status or 200)
                if line.status is not None:
                    self._note_failure(line, line.status)
                await self._write(line.body)
            watching.cancel()

    def _note_failure(self, line: Line, status: int) -> None:
        names = {"id": line.body["id"], "source": self._image.source}
        failed = log_failed_image(
            self._state,
            line.body["error"],
            path=BATCH,
            status=status,
            seconds=line.seconds,
            names={name: value for name, value in names.items() if value is not None},
            stages=line.stages,
        )
        self._runtime.note_failure(failed)

    async def _finish(self) -> None:
        if self.fault is not None:
            await self._write({"error": error_line(self.fault, None).body["error"]})
        ignored = {"ignored": self.ignored} if self.ignored else {}
        await self._write({"summary": self.counts | ignored})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        # A caller that does not read, or does not stop sending, would keep the connection open.
        asyncio.get_running_loop().call_later(self._read_timeout, self._connection.abort)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        def decide(identity: str | None, permit: Permit, body: Payload[bytearray]) -> asyncio.Future[Line]:
            line = group.create_task(self._decide(identity, permit, body))
            # A callback, because a task that is cancelled before it runs never enters a `with` block.
            line.add_done_callback(lambda _: permit.leave())
            return line

        intake = Intake(self._runtime, self._lines, decide=decide, timeout=self._read_timeout)
        try:
            while not self._upload.is_complete:
                for event in self._parser.feed(await self._upload.part(intake.time_left)):
                    await intake.take(event)
            self._parser.close()
        except (MalformedRequest, DeadlineExceeded, Draining) as error:
            detach(error)
            self.fault = error
        except asyncio.CancelledError:
            self.fault = Draining("the service is shutting down: send what has no line yet to another replica")
            raise
        finally:
            intake.close()
            self.ignored = intake.ignored
            self._lines.end()

    async def _watch(self, reading: "asyncio.Task[None]") -> None:
        """Detect a disconnect or a shutdown while no bytes are read."""
        while not self._connection.is_gone():
            if self._runtime.admission.is_draining:
                reading.cancel()
            await asyncio.sleep(_WATCH_SECONDS)
        raise ClientGone("the connection closed before the answer was complete")

    async def _decide(self, identity: str | None, permit: Permit, body: Payload[bytearray]) -> Line:
        """Return the line of one image."""
        started, stages = time.monotonic(), Stages()

        def failed(error: ServiceError) -> Line:
            return error_line(error, identity, seconds=time.monotonic() - started, stages=stages.milliseconds())

        try:
            with CountRefusals(self._runtime.metrics), self._runtime.runner as runner:
                async with asyncio.timeout(self._timeout):
                    context = RequestContext(
                        runner=runner, permit=permit, deadline=started + self._timeout, stages=stages
                    )
                    image = replace(self._image, identity=identity)
                    decided = await self._runtime.pipeline.decide_file(context, body, image)
        except TimeoutError:
            return failed(DeadlineExceeded(f"there was no answer within {show_duration(self._timeout)}"))
        except ServiceError as error:
            return failed(error)
        except Exception:
            log.exception("unexpected fault", extra={"fields": {"request_id": self._state.request_id, "id": identity}})
            return failed(Internal())
        return Line(decision_body(identity, decided))

    async def _write(self, line: dict[str, Any]) -> None:
        """Send one line.

        Raises:
            ClientGone: the caller does not read, and the write buffer is full.
        """
        try:
            async with asyncio.timeout(self._read_timeout):
                await self._start()
                await self._send({"type": "http.response.body", "body": orjson.dumps(line) + b"\n", "more_body": True})
        except TimeoutError as error:
            raise ClientGone("the caller does not read its answer") from error

    async def _start(self) -> None:
        """Start the answer with its first line; until then uvicorn may still have to send 100 Continue."""
        if not self._is_started:
            self._is_started = True
            # The answer may end before its request; the connection cannot be reused then.
            headers = [(b"content-type", b"application/x-ndjson"), (b"connection", b"close")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
