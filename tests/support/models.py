"""A real ONNX model that is small enough to reason about: the probability of glasses is the mean brightness."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gate import Card, Label, Model
from gate.card import METADATA_KEY, CardBand, CardDataSet, CardText, CardTraining, ModelInput, ReferenceHistogram
from gate.model_files import CARD_FILE, GRAPH_FILE
from gate.model_store import CURRENT_FILE

BRIGHTNESS_OUTPUTS = ("glasses_probability", "glasses_logit")


def card_text(version: str = "1", *, size: int = 32, **changes: Any) -> CardText:
    """A card that is complete and says little; `changes` replaces members."""
    fields: dict[str, Any] = {
        "name": "glasses",
        "version": version,
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "input": ModelInput(size=size),
        "outputs": BRIGHTNESS_OUTPUTS,
        "band": CardBand(),
        "data": (
            CardDataSet(name="none", fingerprint="-", source="-", licence="MIT", images={"test": {Label.GLASSES: 1}}),
        ),
        "training": CardTraining(commands=(), records="-", split_seed=0, seed=0, epochs=0, parameters=0, settings={}),
        "metrics": {},
        "reference_histogram": ReferenceHistogram(edges=(0.0, 0.5, 1.0), counts=(50, 50)),
        "tools": {},
    }
    return CardText(**{**fields, **changes})


def brightness_model(version: str = "1", *, size: int = 32, inverted: bool = False, **changes: Any) -> Model:
    """`glasses_probability` is the mean of the image over 255, or 1 minus that; the logit matches it."""
    return model_of(brightness_graph(size, inverted=inverted), card_text(version, size=size, **changes))


def brightness_graph(size: int, *, inverted: bool = False) -> onnx.ModelProto:
    """The graph alone, without a card in it."""
    end = (["one", "bright"], "Sub") if inverted else (["bright"], "Identity")
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["bright"]),
        helper.make_node(end[1], end[0], ["glasses_probability"]),
        helper.make_node("Clip", ["glasses_probability", "least", "most"], ["inside"]),
        helper.make_node("Sub", ["one", "inside"], ["rest"]),
        helper.make_node("Div", ["inside", "rest"], ["odds"]),
        helper.make_node("Log", ["odds"], ["glasses_logit"]),
    ]
    constants: Mapping[str, Any] = {
        "axes": np.array([1, 2, 3], np.int64),
        "white": np.float32(255),
        "one": np.float32(1),
        "least": np.float32(1e-6),
        "most": np.float32(1 - 1e-6),
    }
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in BRIGHTNESS_OUTPUTS],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def endless_graph(size: int = 32) -> onnx.ModelProto:
    """The same graph with a practically endless loop."""
    model = brightness_graph(size)
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["again"]), helper.make_node("Identity", ["value"], ["same"])],
        "body",
        [
            scalar("turn", TensorProto.INT64, []),
            scalar("more", TensorProto.BOOL, []),
            scalar("value", TensorProto.FLOAT, None),
        ],
        [scalar("again", TensorProto.BOOL, []), scalar("same", TensorProto.FLOAT, None)],
    )
    nodes = list(model.graph.node)
    nodes[2].output[0] = "once"
    loop = helper.make_node("Loop", ["turns", "true", "once"], ["bright"], body=body)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:3], loop, *nodes[3:]])
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62, np.int64), "turns"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    return model


def model_of(graph: onnx.ModelProto, text: CardText) -> Model:
    """Put a card into a graph and the graph's hash into the card."""
    helper.set_model_props(graph, {METADATA_KEY: text.model_dump_json()})
    data = graph.SerializeToString()
    return Model(Card(**dict(text), sha256=hashlib.sha256(data).hexdigest()), data)


def write_model(root: Path, model: Model, *, current: bool = True) -> Path:
    """Write a model as training would, under `root / glasses`; returns its folder."""
    folder = root / model.card.name / model.card.version
    folder.mkdir(parents=True)
    (folder / GRAPH_FILE).write_bytes(model.graph)
    (folder / CARD_FILE).write_text(model.card.model_dump_json(), encoding="utf-8")
    if current:
        (folder.parent / CURRENT_FILE).write_text(model.card.version, encoding="utf-8")
    return folder
