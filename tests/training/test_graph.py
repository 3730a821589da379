"""The rewritten graph: fewer nodes, the same answers, and no change where a pattern differs."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from training.export import to_onnx
from training.graph import simplify
from training.model.network import as_shipped, build_network
from training.model.preset import Preset

ONE = Preset(size=32, filters=(4, 8))
AVERAGED = Preset(size=32, filters=(4, 8), head="average", dense=4, pooling="average")
TWO = Preset(
    size=128, filters=(4, 8), band_filters=(4, 8), head="average and maximum", normalisation="before activation"
)


@pytest.mark.parametrize("preset", [ONE, AVERAGED, TWO], ids=["one tower", "averaged", "two towers"])
def test_an_exported_network_computes_no_shapes_and_scales_no_pixels(preset: Preset) -> None:
    network = build_network(preset)
    for layer in network.layers:
        if "BatchNormalization" in type(layer).__name__:  # Otherwise every factor is 1 and every summand 0.
            layer.set_weights([np.linspace(0.5, 2, len(weights)) for weights in layer.get_weights()])
    shipped = as_shipped(network)
    graph = to_onnx(shipped, preset.size)
    operations = Counter(node.op_type for node in graph.graph.node)
    assert operations["Shape"] == operations["Concat"] - 2 * bool(preset.band_filters) == 0
    merged = preset.normalisation == "before activation"
    assert operations["BatchNormalization"] == (0 if merged else len(preset.filters))
    first = [node.op_type for node in graph.graph.node[:3]]
    assert first[:2] == ["Transpose", "Cast"] and first[2] != "Mul"
    images = np.random.default_rng(1).integers(0, 256, (3, preset.size, preset.size, 3), np.uint8)
    expected = shipped.predict(images.astype(np.float32), verbose=0)
    names = [output.name for output in graph.graph.output]
    found = dict(zip(names, ReferenceEvaluator(graph).run(None, {"image": images}), strict=True))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def rescaled(*readers: onnx.NodeProto, outputs: dict[str, list[int]]) -> onnx.ModelProto:
    """Bytes divided by 4, read by the nodes."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "quarter"], ["pixels"]),
        *readers,
    ]
    constants = {
        "quarter": np.float32(0.25),
        "weights": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
        "first": np.array([1, 2], np.int64),
        "end": np.array([4, 6], np.int64),
        "axes": np.array([1, 2], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


MOVED = helper.make_node("Transpose", ["pixels"], ["moved"], perm=[0, 3, 1, 2])
CUT = helper.make_node("Slice", ["pixels", "first", "end", "axes"], ["cut"])


@pytest.mark.parametrize(
    ("readers", "outputs", "operations"),
    [
        pytest.param(
            [MOVED, helper.make_node("Conv", ["moved", "weights"], ["out"])],
            {"out": [1, 2, 7, 7]},
            ["Transpose", "Cast", "Conv"],
            id="a convolution",
        ),
        pytest.param(
            [
                CUT,
                helper.make_node("Transpose", ["cut"], ["band"], perm=[0, 3, 1, 2]),
                helper.make_node("Conv", ["band", "weights"], ["out"]),
            ],
            {"out": [1, 2, 2, 3]},
            ["Transpose", "Cast", "Slice", "Conv"],
            id="a region",
        ),
        pytest.param(
            [MOVED, helper.make_node("Sigmoid", ["moved"], ["out"])],
            {"out": [1, 3, 8, 8]},
            ["Cast", "Mul", "Transpose", "Sigmoid"],
            id="a step that is not linear",
        ),
        pytest.param(
            [helper.make_node("Transpose", ["pixels"], ["out"], perm=[0, 2, 1, 3])],
            {"out": [1, 8, 8, 3]},
            ["Cast", "Mul", "Transpose"],
            id="another order of axes",
        ),
        pytest.param(
            [
                MOVED,
                helper.make_node("Conv", ["moved", "weights"], ["out"]),
                helper.make_node("Shape", ["image"], ["size"]),
                helper.make_node("Cast", ["size"], ["shape"], to=TensorProto.FLOAT),
            ],
            {"out": [1, 2, 7, 7], "shape": [4]},
            ["Cast", "Mul", "Transpose", "Conv", "Shape", "Cast"],
            id="another reader of the image",
        ),
        pytest.param(
            [CUT, helper.make_node("Sigmoid", ["cut"], ["out"])],
            {"out": [1, 3, 4, 3]},
            ["Cast", "Mul", "Slice", "Sigmoid"],
            id="a region that stays channels-last",
        ),
    ],
)
def test_the_input_is_rewritten_only_where_the_answer_stays(
    readers: list[onnx.NodeProto], outputs: dict[str, list[int]], operations: list[str]
) -> None:
    model = rescaled(*readers, outputs=outputs)
    image = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), np.uint8)
    expected = ReferenceEvaluator(model).run(None, {"image": image})
    simplify(model)
    assert [node.op_type for node in model.graph.node] == operations
    found = ReferenceEvaluator(model).run(None, {"image": image})
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5)
