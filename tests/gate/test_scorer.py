import hashlib
import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gate import Model, ModelError, ScoringError
from gate.card import METADATA_KEY, NoveltyThreshold
from gate.errors import DeviceError
from gate.onnx_runtime import onnxruntime
from gate.scorer import Scorer, Scores, check_runtime
from tests.support.images import flat
from tests.support.models import brightness_graph, brightness_model, card_text, model_of


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(brightness_model(), device="cpu")


def test_a_batch_is_scored_in_order(scorer: Scorer) -> None:
    scores = scorer.score(np.stack([flat(0, 32), flat(51, 32), flat(255, 32)]))
    np.testing.assert_allclose(scores.probability, [0, 0.2, 1], atol=1e-6)
    assert scores.novelty is None


def test_each_score_is_the_shortest_decimal_of_its_float32() -> None:
    scores = Scores(np.array([0.9731, 0.4], np.float32), np.array([1.25, 2], np.float32))
    assert [(score.probability, score.novelty) for score in scores.each()] == [(0.9731, 1.25), (0.4, 2.0)]


def test_a_large_batch_runs_in_parts_with_the_same_scores_as_single_images() -> None:
    scorer = Scorer(brightness_model(), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)
    alone = [scorer.run(image[np.newaxis]) for image in images]
    for name, found in scorer.run(images).items():
        np.testing.assert_allclose(found, np.concatenate([answers[name] for answers in alone]), rtol=1e-6)


def test_fixed_batch_sizes_are_filled_up_and_cut_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(brightness_model(), device="cpu")
    ran: list[int] = []
    run = onnxruntime.InferenceSession.run

    def spy(session: Any, outputs: list[str], inputs: dict[str, Any], options: object) -> Any:
        ran.append(len(inputs["image"]))
        return run(session, outputs, inputs, options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", spy)
    scorer.fix_batch_sizes(6)
    assert ran == [1, 2, 4, 8]
    scores = scorer.score(np.stack([flat(value, 32) for value in (0, 51, 102)]))
    assert ran[-1] == 4
    np.testing.assert_allclose(scores.probability, [0, 0.2, 0.4], atol=1e-6)


@pytest.mark.parametrize("largest", [None, 6])
def test_bound_buffers_give_the_same_results(largest: int | None) -> None:
    scorer, bound = (Scorer(brightness_model(), device="cpu", io_binding=binds) for binds in (False, True))
    for one in (scorer, bound) if largest else ():
        one.fix_batch_sizes(largest or 1)
    random = np.random.default_rng(0)
    for count in (1, 3, 5, 2):
        # Every other line of larger images: no buffer of its own.
        images = random.integers(0, 256, (count, 64, 32, 3), np.uint8)[:, ::2]
        expected = scorer.run(images)
        for name, found in bound.run(images).items():
            np.testing.assert_array_equal(found, expected[name])


def test_threads_do_not_share_bound_buffers() -> None:
    bound = Scorer(brightness_model(), device="cpu", io_binding=True)
    images = [np.stack([flat(value, 32)] * 3) for value in range(0, 250, 10)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: bound.score(image).probability, images * 4))
    for image, probability in zip(images * 4, found, strict=True):
        np.testing.assert_allclose(probability, [image[0, 0, 0, 0] / 255] * 3, atol=1e-6)


def test_a_fault_behind_bound_buffers_is_a_scoring_error() -> None:
    with pytest.raises(ScoringError, match="batch of 1"):
        Scorer(brightness_model(), device="cpu", io_binding=True).score(flat(0, 16)[None])


def test_the_provider_is_named(scorer: Scorer) -> None:
    assert scorer.provider == "CPUExecutionProvider"


def test_the_runtime_writes_no_lines_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """They are not JSON. It warns of unused weights, and on CUDA of operations that run on the CPU."""
    graph = brightness_graph(32)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "unused"))
    Scorer(model_of(graph, card_text()), device="cpu")
    assert capfd.readouterr().err == ""


def test_an_image_of_another_size_is_a_scoring_error(scorer: Scorer) -> None:
    with pytest.raises(ScoringError, match="batch of 1"):
        scorer.score(flat(0, 16)[None])


def _set_white(graph: onnx.ModelProto, white: float) -> None:
    """Set the mean that the graph scores 1."""
    (constant,) = (value for value in graph.graph.initializer if value.name == "white")
    constant.CopyFrom(onnx.numpy_helper.from_array(np.asarray(white, np.float32), "white"))


@pytest.mark.parametrize(("white", "fault"), [(0.0, "finite"), (100.0, r"outside \[0, 1\]")])
def test_invalid_probabilities_raise_a_scoring_error(white: float, fault: str) -> None:
    graph = brightness_graph(32)
    _set_white(graph, white)
    with pytest.raises(ScoringError, match=fault):
        Scorer(model_of(graph, card_text())).score(flat(200, 32)[None])


