"""Turn image files and pixels into the inputs of the served model and of its shadow."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gate import Budget, area_average, read_pixels, read_pixels_at
from gate.errors import ImageTooSmall
from gate.pixels import Pixels

Source = bytes | bytearray | memoryview | Pixels
"""An image file, or pixels, uint8 `[H, H, 3]`, as the caller sent it. A view keeps the whole buffer below it alive."""


@dataclass(frozen=True, slots=True)
class InputSizes:
    """Edge lengths in pixels of the served model's input and, if there is a shadow, of its input."""

    served: int
    shadow: int | None

    def are_below(self, edge: int) -> bool:
        """Whether images of this edge length need shrinking for either model."""
        return self.served < edge or (self.shadow is not None and self.shadow < edge)


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """The same N images for the served model and for its shadow, uint8 `[N, S, S, 3]` each.

    `shadow` is None without a shadow, or where the images are too small for it. `sources` holds the N images as they
    were sent; it is empty unless decisions are recorded.
    """

    served: Pixels
    shadow: Pixels | None
    sources: tuple[Source, ...]


def read_inputs(
    file: bytes | bytearray | memoryview,
    *,
    sizes: InputSizes,
    max_pixels: int,
    budget: Budget | None = None,
    keep_source: bool = False,
) -> ModelInputs:
    """Decode one image file to both sizes, N = 1, in a single pass where possible.

    Raises:
        ImageError: the image cannot be judged. An image that is too small for the shadow alone is accepted.
    """
    sources = (file,) if keep_source else ()
    # A view is one of several files in a body, so its copy is small. A whole body is not copied.
    data = bytes(file) if isinstance(file, memoryview) else file
    if sizes.shadow not in (None, sizes.served):
        with contextlib.suppress(ImageTooSmall):
            served, shadow = read_pixels_at(data, (sizes.served, sizes.shadow), max_pixels=max_pixels, budget=budget)
            return ModelInputs(served[np.newaxis], shadow[np.newaxis], sources)
    pixels = read_pixels(data, sizes.served, max_pixels=max_pixels, budget=budget)[np.newaxis]
    return ModelInputs(pixels, pixels if sizes.shadow == sizes.served else None, sources)


def shrink_inputs(pixels: Pixels, *, sizes: InputSizes, keep_source: bool = False) -> ModelInputs:
    """Average `pixels`, uint8 `[N, H, H, 3]`, down to both sizes. H is at least the served size."""
    sources = tuple(pixels) if keep_source else ()
    served = _shrink(pixels, sizes.served)
    if sizes.shadow is None or sizes.shadow > pixels.shape[1]:
        return ModelInputs(served, None, sources)
    return ModelInputs(served, served if sizes.shadow == sizes.served else _shrink(pixels, sizes.shadow), sources)


def join_inputs(parts: Sequence[ModelInputs]) -> ModelInputs:
    """Concatenate the images of all parts in order."""
    if len(parts) == 1:
        return parts[0]
    shadows = [part.shadow for part in parts if part.shadow is not None]
    shadow = np.concatenate(shadows) if len(shadows) == len(parts) else None
    sources = tuple(source for part in parts for source in part.sources)
    return ModelInputs(np.concatenate([part.served for part in parts]), shadow, sources)


def _shrink(pixels: Pixels, size: int) -> Pixels:
    if pixels.shape[1] == size:
        return pixels
    return np.stack([area_average(image, size) for image in pixels])
