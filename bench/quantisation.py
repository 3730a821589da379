"""Compare a model with its statically quantised INT8 versions: size, time and decisions.

    python -m bench.quantisation models runs/records

Calibration uses images of the records' train split. `convolutions` keeps everything else of the graph in float;
`all` quantises every operation that ONNX Runtime can. Times are processor time of one thread, which depends little on
other load, taken in turns and shown as multiples of the float model's in the same round. A decision agrees if label and
action are equal; the wrong ones are accepted images whose label is not the records'.
"""

import argparse
import hashlib
import importlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from bench.model_cost import print_costs
from gate import Model, ModelStore
from gate.card import METADATA_KEY
from gate.onnx_runtime import onnxruntime
from gate.pixels import Pixels
from gate.scorer import Scorer
from training.data.dataset import Split
from training.data.records import Records, load_records
from training.evaluation.evaluate import GateScores, score_images

CALIBRATION_IMAGES = 256
CALIBRATION_BATCH = 32
OPERATIONS: dict[str, list[str] | None] = {"convolutions": ["Conv"], "all": None}


# By name, after the adapter of `gate` has turned the telemetry off.
quantization = importlib.import_module(f"{onnxruntime.__name__}.quantization")
shape_inference = importlib.import_module(f"{onnxruntime.__name__}.quantization.shape_inference")


class _TrainImages(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    def __init__(self, images: Pixels) -> None:
        parts = (images[first : first + CALIBRATION_BATCH] for first in range(0, len(images), CALIBRATION_BATCH))
        self._batches: Iterator[dict[str, Pixels]] = ({"image": part} for part in parts)

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the next batch."""
        return next(self._batches, None)


def main(models: Path, records: Path, version: str | None = None) -> int:
    """Print the tables; return the exit status."""
    model = ModelStore(models).load(version)
    size = model.card.input.size
    train = load_records(records, Split.TRAIN, size=size)
    chosen = np.random.default_rng(0).permutation(len(train))[:CALIBRATION_IMAGES]
    contenders = {"float": model} | {
        name: quantise(model, train.images[chosen], operations=operations) for name, operations in OPERATIONS.items()
    }
    scorers = {name: Scorer(one, device="cpu") for name, one in contenders.items()}
    print(f"{model.card.name} {model.card.version}, {size} x {size}, calibrated on {len(chosen)} images")
    sizes = {name: len(one.graph) for name, one in contenders.items()}
    print_costs(sizes, scorers, dict.fromkeys(contenders, train.images))
    _print_decisions(model, scorers, {split: load_records(records, split, size=size) for split in Split})
    return 0


def quantise(model: Model, images: Pixels, *, operations: Sequence[str] | None) -> Model:
    """Quantise to INT8 weights, one scale for each channel, and INT8 activations with scales from `images`.

    Args:
        model: the float model.
        images: uint8 `[N, S, S, 3]`.
        operations: ONNX operations to quantise; None means all that can be.
    """
    with tempfile.TemporaryDirectory() as work:
        source, prepared, target = (Path(work) / name for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(model.graph)
        shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            _TrainImages(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=operations,
        )
        graph = onnx.load(target)
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: model.card.text().model_dump_json()})
    data = graph.SerializeToString()
    return Model(model.card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()}), data)


def _print_decisions(model: Model, scorers: dict[str, Scorer], splits: dict[Split, Records]) -> None:
    print(f"\n{'split':12} {'':14} {'images':>6} {'log loss':>9} {'accuracy':>9} {'coverage':>9}", end="")
    print(f" {'wrong accepted':>14} {'agree':>7} {'largest difference':>19}")
    for split, records in splits.items():
        base = score_images(scorers["float"], model.card, records.images)
        for name, scorer in scorers.items():
            judged = base if name == "float" else score_images(scorer, model.card, records.images)
            print(f"{split:12} {name:14} {len(records):6} {_describe(judged, base, records.labels == 1)}", flush=True)


def _describe(judged: GateScores, base: GateScores, glasses: np.ndarray) -> str:
    probability = judged.probability
    right = (probability >= 0.5) == glasses
    likelihood = np.where(glasses, probability, 1 - probability).clip(1e-7, 1)
    pairs = zip(judged.decisions, base.decisions, strict=True)
    agree = np.mean([(one.label, one.action) == (other.label, other.action) for one, other in pairs])
    return (
        f"{-np.log(likelihood).mean():9.4f} {right.mean():9.4f} {judged.accepted.mean():9.4f} "
        f"{(judged.accepted & ~right).sum():14} {agree:7.4f} {np.abs(probability - base.probability).max():19.4f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.quantisation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", metavar="MODELS", type=Path, help="folder of models")
    parser.add_argument("records", metavar="RECORDS", type=Path, help="prepared records")
    parser.add_argument("version", metavar="VERSION", nargs="?", help="version of the model (the current one)")
    sys.exit(main(**vars(parser.parse_args())))
