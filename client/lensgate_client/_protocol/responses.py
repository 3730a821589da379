"""What an answer says, checked in full: an answer that contradicts itself or its request is an error, no decision."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from lensgate_client._protocol.requests import Reply
from lensgate_client._protocol.texts import cut, printable, shown
from lensgate_client.errors import GateError, UnexpectedAnswer, error_of
from lensgate_client.models import Band, Decision, Label, Model
from lensgate_client.retries import read_retry_after

_QUOTED = 200
_DETAIL = 1_000
_ID = 128
_LARGEST_SIZE = 4_096
"""Edge of a model's input: what a gate decodes at most."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
"""A model's name or version. It becomes part of a path."""

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_Word = TypeVar("_Word", bound=str)


def read_error(reply: Reply, *, now: float) -> GateError | None:
    """What an answer says went wrong; None where it is the one that was asked for."""
    if reply.status == 200:
        return None
    problem = _read_problem(reply)
    detail, code, request_id = (problem.get(key) for key in ("detail", "code", "request_id"))
    if not isinstance(detail, str):
        quoted = printable(reply.content[:_QUOTED].decode(errors="replace"))
        detail = f"the answer is HTTP {reply.status}, and no problem document of a Lensgate: {quoted or 'empty'}"
    if not isinstance(request_id, str):
        request_id = reply.headers.get("x-request-id")
    return error_of(
        reply.status,
        printable(detail, _DETAIL),
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else None,
        request_id=request_id and printable(request_id, _ID),
        retry_after=read_retry_after(reply.headers, now=now),
    )


def _read_problem(reply: Reply) -> dict[str, Any]:
    if not reply.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        return _load(reply.content)
    except (ValueError, RecursionError):
        return {}


def read_model(reply: Reply) -> Model:
    """The model that is served, from its card.

    Raises:
        UnexpectedAnswer: it is no card.
    """
    with _reading(reply):
        card = _load(reply.content)
        size = _get(_object(card, "input"), "size")
        if type(size) is not int or not 1 <= size <= _LARGEST_SIZE:
            raise ValueError(f"size is {shown(size)}")
        return Model(_name(card, "name"), _name(card, "version"), size)


def read_decision(reply: Reply, *, name: str, expected: Label | None) -> Decision:
    """The decision about a file, which was sent as `name` with the order `expected`.

    Raises:
        UnexpectedAnswer: it is none, or about another image, or contradicts itself or the order.
    """
    with _reading(reply):
        body = _load(reply.content)
        _check_equal("id", _get(body, "id"), name)
        model, band = _object(body, "model"), _object(body, "band")
        decision = Decision(
            name,
            _probability(_get(body, "glasses_probability")),
            _one_of(_get(body, "label"), "glasses", "no_glasses"),
            _one_of(_get(body, "decision"), "accept", "discard"),
            _reason(_get(body, "reason")),
            _optional(_get(body, "novelty")),
            Band(_probability(_get(band, "low")), _probability(_get(band, "high"))),
            _name(model, "name"),
            _name(model, "version"),
        )
        _check_decision(decision, expected)
        return decision


def read_decisions(
    reply: Reply, *, model: str, name: str, names: Sequence[str], expected: Sequence[Label | None]
) -> list[Decision]:
    """The decisions about the N images of a tensor.

    Args:
        reply: the answer.
        model: which was asked.
        name: of the request.
        names: under which the gate's record has the images.
        expected: the orders of the images.

    Raises:
        UnexpectedAnswer: they are none, or not N, or one contradicts itself or its order.
    """
    with _reading(reply):
        body = _load(reply.content)
        _check_equal("id", _get(body, "id"), name)
        _check_equal("model_name", _get(body, "model_name"), model)
        version, outputs = _name(body, "model_version"), _outputs(body)
        probabilities = _column(outputs, "glasses_probability", "FP32", count=len(names))
        actions = _column(outputs, "decision", "BYTES", count=len(names))
        reasons = _column(outputs, "reason", "BYTES", count=len(names))
        has_novelty = "novelty" in outputs
        novelties = _column(outputs, "novelty", "FP32", count=len(names)) if has_novelty else [None] * len(names)
        rows = zip(names, probabilities, actions, reasons, novelties, strict=True)
        decisions = [_decision_of(row, model=model, version=version) for row in rows]
        for decision, label in zip(decisions, expected, strict=True):
            _check_decision(decision, label)
        return decisions


