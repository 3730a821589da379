"""Export a trained network to `model.onnx` and `card.json`, verified against Keras before writing."""

import base64
import functools
import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from PIL import Image

from common.storage import AnyPath
from gate import Card, Model, ModelStore, area_average, read_pixels
from gate.card import (
    METADATA_KEY,
    Calibration,
    CardText,
    CardTraining,
    GoldenSample,
    ModelInput,
    ReferenceHistogram,
)
from gate.default_models import MODEL_NAME
from gate.golden import check_golden
from gate.model_store import CURRENT_FILE
from gate.onnx_runtime import onnxruntime
from gate.pixels import Pixels
from gate.scorer import Scorer
from training.data.dataset import MIN_IMAGES, Split
from training.data.records import Manifest, Records, load_records
from training.drawing import Eyewear, draw_face
from training.errors import ExportError, RecordsError
from training.evaluation.evaluate import discarded_by_kind, evaluate_by_data_set, reference_histogram, score_images
from training.evaluation.guarantees import Guarantees
from training.graph import simplify
from training.model.network import as_shipped
from training.model.train import FitRun, FittedModel

OPSET = 17
KIND_IMAGES = 200  # source portraits for each kind of outlier
LARGEST_DIFFERENCE = 1e-5
LARGEST_RELATIVE_DIFFERENCE = 1e-4  # of a logit, whose range is not bounded like a probability's
GOLDEN_SEED = 11  # Faces outside every data set: memorised images would prove little.
TOOLS = (keras, np, onnx, onnxruntime, tf, tf2onnx)


def export_model(
    fitted: FittedModel,
    records: AnyPath,
    out: Path,
    *,
    promised: Guarantees | None = None,
    version: str | None = None,
    command: str,
) -> Card:
    """Convert, verify, evaluate and write one version under `out / glasses`; the first version becomes current.

    `promised` holds the results of calibration and certification; without it the temperature is 1, the band is the
    paper's and there is no novelty output. The folder of a version is created atomically.

    Raises:
        ExportError: graph and network differ by more than 1e-5.
        ModelError: the name of the version is taken or not valid.
        RecordsError: the network was fitted to other records, so their test split is not independent.
    """
    promised = promised or Guarantees()
    store = ModelStore(out, MODEL_NAME)
    version = store.free_version(version)
    manifest = Manifest.read(records)
    if fitted.run.records != manifest.fingerprint():
        raise RecordsError(f"the network was fitted to other records than {records}: run `lensgate train fit` again")
    size = fitted.run.preset.size
    shipped = as_shipped(
        fitted.network, temperature=promised.temperature, novelty=promised.novelty_output(fitted.network)
    )
    text = _card_text(fitted, manifest, promised, version=version, command=command)
    model = _with_metrics(to_onnx(shipped, size), text, load_records(records, Split.TEST, size=size))
    exported = Scorer(model, device="cpu")
    check_graph(shipped, exported, load_records(records, *Split, size=size).images)
    check_golden(exported, model.card)
    store.add(model)
    if not (store.folder / CURRENT_FILE).exists():
        store.promote(version)
    return model.card


def to_onnx(network: keras.Model, size: int) -> onnx.ModelProto:
    """Convert a functional model that returns a dict; input `image` is uint8 `[N, size, size, 3]` with variable N."""

    @tf.function(  # type: ignore[untyped-decorator,unused-ignore]
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")]
    )
    def answer(image: Any) -> Any:
        return network(tf.cast(image, tf.float32), training=False)

    graph: onnx.ModelProto
    graph, _ = tf2onnx.convert.from_function(answer, input_signature=answer.input_signature, opset=OPSET)
    simplify(graph)
    return graph


def check_graph(network: keras.Model, scorer: Scorer, images: Pixels) -> float:
    """Compare all outputs of graph and network on `images`; return the largest difference in probability.

    Raises:
        ExportError: that difference is above 1e-5, another output differs by more than 1e-4 of max(1, its value), or
            there are fewer than 256 images.
    """
    refuse_few(len(images))
    expected = network.predict(images.astype(np.float32), batch_size=64, verbose=0)
    parts = [scorer.run(part) for part in np.array_split(images, 8)]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in expected}
    for name, values in expected.items():
        if not np.all(np.abs(outputs[name] - values) <= LARGEST_RELATIVE_DIFFERENCE * np.maximum(1, np.abs(values))):
            raise ExportError(f"the exported graph differs from the network in {name}")
    largest = float(np.abs(outputs["glasses_probability"] - expected["glasses_probability"]).max())
    if not largest <= LARGEST_DIFFERENCE:
        raise ExportError(f"the exported graph differs from the network by {largest:.1e} in probability")
    return largest


