"""The members and parameters of an inference request that are known. Pure: no HTTP, no model.

Unknown ones are an error: an order that is misspelt would otherwise be lost, and the image accepted unchecked.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from service.errors import MalformedRequest
from service.http.query_params import unknown_name

_SHARED = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")
# Hints of MLServer's codecs, which KServe's runtimes pass on. They change nothing about bytes and numbers.
_HINTS = ("content_type", "headers")
_RESERVED = "triton_"
"""The protocol keeps parameters that begin so for Triton; its clients add them by themselves."""

_REQUEST = frozenset({"id", "inputs", "outputs", "parameters", "model_name", "model_version"})
_INPUT = frozenset({"name", "shape", "datatype", "parameters", "data"})
_OUTPUT = frozenset({"name", "shape", "datatype", "parameters"})
_REQUEST_PARAMETERS = frozenset(
    {"expected", "timeout", "priority", "binary_data_output", "sequence_id", "sequence_start", "sequence_end", *_HINTS}
)
_INPUT_PARAMETERS = frozenset({"binary_data_size", *_SHARED, *_HINTS})
_OUTPUT_PARAMETERS = frozenset({"binary_data", "classification", *_SHARED, *_HINTS})

# Written so in any case, also with the first letter escaped. Only such a request can hold an order.
_ORDER = (b"xpected", b"XPECTED")


def check_members(head: dict[str, Any]) -> None:
    """Raise MalformedRequest where a request, an input, an output or their parameters hold what is not known.

    What has the wrong type is left to be found by those that read it.
    """
    _check("the request", head, _REQUEST)
    _check_parameters("the request", head, _REQUEST_PARAMETERS)
    for kind, members, parameters in (
        ("input", _INPUT, _INPUT_PARAMETERS),
        ("output", _OUTPUT, _OUTPUT_PARAMETERS),
    ):
        for item in _objects(head.get(f"{kind}s")):
            where = f"the {kind} {str(item.get('name'))[:64]!r}"
            _check(where, item, members)
            _check_parameters(where, item, parameters)


def check_order_is_unique(text: memoryview) -> None:
    """Raise MalformedRequest where a request with an order names a member twice: parsed, the last one would count."""
    found = bytes(text)
    if any(order in found for order in _ORDER):
        try:
            json.loads(found, object_pairs_hook=_unique)
        except (RecursionError, ValueError) as error:  # Deeper, or with longer numbers, than this parser takes.
            raise MalformedRequest("the request with expected is nested too deep, or has numbers too long") from error


def _check(where: str, members: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = next((name for name in members if name not in known), None)
    if unknown is not None:
        raise MalformedRequest(unknown_name(where, unknown, known))


def _check_parameters(where: str, owner: Mapping[str, Any], known: frozenset[str]) -> None:
    given = owner.get("parameters")
    if isinstance(given, dict):
        named = {name: value for name, value in given.items() if not name.startswith(_RESERVED)}
        _check(f"the parameters of {where}", named, known)


def _objects(items: object) -> Iterable[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict)) if isinstance(items, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise MalformedRequest(f"{twice[:64]!r} is there twice in one object of the request")
    return found
