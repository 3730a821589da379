"""A trained network -> `model.onnx` and `card.json`, checked against Keras before anything is written."""

import base64
import functools
import hashlib
import io
import re
import shutil
import tempfile
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
    VERSION_PATTERN,
    Calibration,
    CardText,
    CardTraining,
    GoldenSample,
    ModelInput,
    ReferenceHistogram,
)
from gate.files import write_atomically
from gate.golden import check_golden
from gate.model_store import CARD_FILE, CURRENT_FILE, GRAPH_FILE
from gate.onnx_runtime import onnxruntime
from gate.pixels import Pixels
from gate.scorer import Scorer
from training.data.dataset import Split
from training.data.records import Manifest, Records, load_records
from training.draw import Eyewear, draw_face
from training.errors import ExportError, RecordsError
from training.evaluation.evaluate import discarded_by_kind, evaluate_by_data_set, judge, reference_histogram
from training.evaluation.guarantees import Promised
from training.model.network import as_shipped
from training.model.train import Fitted, Run

MODEL_NAME = "glasses"
OPSET = 17
CHECK_IMAGES = 256
KIND_IMAGES = 200  # made into each kind of image that is no portrait
LARGEST_DIFFERENCE = 1e-5
LARGEST_RELATIVE_DIFFERENCE = 1e-4  # of a logit, which sums what a probability squeezes together
GOLDEN_SEED = 11  # Of no data set's faces: what was learned by heart would prove little.
TOOLS = (keras, np, onnx, onnxruntime, tf, tf2onnx)


def export_model(
    fitted: Fitted,
    records: AnyPath,
    out: Path,
    *,
    promised: Promised | None = None,
    version: str | None = None,
    command: str,
) -> Card:
    """Convert, check, evaluate and write one version under `out / glasses`; the first one becomes the current.

    `promised` is what calibration and certificate found; without it the logit is left as it is, the band is the
    paper's and novelty is not judged. The folder of a version appears whole or not at all.

    Raises:
        ExportError: the graph and the network differ by more than 1e-5, or the version cannot be written.
        RecordsError: the network was not fitted to these records, so that their test split proves nothing.
    """
    promised = promised or Promised()
    folder = new_version(out, version)
    manifest = Manifest.read(records)
    if fitted.run.records != manifest.fingerprint():
        raise RecordsError(f"the network was fitted to other records than {records}: run `lensgate train fit` again")
    size = int(fitted.run.settings["size"])
    shipped = as_shipped(
        fitted.network, temperature=promised.temperature, novelty=promised.novelty_output(fitted.network)
    )
    graph = to_onnx(shipped, size)
    text = _write_text(fitted, manifest, promised, version=folder.name, command=command)
    # The figures are those of the exported graph; they can be put into its card only once it has been run.
    scorer = Scorer(_model(graph, text), device="cpu")
    text = _measured(scorer, text, load_records(records, Split.TEST, size=size))
    model = _model(graph, text.model_copy(update={"golden": golden_samples(scorer)}))
    exported = Scorer(model, device="cpu")
    check_graph(shipped, exported, load_records(records, *Split, size=size).images)
    check_golden(exported, model.card)
    _write_version(model, folder)
    if not (folder.parent / CURRENT_FILE).exists():
        ModelStore(out, MODEL_NAME).promote(folder.name)
    return model.card


def new_version(out: Path, version: str | None) -> Path:
    """The folder that an export of `version`, by default the next number, would write.

    Raises:
        ExportError: the version exists, or its name is none.
    """
    store = ModelStore(out, MODEL_NAME)
    version = version or _next_version(store)
    if not re.fullmatch(VERSION_PATTERN, version):
        raise ExportError(f"{version!r} is no name for a version: letters, digits, '.', '_' and '-', 64 at most")
    folder = store.folder / version
    if folder.exists():
        raise ExportError(f"{folder} exists: a version is never overwritten, name another with --version")
    return folder


def to_onnx(network: keras.Model, size: int) -> onnx.ModelProto:
    """Convert a functional model that returns a dict; input `image` is uint8 `[N, size, size, 3]`, N free."""

    @tf.function(  # type: ignore[untyped-decorator,unused-ignore]
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")]
    )
    def answer(image: Any) -> Any:
        return network(tf.cast(image, tf.float32), training=False)

    graph: onnx.ModelProto
    graph, _ = tf2onnx.convert.from_function(answer, input_signature=answer.input_signature, opset=OPSET)
    return graph


def check_graph(network: keras.Model, scorer: Scorer, images: Pixels) -> float:
    """Hold graph against network, output by output, on `images`; the largest difference in probability.

    Raises:
        ExportError: it is above 1e-5, another output differs by more than 1e-4 of its value (of 1, where that is
            less), or there are fewer than 256 images.
    """
    if len(images) < CHECK_IMAGES:
        raise ExportError(f"the export is checked on {CHECK_IMAGES} images, but the records hold {len(images)}")
    expected = network.predict(images.astype(np.float32), batch_size=64, verbose=0)
    parts = [scorer.run(part) for part in np.array_split(images, 8)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in expected}
    for name, one in expected.items():
        if not np.all(np.abs(found[name] - one) <= LARGEST_RELATIVE_DIFFERENCE * np.maximum(1, np.abs(one))):
            raise ExportError(f"the exported graph differs from the network in {name}")
    largest = float(np.abs(found["glasses_probability"] - expected["glasses_probability"]).max())
    if not largest <= LARGEST_DIFFERENCE:
        raise ExportError(f"the exported graph differs from the network by {largest:.1e} in probability")
    return largest


def golden_samples(scorer: Scorer) -> tuple[GoldenSample, ...]:
    """A drawn portrait with each kind of eyewear, the same ones for every model, and what `scorer` says of them."""
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


def _write_text(fitted: Fitted, manifest: Manifest, promised: Promised, *, version: str, command: str) -> CardText:
    return CardText(
        name=MODEL_NAME,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        input=ModelInput(size=int(fitted.run.settings["size"])),
        outputs=("glasses_probability", "glasses_logit", *(["novelty"] if promised.head else [])),
        band=promised.card_band(),
        calibration=Calibration(temperature=promised.temperature),
        novelty_threshold=promised.card_threshold(),
        data=manifest.data,
        training=_training(fitted.run, manifest, command),
        metrics={},
        reference_histogram=ReferenceHistogram(edges=(0.0, 1.0), counts=(1,)),
        tools={tool.__name__: str(tool.__version__) for tool in TOOLS},
    )


def _measured(scorer: Scorer, text: CardText, test: Records) -> CardText:
    """The card with what the graph does on the test split, and on what was made of its portraits."""
    judged = judge(scorer, text, test.images)
    # What is live is held against images of the kind that something is promised of.
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


def _training(run: Run, manifest: Manifest, command: str) -> CardTraining:
    # `train all` is one command for all three.
    commands = dict.fromkeys((manifest.command, run.command, command))
    return CardTraining(commands=tuple(commands), split_seed=manifest.seed, **run.model_dump(exclude={"command"}))


def _model(graph: onnx.ModelProto, text: CardText) -> Model:
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: text.model_dump_json()})
    data = graph.SerializeToString()
    return Model(Card(**dict(text), sha256=hashlib.sha256(data).hexdigest()), data)


def _next_version(store: ModelStore) -> str:
    numbers = [int(version) for version in store.versions() if version.isdigit()]
    return str(max(numbers, default=0) + 1)


def _write_version(model: Model, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        write_atomically(temporary / GRAPH_FILE, model.graph)
        write_atomically(temporary / CARD_FILE, (model.card.model_dump_json(indent=2) + "\n").encode())
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
