"""`Gate`: the decision of the served model in this process, without a service."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NoReturn

import numpy as np

from common.terminal import printable
from gate.cores import usable_cores
from gate.decision import Action, Band, Label, Reason
from gate.default_models import default_models
from gate.errors import ImageError, UnsupportedImage
from gate.files import read_regular
from gate.golden import open_scorer
from gate.model_store import ModelStore
from gate.pixels import area_average, check_edges, read_pixels
from gate.scorer import Score
from gate.types import Device, Pixels

ImageInput = bytes | bytearray | memoryview | str | PathLike[str] | PathLike[bytes] | Pixels
"""The bytes of a PNG, JPEG or WebP file, the path of one, or pixels: RGB, uint8 `[H, H, 3]`."""

MAX_FILE_BYTES = 256 * 2**20
"""Largest file that a path may name."""

_BATCH_SIZE = 32

_SHOWN_CHARACTERS = 200
"""Longer paths are shortened in errors: base64 text passed as a path has megabytes."""


class UnreadableFile(ImageError):
    """The path does not name a file that can be read."""

    code = "unreadable_file"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one image, with the names of the service's answer.

    `novelty` is None if the model has no novelty score.
    """

    glasses_probability: float
    label: Label
    decision: Action
    reason: Reason
    novelty: float | None
    band: Band
    model_name: str
    model_version: str

    @property
    def accepted(self) -> bool:
        """Whether the image is to be kept."""
        return self.decision is Action.ACCEPT


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """One of several images that could not be judged; the others are not affected."""

    error: ImageError

    def __post_init__(self) -> None:
        # The traceback's frames would keep the image in memory.
        self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None

    @property
    def code(self) -> str:
        """The code of the error: `not_square`, `corrupt_image` or similar."""
        return self.error.code

    @property
    def detail(self) -> str:
        """The error text for people."""
        return str(self.error)

    @property
    def accepted(self) -> bool:
        """Always False."""
        return False


_Decoding = Future[Pixels | ImageFailed]


class Gate:
    """One version of the model with its band. Thread-safe; a forked process makes its own.

    The model is verified as the service verifies it: hash, card and golden samples. Environment variables are not read.

    Args:
        models: folder of exported models; by default `models` here if it holds a model, otherwise the installed model.
        version: of the model; by default the current one.
        device: `auto`, `cpu` or `cuda`; `cuda` is an error without a GPU.
        band_low: lowest discarded probability, instead of the card's.
        band_high: highest discarded probability, instead of the card's.

    Raises:
        ModelError: the model is missing, damaged, or scores its golden samples differently here.
        DeviceError: the device is unknown, or it or the runtime cannot be used.
        ScoringError: the model failed on its golden samples.
        ValueError: the band is not valid.
    """

    def __init__(
        self,
        models: str | PathLike[str] | None = None,
        *,
        version: str | int | None = None,
        device: Device = "auto",
        band_low: float | None = None,
        band_high: float | None = None,
    ) -> None:
        store = ModelStore(default_models() if models is None else Path(models))
        model = store.load(None if version is None else str(version))
        self.card = model.card
        self.band = model.card.band.changed(band_low, band_high)
        self._scorer = open_scorer(model, device=device, max_batch_size=_BATCH_SIZE)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError; pickle's own text would name a class of ONNX Runtime."""
        raise TypeError("a Gate cannot be copied or pickled: create one in each process")

    def decide(self, image: ImageInput, expected: Label | str | None = None) -> Decision:
        """Return the decision about one image.

        Args:
            image: see `ImageInput`; an array must not change during the call.
            expected: the label that the generator was asked for.

        Raises:
            ImageError: the image cannot be judged; `code` has the reason.
            ScoringError: the model failed.
            ValueError: `expected` is not a label.
        """
        label = _to_label(expected)
        pixels = _to_pixels(image, self._scorer.size)
        (score,) = self._scorer.score(pixels[np.newaxis]).each()
        return self._decide(score, label)

    def decide_many(
        self, images: Iterable[ImageInput], expected: Label | str | None = None
    ) -> list[Decision | ImageFailed]:
        """Return the outcomes of `decide_stream` as a list."""
        return list(self.decide_stream(images, expected))

    def decide_stream(
        self, images: Iterable[ImageInput], expected: Label | str | None = None
    ) -> Iterator[Decision | ImageFailed]:
        """Yield the outcome of each image, in order. The images are decoded on all cores, 32 at a time.

        An iterator may reuse a buffer or a file. Its error is raised after the outcomes of all earlier images.

        Args:
            images: the images, or pixels uint8 `[N, H, H, 3]`; they may be endless.
            expected: the label that the generator was asked for.

        Raises:
            ScoringError: the model failed.
            TypeError: `images` is one image or not iterable.
            ValueError: `expected` is not a label.
        """
        _check_images(images)
        is_stable = isinstance(images, list | tuple | np.ndarray)  # A data set may make its items in one buffer.
        return self._stream(iter(images), _to_label(expected), is_stable=is_stable)

    def _stream(
        self, images: Iterator[ImageInput], label: Label | None, *, is_stable: bool
    ) -> Iterator[Decision | ImageFailed]:
        error: Exception | None = None
        with ThreadPoolExecutor(usable_cores()) as pool:
            while True:
                batch: list[_Decoding] = []
                try:
                    for image in itertools.islice(images, _BATCH_SIZE):
                        batch.append(self._decode(image, pool, is_stable=is_stable))
                except Exception as caught:
                    error = caught
                yield from self._decide_batch(batch, label)
                if error is not None:
                    raise error
                if len(batch) < _BATCH_SIZE:
                    return

    def _decode(self, image: ImageInput, pool: Executor, *, is_stable: bool) -> _Decoding:
        """Begin to decode. Unless `is_stable`, read the image first: its buffer or file may be overwritten."""
        if not (is_stable or isinstance(image, np.ndarray)):
            try:
                image = bytes(_to_file(image))
            except ImageError as error:
                return _done(ImageFailed(error))
        decoding = pool.submit(_try_pixels, image, self._scorer.size)
        if not (is_stable or isinstance(image, bytes)):
            wait([decoding])
        return decoding

    def _decide_batch(self, batch: list[_Decoding], label: Label | None) -> Iterator[Decision | ImageFailed]:
        decoded = [decoding.result() for decoding in batch]
        pixels = [image for image in decoded if not isinstance(image, ImageFailed)]
        scores = iter(self._scorer.score(np.stack(pixels)).each() if pixels else ())
        for image in decoded:
            yield image if isinstance(image, ImageFailed) else self._decide(next(scores), label)

    def _decide(self, score: Score, expected: Label | None) -> Decision:
        decision = self.card.decide(score.probability, score.novelty, band=self.band, expected=expected)
        return Decision(
            glasses_probability=score.probability,
            label=decision.label,
            decision=decision.action,
            reason=decision.reason,
            novelty=score.novelty,
            band=self.band,
            model_name=self.card.name,
            model_version=self.card.version,
        )


