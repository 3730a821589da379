"""Run the model: pixels in, probabilities out, on the CPU or on a CUDA device."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from gate.card import METADATA_KEY, CardText
from gate.errors import DeviceError, ModelError, ScoringError
from gate.extras import how_to_install
from gate.model_store import Model
from gate.onnx_runtime import onnxruntime
from gate.time_limit import TimeLimit
from gate.types import Device, Pixels

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
_NO_FOLDER = "/dev/null"
_ROUNDING = 1e-6  # ONNX Runtime's Sigmoid returns 1.0000001 for some logits, and on some processors -6e-8 for others.
_CPU_IMAGES = 4  # The activations of more images do not fit into a core's own cache, and the run takes a tenth longer.


@dataclass(frozen=True, slots=True)
class Score:
    """The model's outputs for one image."""

    probability: float
    novelty: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The model's outputs for N images, each float32 `[N]`; `novelty` is None if the graph has no such output."""

    probability: NDArray[np.float32]
    novelty: NDArray[np.float32] | None

    def each(self) -> list[Score]:
        """Return one `Score` per image, in order."""
        probabilities = map(_shortest, self.probability)
        novelties = [None] * len(self.probability) if self.novelty is None else map(_shortest, self.novelty)
        return [Score(probability, novelty) for probability, novelty in zip(probabilities, novelties, strict=True)]


