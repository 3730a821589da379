"""Asks a Lensgate about images, from where they are made: files, arrays, or tensors on any device."""

from lensgate_client.aio import AsyncGate
from lensgate_client.convert import to_uint8
from lensgate_client.decision import Band, Decision, ImageFailed, Label, Model, Outcome
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
from lensgate_client.filtering import AsyncGateFilter, GateFilter
from lensgate_client.gate import Gate
from lensgate_client.images import Ask, ImageLike
from lensgate_client.retries import Retries
from lensgate_client.sieve import FilterStats

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
    "RequestRefused",
    "Retries",
    "ServiceFault",
    "Unauthorized",
    "UnexpectedAnswer",
    "to_uint8",
]
