"""Inference requests with a known answer: its images, labels and outputs, or None if it must be refused."""

import json
import struct
from dataclasses import dataclass
from typing import Any

from gate import Label
from tests.fuzz.recipes import Draws

EDGE, MAX_IMAGES = 4, 8
SHARED = bytes(range(256)) * 4
_OUTPUTS = ("glasses_probability", "novelty", "decision", "reason")
_LABELS = ("glasses", "no_glasses", "")
_FLAWS = (
    *("shape", "short", "long", "rest", "value", "type", "rows", "twice", "datatype", "many", "none", "both", "edge"),
    *(
        "labels",
        "label",
        "label twice",
        "output",
        "output twice",
        "unknown",
        "expected",
        "timeout",
        "id",
        "length",
        "member",
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The fields of a request; `images` are the bytes of each one."""

    identity: str | None
    timeout: float | None
    images: list[bytes]
    expected: list[Label | None]
    outputs: list[tuple[str, bool]]


@dataclass(slots=True)
class _Body:
    head: dict[str, Any]
    binary: bytes = b""


def build(draw: Draws) -> tuple[bytes, int | None, Answer | None]:
    """Build a request; return its body, the length of its JSON if binary data follow, and its fields."""
    flaw = draw.flaw(_FLAWS)
    count = MAX_IMAGES + 1 if flaw == "many" else 1 + draw.byte() % 3
    body = _Body({"inputs": [], "parameters": {}})
    images = _add_images(draw, body, count, flaw)
    expected = _add_labels(draw, body, count, flaw)
    outputs = _add_outputs(draw, body, flaw)
    identity, timeout = draw.pick((None, "a", "Ü/1")), draw.pick((None, 1, 2_500_000))
    if identity is not None:
        body.head["id"] = identity
    if timeout is not None:
        body.head["parameters"]["timeout"] = timeout
    _spoil(body, flaw)
    text = json.dumps(body.head, ensure_ascii=bool(draw.byte() % 2)).encode()
    length = len(text) + (flaw == "length") if body.binary or flaw == "length" else None
    known = Answer(identity, None if timeout is None else timeout / 1e6, images, expected, outputs)
    return text + body.binary, length, None if flaw else known


def _spoil(body: _Body, flaw: str) -> None:
    """Change one field outside the tensors."""
    inputs: list[dict[str, Any]] = body.head["inputs"]
    parameters = {"timeout": ("timeout", -1), "unknown": ("expcted", "glasses"), "expected": ("expected", "glass")}
    if flaw in parameters:
        body.head["parameters"].update([parameters[flaw]])
    elif flaw == "id":
        body.head["id"] = 7
    elif flaw == "member":
        inputs[0]["color"] = "red"
    elif flaw == "rest":
        body.binary += b"x"
    elif flaw == "none":
        del inputs[0]
    elif flaw in ("both", "twice"):
        image = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3], "data": [1] * 48}
        file = {"name": "encoded_image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
        inputs[:] = [image, image if flaw == "twice" else file]
        body.binary = b"" if flaw == "twice" else b"\1\0\0\0x"


def _add_images(draw: Draws, body: _Body, count: int, flaw: str) -> list[bytes]:
    if draw.byte() % 3 == 2 and flaw not in ("value", "type", "rows", "edge", "short", "shape"):
        return _add_files(draw, body, count, flaw)
    edge = draw.pick((EDGE, 2 * EDGE))
    size = edge * edge * 3
    first = draw.byte()  # One draw for all pixels: a recipe has bytes for few.
    pixels = bytes((3 * index + first) % 256 for index in range(count * size))
    shape = [count, edge, edge, 3]
    if flaw in ("shape", "edge"):
        shape = draw.pick(([count, edge, edge + 1, 3], [count, edge, edge], [count, edge, edge, 4], [0, edge, edge, 3]))
    way = "binary" if flaw in ("long", "short") else draw.pick(("flat", "nested", "binary", "shared"))
    way = draw.pick(("flat", "nested")) if flaw in ("value", "type") else "nested" if flaw == "rows" else way
    tensor: dict[str, Any] = {"name": "image", "datatype": "INT8" if flaw == "datatype" else "UINT8", "shape": shape}
    if way == "shared":
        offset = draw.byte() % 200
        if count * size + offset <= len(SHARED):
            pixels = SHARED[offset : offset + count * size]
            region = {"shared_memory_region": "r", "shared_memory_byte_size": len(pixels)}
            tensor["parameters"] = region | ({"shared_memory_offset": offset} if offset else {})
        else:
            way = "flat"
    if way == "binary":
        given = pixels[:-1] if flaw == "short" else pixels + b"x" if flaw == "long" else pixels
        tensor["parameters"] = {"binary_data_size": len(given)}
        body.binary += given
    elif way in ("flat", "nested"):
        tensor["data"] = _listed(draw, pixels, edge, flaw, is_nested=way == "nested")
    body.head["inputs"].append(tensor)
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def _listed(draw: Draws, pixels: bytes, edge: int, flaw: str, *, is_nested: bool) -> list[Any]:
    data: list[Any] = list(pixels)
    place = draw.byte() % len(data)
    if flaw == "value":
        data[place] = draw.pick((256, -1))
    elif flaw == "type":
        data[place] = draw.pick((1.0, True, "1", None))
    if not is_nested:
        return data
    for length in (3, edge, edge):
        data = [data[start : start + length] for start in range(0, len(data), length)]
    if flaw == "rows":
        data[0][0].append(data[0][1].pop())
    return data


def _add_files(draw: Draws, body: _Body, count: int, flaw: str) -> list[bytes]:
    files = [bytes([65 + index]) * draw.pick((3, 0, 1, 90)) for index in range(count)]
    data = b"".join(struct.pack("<I", len(file)) + file for file in files) + (b"x" if flaw == "long" else b"")
    datatype = "UINT8" if flaw == "datatype" else "BYTES"
    parameters = {"binary_data_size": len(data)}
    tensor = {"name": "encoded_image", "datatype": datatype, "shape": [count], "parameters": parameters}
    body.head["inputs"].append(tensor)
    body.binary += data
    return files


def _add_labels(draw: Draws, body: _Body, count: int, flaw: str) -> list[Label | None]:
    is_flawed = flaw in ("labels", "label", "label twice")
    way = "input" if is_flawed else draw.pick(("none", "parameter", "input", "binary"))
    if way == "none":
        return [None] * count
    if way == "parameter":
        body.head["parameters"]["expected"] = draw.pick(_LABELS[:2])
        return [Label(body.head["parameters"]["expected"])] * count
    labels = [draw.pick(_LABELS) for _ in range(count)]
    given = [*labels[1:], "glass"] if flaw == "label" else labels + ["glasses"] * (flaw == "labels")
    tensor: dict[str, Any] = {"name": "expected", "datatype": "BYTES", "shape": [len(given)]}
    if way == "binary":
        data = b"".join(struct.pack("<I", len(label)) + label.encode() for label in given)
        tensor["parameters"] = {"binary_data_size": len(data)}
        body.binary += data
    else:
        tensor["data"] = given
    body.head["inputs"].append(tensor)
    if flaw == "label twice":
        body.head["parameters"]["expected"] = "glasses"
    return [Label(label) if label else None for label in labels]


def _add_outputs(draw: Draws, body: _Body, flaw: str) -> list[tuple[str, bool]]:
    by_default = bool(draw.byte() % 2)
    if by_default:
        body.head["parameters"]["binary_data_output"] = True
    if not draw.byte() % 2 and flaw not in ("output", "output twice"):
        return [(name, by_default) for name in _OUTPUTS]
    first = draw.byte() % len(_OUTPUTS)
    names = [*_OUTPUTS[first:], *_OUTPUTS[: draw.byte() % (first + 1)]]
    asked = [(name, draw.pick((None, True, False))) for name in names]
    wanted: list[dict[str, Any]] = [{"name": name} for name in names]
    for output, (_, way) in zip(wanted, asked, strict=True):
        if way is not None:
            output["parameters"] = {"binary_data": way}
    unwanted = {"output": [{"name": "score"}], "output twice": wanted[:1]}
    body.head["outputs"] = wanted + unwanted.get(flaw, [])
    return [(name, by_default if way is None else way) for name, way in asked]