class Scorer:
    """An ONNX Runtime session of one model. Safe to call from several threads.

    Args:
        model: the verified model.
        device: `cuda` is an error if CUDA cannot be used; `auto` uses it if possible.
        limit: a time limit for loading that has already started; the default is a new one.
        io_binding: let ONNX Runtime copy to and from the device by bound buffers; the default is only on CUDA.

    Raises:
        DeviceError: the device or the runtime cannot be used.
        ModelError: the graph does not load in time, or differs from its card.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: Device = "auto",
        limit: TimeLimit | None = None,
        io_binding: bool | None = None,
    ) -> None:
        self.size = model.card.input.size
        self._limit: TimeLimit | None = None
        with TimeLimit() if limit is None else nullcontext(limit) as begun, self.limited(begun):
            self._session = _open_session(model.graph, device, begun)
            provider = self.provider
            self._binds = provider == CUDA if io_binding is None else io_binding
            self._images_per_run = _CPU_IMAGES if provider == CPU else None
            self._outputs = [output.name for output in self._session.get_outputs()]
            self._batch_sizes: tuple[int, ...] = ()
            self._check_graph(model)
            self._warm(1)

    @property
    def provider(self) -> str:
        """The execution provider that runs the graph."""
        return str(self._session.get_providers()[0])

    @contextmanager
    def limited(self, limit: TimeLimit) -> Iterator[None]:
        """Apply a started time limit to the runs of the block; for use by one thread."""
        self._limit = limit
        try:
            yield
        finally:
            self._limit = None

    def fix_batch_sizes(self, largest: int) -> None:
        """Run only batch sizes that are powers of two, up to the first that holds `largest` images; run each once now.

        Batches between them are filled up with black images.
        """
        self._batch_sizes = tuple(2**power for power in range((largest - 1).bit_length() + 1))
        for count in self._batch_sizes:
            self._warm(count)

    def score(self, images: Pixels) -> Scores:
        """Score `images`, uint8 `[N, S, S, 3]`, N >= 1.

        Raises:
            ScoringError: the graph failed, or answered other than N probabilities.
        """
        answers = self.run(images)
        probability = answers["glasses_probability"]
        if probability.min() < -_ROUNDING or probability.max() > 1.0 + _ROUNDING:
            raise ScoringError("the model's glasses_probability lies outside [0, 1]")
        return Scores(probability.clip(0.0, 1.0), answers.get("novelty"))

    def run(self, images: Pixels) -> dict[str, NDArray[np.float32]]:
        """All outputs of the graph by name, each float32 `[N]`, for `images`, uint8 `[N, S, S, 3]`.

        Raises:
            ScoringError: the graph failed, or did not return N finite numbers.
            ModelError: the run exceeded its time limit.
        """
        count = len(images)
        try:
            values = self._run(self._fill(images))
        except Exception as error:  # ONNX Runtime's exceptions have no common base class.
            _check_time(self._limit, error)
            raise ScoringError(f"the model failed on a batch of {count}: {error}") from error
        answers = dict(zip(self._outputs, (value[:count] for value in values), strict=True))
        for name, answer in answers.items():
            if answer.shape != (count,) or not np.isfinite(answer).all():
                raise ScoringError(f"the model's {name} is not {count} finite numbers")
        return answers

    def _run(self, images: Pixels) -> list[NDArray[np.float32]]:
        options = self._limit and self._limit.run_options
        if not self._binds:
            step = (None if self._batch_sizes else self._images_per_run) or len(images)
            parts = (images[first : first + step] for first in range(0, len(images), step))
            answers = [self._session.run(self._outputs, {"image": part}, options) for part in parts]
            return [np.concatenate(values) for values in zip(*answers, strict=True)] if len(answers) > 1 else answers[0]
        # A new binding for each run: a shared one would mix up the images of two threads.
        binding = self._session.io_binding()
        binding.bind_cpu_input("image", np.ascontiguousarray(images))
        for name in self._outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding, options)
        return list(binding.copy_outputs_to_cpu())

    def _warm(self, count: int) -> None:
        self.score(np.zeros((count, self.size, self.size, 3), np.uint8))

    def _fill(self, images: Pixels) -> Pixels:
        count = len(images)
        target = next((size for size in self._batch_sizes if size >= count), count)
        if target == count:
            return images
        filled = np.zeros((target, *images.shape[1:]), np.uint8)
        filled[:count] = images
        return filled

    def _check_graph(self, model: Model) -> None:
        card = model.card
        inputs = [(value.name, value.type, list(value.shape)) for value in self._session.get_inputs()]
        fixed = [(name, kind, shape[1:]) for name, kind, shape in inputs]
        if fixed != [("image", "tensor(uint8)", [self.size, self.size, 3])] or isinstance(inputs[0][2][0], int):
            raise ModelError(f"the graph's inputs {inputs} are not the [N, {self.size}, {self.size}, 3] its card names")
        outputs = {value.name: value.type for value in self._session.get_outputs()}
        if outputs != dict.fromkeys(card.outputs, "tensor(float)") or "glasses_probability" not in outputs:
            raise ModelError(f"the graph's outputs {outputs} are not the float32 {list(card.outputs)} its card names")
        if card.novelty_threshold and "novelty" not in self._outputs:
            raise ModelError("the card has a novelty threshold, but the graph has no output novelty to hold against it")
        inside = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if inside is None:
            raise ModelError(f"the graph holds no card under {METADATA_KEY}: it was not exported by lensgate train")
        if _parse_inside(inside) != card.text():
            raise ModelError(
                "the card inside the graph differs from the card beside it: restore card.json, or export again"
            )


def _parse_inside(text: str) -> CardText:
    try:
        return CardText.parse(text)
    except ModelError as error:
        raise ModelError(f"inside the graph, {error}") from error


def _shortest(value: np.float32) -> float:
    """Return the shortest decimal that is still this float32: 0.9731, not 0.9731000065803528.

    Decisions use the same number, so a decision never contradicts the probability shown with it.
    """
    return float(str(value))


def check_runtime() -> None:
    """Check that exactly one of `onnxruntime` and `onnxruntime-gpu` is installed: each overwrites the other's files.

    Raises:
        DeviceError: both or neither are installed.
    """
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(installed) != 1:
        present = "both are installed" if installed else "neither is installed"
        raise DeviceError(f"the extras `cpu` and `gpu` exclude each other and one is needed, but {present}")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_time(limit: TimeLimit | None, error: Exception) -> None:
    if limit is not None and limit.is_over:
        raise ModelError(
            f"the model was not loaded and proven within {limit.seconds:g} s: its graph may loop forever"
        ) from error


def _open_session(graph: bytes, device: Device, limit: TimeLimit) -> onnxruntime.InferenceSession:
    if device not in get_args(Device):
        raise DeviceError(f"the device must be one of {', '.join(get_args(Device))}, not {device!r}")
    check_runtime()
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DeviceError(f"LENSGATE_DEVICE=cuda, but this ONNX Runtime has no CUDA: {how_to_install('gpu')}")
    use_cuda = has_cuda and device != "cpu"
    if use_cuda:
        onnxruntime.preload_dlls()  # Finds the CUDA and cuDNN libraries that pip installed.
    providers: list[Any] = [(CUDA, _CUDA_OPTIONS)] if use_cuda else []
    try:
        session = onnxruntime.InferenceSession(graph, _session_options(limit), providers=[*providers, CPU])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class.
        _check_time(limit, error)
        if _NO_FOLDER in str(error):
            raise ModelError(
                "the graph keeps weights in other files, which the hash in its card does not cover: save it as one file"
            ) from error
        raise ModelError(f"ONNX Runtime cannot load the graph: {error}") from error
    # With the fallback a CUDA fault at run time would silently move the model to the CPU.
    session.disable_fallback()
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceError("LENSGATE_DEVICE=cuda, but no CUDA device could be used: see ONNX Runtime's message above")
    return session


def _session_options(limit: TimeLimit) -> onnxruntime.SessionOptions:
    options = limit.session_options
    # Decoding needs the cores more than a graph of 0.3 ms; spinning threads would occupy them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Otherwise weights would be read from files of the working directory, which no hash covers.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
    return options