def refuse_few(images: int) -> None:
    """Raise ExportError if records hold too few images to verify an export."""
    if images < MIN_IMAGES:
        raise ExportError(
            f"the export is verified on {MIN_IMAGES} images, but the records hold {images}: add images, or drawn "
            "faces (`lensgate train draw`) as --auxiliary"
        )


def golden_samples(scorer: Scorer) -> tuple[GoldenSample, ...]:
    """Score one drawn portrait with each kind of eyewear; the portraits are the same for every model."""
    samples = []
    for eyewear in Eyewear:
        png = _as_png(area_average(_golden_face(eyewear), scorer.size))
        (score,) = scorer.score(read_pixels(png, scorer.size)[np.newaxis]).each()
        samples.append(
            GoldenSample(
                name=eyewear,
                png=base64.b64encode(png),
                glasses_probability=score.probability,
                novelty=score.novelty,
            )
        )
    return tuple(samples)


@functools.cache
def _golden_face(eyewear: Eyewear) -> Pixels:
    rng = np.random.default_rng([GOLDEN_SEED, list(Eyewear).index(eyewear)])
    return np.asarray(draw_face(rng, eyewear))


def _as_png(pixels: Pixels) -> bytes:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", optimize=True)
    return png.getvalue()


def _card_text(
    fitted: FittedModel, manifest: Manifest, promised: Guarantees, *, version: str, command: str
) -> CardText:
    return CardText(
        name=MODEL_NAME,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        input=ModelInput(size=fitted.run.preset.size),
        outputs=("glasses_probability", "glasses_logit", *(["novelty"] if promised.head else [])),
        band=promised.card_band(),
        calibration=Calibration(temperature=promised.temperature),
        novelty_threshold=promised.card_threshold(),
        data=manifest.data,
        training=_training(fitted.run, manifest, command),
        metrics={},
        reference_histogram=ReferenceHistogram(edges=(0.0, 0.5, 1.0), counts=(1, 1)),
        tools={tool.__name__: str(tool.__version__) for tool in TOOLS},
    )


def _with_metrics(graph: onnx.ModelProto, text: CardText, test: Records) -> Model:
    """Complete the card after the graph has run, because the metrics are those of the exported graph."""
    scorer = Scorer(_model(graph, text), device="cpu")
    text = _measured(scorer, text, test)
    return _model(graph, text.model_copy(update={"golden": golden_samples(scorer)}))


def _measured(scorer: Scorer, text: CardText, test: Records) -> CardText:
    """Add the metrics of the graph on the test split, and on outliers made from its portraits."""
    judged = score_images(scorer, text, test.images)
    # Live scores are compared with images that the guarantee covers.
    promised = np.isin(test.data_sets, [data.name for data in text.data if Split.CALIBRATION in data.images])
    threshold = text.novelty_threshold
    if threshold:
        faces = test.select(promised).images[:KIND_IMAGES]
        threshold = threshold.model_copy(update={"kinds": discarded_by_kind(scorer, text, faces, seed=0)})
    return text.model_copy(
        update={
            "metrics": evaluate_by_data_set(judged, test, text),
            "reference_histogram": reference_histogram(judged.probability[promised]),
            "novelty_threshold": threshold,
        }
    )


def _training(run: FitRun, manifest: Manifest, command: str) -> CardTraining:
    # With `train all`, the three commands are one.
    commands = dict.fromkeys((manifest.command, run.command, command))
    return CardTraining(commands=tuple(commands), split_seed=manifest.seed, **run.model_dump(exclude={"command"}))


def _model(graph: onnx.ModelProto, text: CardText) -> Model:
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: text.model_dump_json()})
    data = graph.SerializeToString()
    return Model(Card(**dict(text), sha256=hashlib.sha256(data).hexdigest()), data)
