"""Rewrite a converted graph into one that computes the same in less time.

tf2onnx keeps TensorFlow's channels-last input, spells batch normalisation and flattening in elementary operations and
multiplies each pixel. ONNX Runtime computes few of these inside its blocked layout, and reorders the tensor around the
others. `training.export` verifies the rewritten graph against the network.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CHANNELS_FIRST = [0, 3, 1, 2]
_LINEAR = ("Transpose", "Slice", "AveragePool")  # A factor before them equals one after them.


def simplify(model: onnx.ModelProto) -> None:
    """Rewrite the graph of `model` in place; patterns that it lacks are left alone."""
    graph = _Graph(model.graph)
    for node in list(model.graph.node):
        _fuse_normalisation(graph, node)
        _fix_flat_shape(graph, node)
    if (cast := _cast_of_image(graph)) is not None:
        _fold_rescaling(graph, cast)
        _transpose_bytes(graph, cast)
    graph.remove_unused()
    onnx.checker.check_model(model)


class _Graph:
    """A graph whose nodes stay in topological order while they are replaced."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.proto = graph
        self.constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self.constants:
            self.proto.initializer.append(numpy_helper.from_array(value, name))
            self.constants[name] = value
        return name

    def producer(self, name: str) -> onnx.NodeProto | None:
        return next((node for node in self.proto.node if name in node.output), None)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.proto.node if name in node.input]

    def operands(self, node: onnx.NodeProto) -> tuple[str, NDArray[Any]] | None:
        """The variable input of a node with two inputs and the value of its constant one."""
        for variable, constant in (node.input, reversed(node.input)) if len(node.input) == 2 else ():
            value = self.constants.get(constant)
            if value is not None:
                return variable, value
        return None

    def replace(self, old: Sequence[onnx.NodeProto], *new: onnx.NodeProto) -> None:
        """Put `new` where the first of `old` was."""
        place = min(index for index, node in enumerate(self.proto.node) if node in old)
        for node in old:
            self.proto.node.remove(node)
        for offset, node in enumerate(new):
            self.proto.node.insert(place + offset, node)

    def remove_unused(self) -> None:
        needed = {output.name for output in self.proto.output}
        for node in reversed(list(self.proto.node)):
            if needed.isdisjoint(node.output):
                self.proto.node.remove(node)
            else:
                needed.update(node.input)
        for constant in [each for each in self.proto.initializer if each.name not in needed]:
            self.proto.initializer.remove(constant)


def _fuse_normalisation(graph: _Graph, node: onnx.NodeProto) -> None:
    """Spell a factor and a summand for each channel `[1, C, 1, 1]` as batch normalisation."""
    if node.op_type != "Mul" or (scaled := graph.operands(node)) is None or not _is_per_channel(scaled[1]):
        return
    following = graph.consumers(node.output[0])
    if len(following) != 1 or following[0].op_type != "Add":
        return
    shifted = graph.operands(following[0])
    if shifted is None or shifted[1].shape != scaled[1].shape:
        return
    (output,) = following[0].output
    channels = scaled[1].size
    constants = {
        "scale": scaled[1].reshape(-1),
        "shift": shifted[1].reshape(-1),
        "mean": np.zeros(channels, np.float32),
        "variance": np.ones(channels, np.float32),
    }
    inputs = [scaled[0], *(graph.add_constant(f"{output}_{name}", value) for name, value in constants.items())]
    fused = helper.make_node("BatchNormalization", inputs, [output], name=following[0].name, epsilon=0.0)
    graph.replace([node, following[0]], fused)


def _is_per_channel(value: NDArray[Any]) -> bool:
    return value.ndim == 4 and value.shape == (1, value.size, 1, 1)


def _fix_flat_shape(graph: _Graph, node: onnx.NodeProto) -> None:
    """Flatten `[N, ...]` to `[N, K]` without computing N: a 0 in the shape keeps that dimension."""
    if node.op_type != "Reshape" or graph.constants.get(node.input[1]) is not None:
        return
    shape = graph.producer(node.input[1])
    while shape is not None and shape.op_type == "Cast":
        shape = graph.producer(shape.input[0])
    if shape is None or shape.op_type != "Concat" or len(shape.input) != 2:
        return
    width = graph.constants.get(shape.input[1])
    if width is not None and width.size == 1 and _is_batch_size(graph, shape.input[0]):
        flat = np.array([0, int(width.reshape(-1)[0])], np.int64)
        node.input[1] = graph.add_constant(f"{node.output[0]}_shape", flat)