def _decision_of(row: tuple[str, Any, Any, Any, Any], *, model: str, version: str) -> Decision:
    name, probability, action, reason, novelty = row
    share = _probability(probability)
    return Decision(
        name,
        share,
        "glasses" if share >= 0.5 else "no_glasses",
        _one_of(action, "accept", "discard"),
        _reason(reason),
        _optional(novelty),
        None,
        model,
        version,
    )


def _outputs(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    listed = _get(body, "outputs")
    for output in listed if isinstance(listed, list) else [listed]:
        name = _get(output, "name")
        if not isinstance(name, str) or name in found:
            raise ValueError(f"an output is there twice, or has no name: {shown(name)}")
        found[name] = output
    return found


def _column(outputs: Mapping[str, Mapping[str, Any]], name: str, datatype: str, *, count: int) -> list[Any]:
    output = _get(outputs, name)
    _check_equal(f"datatype of {name}", _get(output, "datatype"), datatype)
    shape, data = _get(output, "shape"), _get(output, "data")
    if shape != [count] or type(shape[0]) is not int:
        raise ValueError(f"shape of {name} is {shown(shape)} and not {[count]}")
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"{name} has not one value for each of {count:,} images")
    return data


def _check_decision(decision: Decision, expected: Label | None) -> None:
    """Raise ValueError unless decision, reason, label, probability, band and order agree."""
    label = "glasses" if decision.glasses_probability >= 0.5 else "no_glasses"
    _check_equal("label", decision.label, label)
    if decision.accepted != (decision.reason == "confident"):
        raise ValueError(f"it says {decision.decision} and {decision.reason}")
    contradicts = expected is not None and expected != decision.label
    if contradicts if decision.accepted else (decision.reason == "contradicted" and not contradicts):
        raise ValueError(f"it says {decision.reason} of {decision.label}, and {expected} was expected")
    band = decision.band
    if band is None:
        return
    is_inside = band.low <= decision.glasses_probability <= band.high
    if band.low > band.high or (is_inside != (decision.reason == "uncertain") and decision.reason != "unfamiliar"):
        raise ValueError(f"it says {decision.reason} of {decision.glasses_probability} with a band of {band}")


@contextmanager
def _reading(reply: Reply) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise _unexpected(reply, "it is nested too deep") from None
    except (ValueError, OverflowError) as error:
        raise _unexpected(reply, str(error)) from None


def _unexpected(reply: Reply, reason: str) -> UnexpectedAnswer:
    quoted = shown(reply.content[:_QUOTED].decode(errors="replace"))
    why = cut(printable(reason), _QUOTED)
    return UnexpectedAnswer(f"no Lensgate of this protocol answers so ({why}): {quoted}", status=reply.status)


def _load(content: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8; ValueError for anything else, for a key that is there twice, NaN and Infinity."""
    found = json.loads(content.decode(), parse_constant=_no_number, object_pairs_hook=_unique)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _get(owner: object, key: str) -> Any:
    if not isinstance(owner, Mapping) or key not in owner:
        raise ValueError(f"{key} is missing")
    return owner[key]


def _object(owner: object, key: str) -> Mapping[str, Any]:
    found = _get(owner, key)
    if not isinstance(found, Mapping):
        raise ValueError(f"{key} is no object")
    return found


def _name(owner: object, key: str) -> str:
    found = _get(owner, key)
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise ValueError(f"{key} is {shown(found)}")
    return found


def _reason(value: object) -> str:
    """Not one of a list: a later gate may know more reasons to discard."""
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise ValueError(f"the reason is {shown(value)}")
    return value


def _one_of(value: object, *known: _Word) -> _Word:
    for word in known:
        if value == word:
            return word
    raise ValueError(f"{shown(value)} is none of {', '.join(known)}")


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(found := float(value)):  # type: ignore[arg-type]
        raise ValueError(f"{shown(value)} is no number")
    return found


def _probability(value: object) -> float:
    found = _number(value)
    if not 0.0 <= found <= 1.0:
        raise ValueError(f"{found} is no probability")
    return found


def _optional(value: object) -> float | None:
    return None if value is None else _number(value)


def _check_equal(what: str, found: object, wanted: object) -> None:
    if type(found) is not type(wanted) or found != wanted:
        raise ValueError(f"{what} is {shown(found)} and not {shown(wanted)}")
