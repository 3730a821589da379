"""Client of a Lensgate: decisions about files, arrays and tensors on any device."""

from lensgate_client._pixels.convert import to_uint8
from lensgate_client._pixels.images import Ask, ImageLike
from lensgate_client._stream.filter_run import FilterStats
from lensgate_client._stream.verdicts import Regenerated, Sorted
from lensgate_client.async_client import AsyncGate
from lensgate_client.client import Gate
from lensgate_client.errors import (
    BadImage,
    DeadlineExceeded,
    Draining,
    Forbidden,
    GateError,
    GateUnreachable,
    GaveUp,
    NotReady,
    Overloaded,
    RateLimited,
    RequestRefused,
    ServiceFault,
    Unauthorized,
    UnexpectedAnswer,
)
from lensgate_client.filter import AsyncGateFilter, GateFilter
from lensgate_client.models import Band, Decision, ImageFailed, Label, Model, Outcome
from lensgate_client.retries import Retries

__all__ = [
    "Ask",
    "AsyncGate",
    "AsyncGateFilter",
    "BadImage",
    "Band",
    "DeadlineExceeded",
    "Decision",
    "Draining",
    "FilterStats",
    "Forbidden",
    "Gate",
    "GateError",
    "GateFilter",
    "GateUnreachable",
    "GaveUp",
    "ImageFailed",
    "ImageLike",
    "Label",
    "Model",
    "NotReady",
    "Outcome",
    "Overloaded",
    "RateLimited",
    "Regenerated",
    "RequestRefused",
    "Retries",
    "ServiceFault",
    "Sorted",
    "Unauthorized",
    "UnexpectedAnswer",
    "to_uint8",
]