@pytest.mark.parametrize("inverted", [False, True])
def test_a_probability_that_is_rounded_past_its_end_is_the_end(inverted: bool) -> None:
    """ONNX Runtime's Sigmoid returns -6e-8 or 1.0000001 for some logits."""
    graph = brightness_graph(32, inverted=inverted)
    _set_white(graph, np.nextafter(np.float32(255), np.float32(0)))
    scores = Scorer(model_of(graph, card_text())).score(flat(255, 32)[None])
    assert scores.probability == (0.0 if inverted else 1.0)


def test_cuda_that_is_not_there_is_an_error_and_no_fallback() -> None:
    with pytest.raises(DeviceError, match=r"run pip install '\.\[gpu\]'"):
        Scorer(brightness_model(), device="cuda")


def test_invalid_graph_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="cannot load"):
        Scorer(Model(brightness_model().card, b"no graph"))


def test_weights_outside_the_graph_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime looks for them in the working directory, and no hash covers them."""
    monkeypatch.chdir(tmp_path)
    offsets = onnx.numpy_helper.from_array(np.zeros(256, np.float32), "offsets")
    onnx.external_data_helper.set_external_data(offsets, location="offsets.bin", offset=0, length=1024)
    (tmp_path / "offsets.bin").write_bytes(offsets.raw_data)
    offsets.ClearField("raw_data")
    graph = brightness_graph(32)
    graph.graph.initializer.append(offsets)
    graph.graph.node.insert(2, onnx.helper.make_node("Cast", ["mean"], ["level"], to=onnx.TensorProto.INT64))
    graph.graph.node.insert(3, onnx.helper.make_node("Gather", ["offsets", "level"], ["offset"]))
    (shown,) = (node for node in graph.graph.node if "glasses_probability" in node.output)
    shown.CopyFrom(onnx.helper.make_node("Add", ["bright", "offset"], ["glasses_probability"]))
    with pytest.raises(ModelError, match=r"weights in other files.*: save it as one file"):
        Scorer(model_of(graph, card_text()), device="cpu")


def test_a_card_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="inputs"):
        Scorer(model_of(brightness_graph(32), card_text(size=64)))


def test_a_card_that_names_other_outputs_is_refused() -> None:
    with pytest.raises(ModelError, match="outputs"):
        Scorer(brightness_model(outputs=("glasses_probability", "novelty")))


def test_outputs_that_are_not_float32_are_refused() -> None:
    """In float16, which converters write, all probabilities above 0.9998 are 1 and beyond any band."""
    graph = brightness_graph(32)
    graph.graph.node[-1].output[0] = "logit"
    graph.graph.node.append(onnx.helper.make_node("Cast", ["logit"], ["glasses_logit"], to=onnx.TensorProto.FLOAT16))
    graph.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ModelError, match=r"'glasses_logit': 'tensor\(float16\)'.* are not the float32"):
        Scorer(model_of(graph, card_text()))


def test_a_card_that_was_changed_beside_the_graph_is_refused() -> None:
    model = brightness_model()
    changed = model.card.model_copy(update={"tools": {"keras": "0"}})
    with pytest.raises(ModelError, match="differs from the card beside it"):
        Scorer(Model(changed, model.graph))


@pytest.mark.parametrize(
    ("installed", "fault"),
    [({"onnxruntime", "onnxruntime-gpu"}, "both are installed"), (set(), "neither is installed")],
)
def test_the_runtimes_exclude_each_other(installed: set[str], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(DeviceError, match=fault):
        check_runtime()


def test_a_graph_for_one_image_at_a_time_is_refused() -> None:
    graph = brightness_graph(32)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ModelError, match=r"\[N, 32, 32, 3\]"):
        Scorer(model_of(graph, card_text()))


def test_a_novelty_threshold_without_a_novelty_is_refused() -> None:
    with pytest.raises(ModelError, match="no output novelty"):
        Scorer(brightness_model(novelty_threshold=NoveltyThreshold(value=1.0, chosen_by="-")))


def test_a_graph_without_a_card_inside_is_refused() -> None:
    data = brightness_graph(32).SerializeToString()
    card = brightness_model().card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(ModelError, match="holds no card"):
        Scorer(Model(card, data))


def test_a_card_inside_the_graph_that_is_not_valid_is_told_from_the_one_beside_it() -> None:
    graph = brightness_graph(32)
    onnx.helper.set_model_props(graph, {METADATA_KEY: '{"name": "glasses"}'})
    data = graph.SerializeToString()
    card = brightness_model().card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(ModelError, match="inside the graph, the model's card is not valid: version: is required"):
        Scorer(Model(card, data))