def _check_images(images: object) -> None:
    if _is_one_image(images):
        raise TypeError("expected an iterable of images, not one image: pass a list, or call decide")
    if hasattr(images, "read"):  # Each line of the file would fail as an image.
        raise TypeError("expected an iterable of images, not a file object: pass its bytes in a list")
    if isinstance(images, Mapping):
        raise TypeError("expected an iterable of images, not a mapping: pass its values()")


def _is_one_image(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 3 and value.shape[2] == 3
    return isinstance(value, bytes | bytearray | memoryview | str | PathLike)


def _to_label(expected: Label | str | None) -> Label | None:
    try:
        return None if expected is None else Label(expected)
    except ValueError:
        raise ValueError(f"expected must be one of {', '.join(Label)}, or None, not {expected!r}") from None


def _done(outcome: ImageFailed) -> _Decoding:
    decoding = _Decoding()
    decoding.set_result(outcome)
    return decoding


def _try_pixels(image: ImageInput, size: int) -> Pixels | ImageFailed:
    try:
        return _to_pixels(image, size)
    except ImageError as error:
        return ImageFailed(error)


def _to_pixels(image: ImageInput, size: int) -> Pixels:
    """Return the model's input, uint8 `[size, size, 3]`."""
    if isinstance(image, np.ndarray):
        return _shrink(image, size)
    return read_pixels(_to_file(image), size)


def _to_file(image: bytes | bytearray | memoryview | str | PathLike[str] | PathLike[bytes]) -> bytes | bytearray:
    """Return the bytes of a file; read it if `image` is its path."""
    if isinstance(image, bytes | bytearray):
        return image
    if isinstance(image, memoryview):
        return bytes(image)
    if not isinstance(image, str | PathLike):
        raise UnsupportedImage(
            f"an image is the bytes of a file, a path or a NumPy array, not {type(image).__name__}: pass the bytes or "
            "the path of its file"
        )
    path = os.fsdecode(image)  # The entries of a folder whose name was given as bytes have paths of bytes.
    if not path:
        raise UnreadableFile("the path is empty: pass the bytes or the path of an image file")
    try:
        return read_regular(Path(path), MAX_FILE_BYTES)
    except (OSError, ValueError) as error:  # A null character or a surrogate in the path raises ValueError.
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableFile(f"{_shortened(path)} cannot be read: {reason or error}") from error


def _shortened(path: str) -> str:
    path = printable(path)
    if len(path) <= _SHOWN_CHARACTERS:
        return path
    return f"{path[:_SHOWN_CHARACTERS]}... ({len(path):,} characters)"


def _shrink(pixels: Pixels, size: int) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        hint = ", or the bytes of an encoded file, array.tobytes()" if pixels.ndim == 1 else ""
        raise UnsupportedImage(
            f"the array is {pixels.dtype} {list(pixels.shape)}: give RGB levels, uint8 [H, H, 3]{hint}"
        )
    height, width, _ = pixels.shape
    check_edges(width, height, size)
    return area_average(pixels, size)
