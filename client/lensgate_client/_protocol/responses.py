"""Read and validate responses: a response that contradicts itself or its request raises an error."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from lensgate_client._protocol.requests import GateResponse
from lensgate_client.errors import GateError, UnexpectedAnswer, error_for_response, quoted, single_line, truncated
from lensgate_client.models import Band, Decision, Label, Model
from lensgate_client.retries import read_retry_after

_MAX_QUOTED = 200
_MAX_DETAIL = 1_000
_MAX_REQUEST_ID = 128
_REDIRECTS = (301, 302, 303, 307, 308)
_TOO_LARGE = 413
_MAX_INPUT_SIZE = 4_096
"""Largest edge length of a model's input; a gate does not decode larger images."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
"""A model's name or version, which becomes part of a URL path."""

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_Choice = TypeVar("_Choice", bound=str)


def read_error(response: GateResponse, *, now: float) -> GateError | None:
    """Return the error that a response reports; None for status 200."""
    if response.status == 200:
        return None
    problem = _read_problem(response)
    detail, code, request_id = (problem.get(key) for key in ("detail", "code", "request_id"))
    if response.status in _REDIRECTS and (target := response.headers.get("location")):
        detail = f"HTTP {response.status} redirects to {quoted(target)}: pass the URL of the gate itself"
    if not isinstance(detail, str):
        body = single_line(response.content[:_MAX_QUOTED].decode(errors="replace"))
        detail = (
            f"HTTP {response.status} without a problem document of a Lensgate{response.way}: {body or 'empty body'}"
        )
        if response.status == _TOO_LARGE:
            detail += "; raise the limit of the proxy before the gate (in nginx: client_max_body_size)"
    if not isinstance(request_id, str):
        request_id = response.headers.get("x-request-id")
    return error_for_response(
        response.status,
        single_line(detail, _MAX_DETAIL) + response.hint,
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else None,
        request_id=request_id and single_line(request_id, _MAX_REQUEST_ID),
        retry_after=read_retry_after(response.headers, now=now),
    )


def _read_problem(response: GateResponse) -> dict[str, Any]:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        return _load(response.content)
    except (ValueError, RecursionError):
        return {}


def read_model(response: GateResponse) -> Model:
    """Return the served model from its card.

    Raises:
        UnexpectedAnswer: the response is not a valid card.
    """
    with _validation(response):
        card = _load(response.content)
        size = _get(_object(card, "input"), "size")
        if type(size) is not int or not 1 <= size <= _MAX_INPUT_SIZE:
            raise ValueError(f"size is {quoted(size)}")
        return Model(_name(card, "name"), _name(card, "version"), size)


def read_decision(response: GateResponse, *, image_id: str, expected: Label | None) -> Decision:
    """Return the decision about a file that was sent as `image_id` with the label `expected`.

    Raises:
        UnexpectedAnswer: it is invalid, about another image, or contradicts itself or the expected label.
    """
    with _validation(response):
        body = _load(response.content)
        _check_equal("id", _get(body, "id"), image_id)
        model, band = _object(body, "model"), _object(body, "band")
        decision = Decision(
            id=image_id,
            glasses_probability=_probability(_get(body, "glasses_probability")),
            label=_choice(_get(body, "label"), "glasses", "no_glasses"),
            decision=_choice(_get(body, "decision"), "accept", "discard"),
            reason=_reason(_get(body, "reason")),
            novelty=_optional_number(_get(body, "novelty")),
            band=Band(_probability(_get(band, "low")), _probability(_get(band, "high"))),
            model_name=_name(model, "name"),
            model_version=_name(model, "version"),
        )
        _check_decision(decision, expected)
        return decision


def read_decisions(
    response: GateResponse,
    *,
    model: str,
    batch_id: str,
    image_ids: Sequence[str],
    expected: Sequence[Label | None],
) -> list[Decision]:
    """Return the decisions about the N images of a tensor.

    Args:
        response: the response.
        model: name of the requested model.
        batch_id: id of the request.
        image_ids: ids of the images in the gate's record.
        expected: expected labels of the images.

    Raises:
        UnexpectedAnswer: they are invalid, not N, or one contradicts itself or its expected label.
    """
    with _validation(response):
        body = _load(response.content)
        _check_equal("id", _get(body, "id"), batch_id)
        _check_equal("model_name", _get(body, "model_name"), model)
        version, outputs, count = _name(body, "model_version"), _outputs(body), len(image_ids)
        probabilities = _column(outputs, "glasses_probability", "FP32", count=count)
        actions = _column(outputs, "decision", "BYTES", count=count)
        reasons = _column(outputs, "reason", "BYTES", count=count)
        novelties = _column(outputs, "novelty", "FP32", count=count) if "novelty" in outputs else [None] * count
        rows = zip(image_ids, probabilities, actions, reasons, novelties, strict=True)
        decisions = [_decision_from_row(row, model=model, version=version) for row in rows]
        for decision, label in zip(decisions, expected, strict=True):
            _check_decision(decision, label)
        return decisions


