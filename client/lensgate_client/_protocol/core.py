"""From images to decisions: which request is sent, and what follows from its answer. Without I/O, as `flow` is."""

import math
from collections.abc import Callable
from functools import partial

from lensgate_client._protocol.flow import Exchange, Flow
from lensgate_client._protocol.payloads import Block, File, Part
from lensgate_client._protocol.requests import (
    Reply,
    file_request,
    model_request,
    pixels_request,
)
from lensgate_client._protocol.responses import read_decision, read_decisions, read_model
from lensgate_client.errors import BadImage, RequestRefused, ServiceFault
from lensgate_client.models import ImageFailed, Model, Outcome
from lensgate_client.retries import Retries

_OUTDATED = "model_changed"
_TOO_MANY = "body_too_large"
_INTERNAL = 500
_MISFITS = (400, 404)
"""What a gate answers whose model has another size, or another name."""
_SIZE_TRIES = 3


class Core:
    """What a gate object knows and decides. Threads share it.

    Args:
        retries: what is repeated.
        timeout: seconds of a call.
        concurrency: requests under way at a time.
        batch_size: most images in one request of pixels.
        clock: seconds that only go forward.
        chance: a number in [0, 1), each time another.
    """

    def __init__(
        self,
        retries: Retries,
        *,
        timeout: float,
        concurrency: int,
        batch_size: int,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        if not 0 < timeout < math.inf or concurrency < 1 or batch_size < 1:
            raise ValueError("timeout is above 0 and finite, concurrency and batch_size are 1 or more")
        self.concurrency = concurrency
        self.batch_size = batch_size
        self._timeout = timeout
        self._exchange = Exchange(retries, clock=clock, chance=chance)
        self._model: Model | None = None

    def deadline(self, timeout: float | None) -> float:
        """When a call that begins now has to end; `timeout` seconds, if given, stand for the usual ones.

        Raises:
            ValueError: they have no end.
        """
        seconds = self._timeout if timeout is None else timeout
        if not math.isfinite(seconds):
            raise ValueError(f"timeout is a number of seconds, not {seconds}")
        return self._exchange.deadline(seconds)

    def model(self, deadline: float, *, is_fresh: bool = False) -> Flow[Model]:
        """The model that is served; asked for again where `is_fresh`, and where an answer came from another."""
        model = self._model
        if model is None or is_fresh:
            self._model = model = read_model((yield from self._exchange.run(model_request, deadline)))
        return model

    def judge(self, part: Part, deadline: float) -> Flow[list[Outcome]]:
        """The outcomes of its images, in order.

        Raises:
            GateError: what is no fault of an image.
        """
        try:
            if isinstance(part, File):
                return (yield from self._judge_file(part, deadline))
            return (yield from self._judge_block(part, deadline))
        except BadImage as error:
            if error.code == _TOO_MANY and isinstance(part, Block) and len(part.pixels) > 1:
                return (yield from self._judge_halves(part, deadline))
            return [ImageFailed(name, error) for name in part.names]
        except ServiceFault as error:
            # Any other fault of a server or a proxy is not about these images.
            if error.status != _INTERNAL:
                raise
            return [ImageFailed(name, error) for name in part.names]

    def _judge_file(self, file: File, deadline: float) -> Flow[list[Outcome]]:
        make = partial(file_request, file.data, name=file.name, expected=file.expected)
        reply = yield from self._exchange.run(make, deadline)
        return [read_decision(reply, name=file.name, expected=file.expected)]

    def _judge_halves(self, block: Block, deadline: float) -> Flow[list[Outcome]]:
        """More images than this gate takes in one request: from now on fewer are sent."""
        half = len(block.pixels) // 2
        self.batch_size = min(self.batch_size, half)
        first = yield from self.judge(block.cut(0, half), deadline)
        return first + (yield from self.judge(block.cut(half, len(block.pixels)), deadline))

    def _judge_block(self, block: Block, deadline: float) -> Flow[list[Outcome]]:
        asked, reply = yield from self._send_block(block, deadline)
        decisions = read_decisions(reply, model=asked.name, name=block.name, names=block.names, expected=block.expected)
        model = self._model
        if model is not None and decisions[0].model_version != model.version:
            self._model = None  # Another one may take another size.
        return list(decisions)

    def _send_block(self, block: Block, deadline: float) -> Flow[tuple[Model, Reply]]:
        """The model that was asked, and the reply.

        The model may change its size at any time, and replicas do not all at the same.
        """
        model = yield from self.model(deadline)
        for _ in range(_SIZE_TRIES):
            make = partial(pixels_request, model.name, block.pixels, name=block.name, expected=block.expected)
            try:
                return model, (yield from self._exchange.run(make, deadline))
            except RequestRefused as error:
                if error.status not in _MISFITS:
                    raise
                refused = error
            model = yield from self.model(deadline, is_fresh=True)
            if block.pixels.shape[1] % model.size:
                text = f"it was shrunk for another model than is served now, which takes {model.size} x {model.size}"
                raise BadImage(f"{text}: ask again", code=_OUTDATED)
        raise refused


def is_outdated(outcome: Outcome) -> bool:
    """Whether the image was shrunk for a model that is no longer served, and only has to be shrunk anew."""
    return isinstance(outcome, ImageFailed) and outcome.code == _OUTDATED