def _is_batch_size(graph: _Graph, name: str) -> bool:
    """Whether `name` is the first dimension of a tensor; transposing channels does not move it."""
    node = graph.producer(name)
    if node is None or node.op_type != "Slice":
        return False
    first, end = (graph.constants.get(bound) for bound in node.input[1:3])
    if first is None or end is None or (int(first[0]), int(end[0])) != (0, 1):
        return False
    while node is not None and node.op_type in ("Slice", "Cast", "Gather"):
        node = graph.producer(node.input[0])
    return node is not None and node.op_type == "Shape"


def _fold_rescaling(graph: _Graph, cast: onnx.NodeProto) -> None:
    """Multiply the first convolutions' weights by the factor of the pixels, instead of each pixel."""
    factor, end, passed = 1.0, cast.output[0], []
    while len(following := graph.consumers(end)) == 1 and (step := graph.operands(following[0])) is not None:
        node, value = following[0], step[1]
        number = float(value.reshape(-1)[0]) if value.size == 1 else math.nan
        if node.op_type == "Mul" and number > 0:
            factor *= number
        elif (node.op_type, number) != ("Add", 0.0):
            break
        passed.append(node)
        (end,) = node.output
    convolutions = _fed_linearly(graph, end)
    if not passed or convolutions is None:
        return
    for node in convolutions:
        scaled = (graph.constants[node.input[1]].astype(np.float64) * factor).astype(np.float32)
        node.input[1] = graph.add_constant(f"{node.input[1]}_rescaled", scaled)
    for node in passed:
        graph.proto.node.remove(node)
    for node in graph.consumers(end):
        node.input[list(node.input).index(end)] = cast.output[0]


def _cast_of_image(graph: _Graph) -> onnx.NodeProto | None:
    """Return the node that casts the image's bytes to floats, or None if other nodes read them too."""
    (image,) = (each.name for each in graph.proto.input)
    readers = graph.consumers(image)
    return readers[0] if len(readers) == 1 and readers[0].op_type == "Cast" else None


def _fed_linearly(graph: _Graph, name: str) -> list[onnx.NodeProto] | None:
    """Return the convolutions that a tensor reaches by linear steps only; None if it also reaches another node."""
    if any(output.name == name for output in graph.proto.output):
        return None
    fed: list[onnx.NodeProto] = []
    for node in graph.consumers(name):
        if node.op_type == "Conv" and node.input[0] == name and graph.constants.get(node.input[1]) is not None:
            fed.append(node)
        elif node.op_type in _LINEAR and (further := _fed_linearly(graph, node.output[0])) is not None:
            fed += further
        else:
            return None
    return fed


def _transpose_bytes(graph: _Graph, cast: onnx.NodeProto) -> None:
    """Move the channels to the front once and while they are bytes, a quarter of the size of floats."""
    readers = graph.consumers(cast.output[0])
    if not all(_is_moved(graph, node) for node in readers):
        return
    image = cast.input[0]
    moved = f"{image}_channels_first"
    for node in readers:
        if node.op_type == "Slice":
            (transpose,) = graph.consumers(node.output[0])
            axes = graph.constants[node.input[3]]
            places = np.array([CHANNELS_FIRST.index(int(axis)) for axis in axes], np.int64)
            cut = [node.input[0], *node.input[1:3], graph.add_constant(f"{node.input[3]}_moved", places)]
            graph.replace([node, transpose], helper.make_node("Slice", cut, transpose.output, name=node.name))
        else:
            for follower in graph.consumers(node.output[0]):
                follower.input[list(follower.input).index(node.output[0])] = cast.output[0]
            graph.proto.node.remove(node)
    transpose = helper.make_node("Transpose", [image], [moved], perm=CHANNELS_FIRST)
    cast.input[0] = moved
    graph.proto.node.insert(0, transpose)


def _is_moved(graph: _Graph, node: onnx.NodeProto) -> bool:
    """Whether a node moves the channels to the front, or cuts a region whose only reader does."""
    if node.op_type == "Slice":
        following = graph.consumers(node.output[0])
        has_axes = len(node.input) == 4 and graph.constants.get(node.input[3]) is not None
        return has_axes and len(following) == 1 and _is_moved_alone(following[0])
    return _is_moved_alone(node)


def _is_moved_alone(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and list(helper.get_node_attr_value(node, "perm")) == CHANNELS_FIRST