def _decision_from_row(row: tuple[str, Any, Any, Any, Any], *, model: str, version: str) -> Decision:
    image_id, value, action, reason, novelty = row
    probability = _probability(value)
    return Decision(
        id=image_id,
        glasses_probability=probability,
        label="glasses" if probability >= 0.5 else "no_glasses",
        decision=_choice(action, "accept", "discard"),
        reason=_reason(reason),
        novelty=_optional_number(novelty),
        band=None,
        model_name=model,
        model_version=version,
    )


def _outputs(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    outputs: dict[str, Mapping[str, Any]] = {}
    listed = _get(body, "outputs")
    for output in listed if isinstance(listed, list) else [listed]:
        name = _get(output, "name")
        if not isinstance(name, str) or name in outputs:
            raise ValueError(f"an output is duplicated or has no name: {quoted(name)}")
        outputs[name] = output
    return outputs


def _column(outputs: Mapping[str, Mapping[str, Any]], name: str, datatype: str, *, count: int) -> list[Any]:
    output = _get(outputs, name)
    _check_equal(f"datatype of {name}", _get(output, "datatype"), datatype)
    shape, data = _get(output, "shape"), _get(output, "data")
    if shape != [count] or type(shape[0]) is not int:
        raise ValueError(f"shape of {name} is {quoted(shape)}, not {[count]}")
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"{name} does not have one value for each of {count:,} images")
    return data


def _check_decision(decision: Decision, expected: Label | None) -> None:
    """Raise ValueError unless decision, reason, label, probability, band and expected label agree."""
    label = "glasses" if decision.glasses_probability >= 0.5 else "no_glasses"
    _check_equal("label", decision.label, label)
    if decision.accepted != (decision.reason == "confident"):
        raise ValueError(f"decision {decision.decision} contradicts reason {decision.reason}")
    contradicts = expected is not None and expected != decision.label
    if contradicts if decision.accepted else (decision.reason == "contradicted" and not contradicts):
        raise ValueError(f"reason {decision.reason} contradicts label {decision.label} with {expected} expected")
    band = decision.band
    if band is None:
        return
    is_inside = band.low <= decision.glasses_probability <= band.high
    if band.low > band.high or (is_inside != (decision.reason == "uncertain") and decision.reason != "unfamiliar"):
        raise ValueError(f"reason {decision.reason} contradicts {decision.glasses_probability} with a band of {band}")


@contextmanager
def _validation(response: GateResponse) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise _unexpected(response, "the JSON is nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise _unexpected(response, str(error)) from None


def _unexpected(response: GateResponse, reason: str) -> UnexpectedAnswer:
    body = quoted(response.content[:_MAX_QUOTED].decode(errors="replace"))
    why = truncated(single_line(reason), _MAX_QUOTED)
    return UnexpectedAnswer(f"not a response of a Lensgate ({why}{response.way}): {body}", status=response.status)


def _load(content: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8; raise ValueError for other content, duplicate keys, NaN and Infinity."""
    body = json.loads(content.decode(), parse_constant=_reject_constant, object_pairs_hook=_unique_keys)
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")
    return body


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not valid JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is duplicated")
    return members


def _get(owner: object, key: str) -> Any:
    if not isinstance(owner, Mapping) or key not in owner:
        raise ValueError(f"{key} is missing")
    return owner[key]


def _object(owner: object, key: str) -> Mapping[str, Any]:
    value = _get(owner, key)
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is not an object")
    return value


def _name(owner: object, key: str) -> str:
    value = _get(owner, key)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{key} is {quoted(value)}")
    return value


def _reason(value: object) -> str:
    """Check the form only: a later gate may have more reasons to discard."""
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise ValueError(f"the reason is {quoted(value)}")
    return value


def _choice(value: object, *choices: _Choice) -> _Choice:
    for choice in choices:
        if value == choice:
            return choice
    raise ValueError(f"{quoted(value)} is not one of {', '.join(choices)}")


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(number := float(value)):  # type: ignore[arg-type]
        raise ValueError(f"{quoted(value)} is not a finite number")
    return number


def _probability(value: object) -> float:
    number = _number(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{number} is not a probability")
    return number


def _optional_number(value: object) -> float | None:
    return None if value is None else _number(value)


def _check_equal(field: str, value: object, expected: object) -> None:
    if type(value) is not type(expected) or value != expected:
        raise ValueError(f"{field} is {quoted(value)}, not {quoted(expected)}")
