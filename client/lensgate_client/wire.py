"""Requests and answers as the gate writes them: `/v1` for image files, the Open Inference Protocol V2 for pixels."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lensgate_client.decision import Band, Decision, Label, Model
from lensgate_client.errors import GateError, UnexpectedAnswer, error_of
from lensgate_client.retries import read_retry_after

_SHOWN = 200
_Word = TypeVar("_Word", bound=str)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, without what a connection adds."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


def model_request(_seconds: float) -> Request:
    """Asks which model is served."""
    return Request("GET", "/v1/model")


def file_request(data: bytes, seconds: float, *, name: str, expected: Label | None) -> Request:
    """Asks about one image file, to be answered within `seconds`."""
    params = {"id": name, "timeout_ms": str(max(1, math.floor(seconds * 1e3)))}
    if expected is not None:
        params["expected"] = expected
    return Request("POST", "/v1/decisions", params, {"Content-Type": "application/octet-stream"}, data)


def pixels_request(
    model: str, pixels: NDArray[np.uint8], seconds: float, *, name: str, expected: Sequence[Label | None]
) -> Request:
    """Asks about N images, uint8 `[N, S, S, 3]`, to be answered within `seconds`; the answer is JSON."""
    data = pixels.tobytes()
    image = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(pixels.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    inputs = [image]
    if any(expected):
        labels = [label or "" for label in expected]
        inputs.append({"name": "expected", "datatype": "BYTES", "shape": [len(labels)], "data": labels})
    parameters = {"timeout": max(1, math.floor(seconds * 1e6))}
    head = json.dumps({"id": name, "inputs": inputs, "parameters": parameters}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request("POST", f"/v2/models/{model}/infer", headers=headers, content=head + data)


def read_error(reply: Reply, *, now: float) -> GateError | None:
    """What an answer says went wrong; None where it is the one that was asked for."""
    if reply.status == 200:
        return None
    problem = _read_problem(reply)
    detail, code, request_id = (problem.get(key) for key in ("detail", "code", "request_id"))
    if not isinstance(detail, str):
        shown = " ".join(reply.content[:_SHOWN].decode(errors="replace").split())
        detail = f"the answer is HTTP {reply.status}, and no problem document of a Lensgate: {shown or 'empty'}"
    return error_of(
        reply.status,
        detail,
        code=code if isinstance(code, str) else None,
        request_id=request_id if isinstance(request_id, str) else reply.headers.get("x-request-id"),
        retry_after=read_retry_after(reply.headers, now=now),
    )


def _read_problem(reply: Reply) -> dict[str, Any]:
    if not reply.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        found = json.loads(reply.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read_model(reply: Reply) -> Model:
    """The model that is served, from its card.

    Raises:
        UnexpectedAnswer: it is no card.
    """
    try:
        card = json.loads(reply.content)
        model = Model(_text(card["name"]), _text(card["version"]), card["input"]["size"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unexpected(reply) from error
    if type(model.size) is not int or model.size < 1:
        raise _unexpected(reply)
    return model


def read_decision(reply: Reply) -> Decision:
    """The decision about a file.

    Raises:
        UnexpectedAnswer: it is none.
    """
    try:
        body = json.loads(reply.content)
        return Decision(
            _text(body["id"]),
            float(body["glasses_probability"]),
            _one_of(body["label"], "glasses", "no_glasses"),
            _one_of(body["decision"], "accept", "discard"),
            _text(body["reason"]),
            _optional(body["novelty"]),
            Band(float(body["band"]["low"]), float(body["band"]["high"])),
            _text(body["model"]["name"]),
            _text(body["model"]["version"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _unexpected(reply) from error


def read_decisions(reply: Reply, *, names: Sequence[str]) -> list[Decision]:
    """The decisions about the N images of a tensor, which the gate's record has under `names`.

    Raises:
        UnexpectedAnswer: they are none, or not N.
    """
    count = len(names)
    try:
        body = json.loads(reply.content)
        outputs = {output["name"]: output["data"] for output in body["outputs"]}
        novelties = outputs.get("novelty", [None] * count)
        rows = zip(
            names, outputs["glasses_probability"], outputs["decision"], outputs["reason"], novelties, strict=True
        )
        model, version = _text(body["model_name"]), _text(body["model_version"])
        return [
            Decision(
                name,
                float(probability),
                "glasses" if probability >= 0.5 else "no_glasses",
                _one_of(action, "accept", "discard"),
                _text(reason),
                _optional(novelty),
                None,
                model,
                version,
            )
            for name, probability, action, reason, novelty in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _unexpected(reply) from error


def _one_of(value: object, *known: _Word) -> _Word:
    for word in known:
        if value == word:
            return word
    raise ValueError(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _unexpected(reply: Reply) -> UnexpectedAnswer:
    shown = reply.content[:_SHOWN].decode(errors="replace")
    return UnexpectedAnswer(f"no Lensgate of this protocol answers so: {shown!r}", status=reply.status)
