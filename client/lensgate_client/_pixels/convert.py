"""Convert the floating-point output of a generator to pixels."""

from typing import Any

import numpy as np

from lensgate_client._pixels.frameworks import dtype_name, framework_of
from lensgate_client.errors import BadImage


def to_uint8(images: Any, *, low: float = -1.0, high: float = 1.0) -> Any:
    """Convert floating-point images to uint8 on their own device: `low` becomes 0 and `high` becomes 255.

    Values are clipped to the range and rounded to the nearest level; the layout is kept. With the defaults the result
    equals StyleGAN's own `(images * 127.5 + 128).clamp(0, 255).to(torch.uint8)`. The gate's classes accept
    `[N, 3, H, W]` and `[N, H, W, 3]`.

    Args:
        images: a tensor of NumPy, CuPy, JAX, PyTorch or TensorFlow, of any shape.
        low: value of black.
        high: value of white.

    Raises:
        BadImage: the argument is not a floating-point tensor, or contains NaN.
        ValueError: `low` is not less than `high`.
    """
    if not low < high:
        raise ValueError(f"low must be less than high: {low} >= {high}")
    if isinstance(images, np.ndarray):
        images = np.asarray(images)  # Arithmetic on masked arrays leaves other values behind the mask.
    framework = framework_of(images)
    if framework is None or "float" not in (dtype := dtype_name(images)):
        kind = type(images).__name__ if framework is None else dtype
        kind += ": pass its image" if hasattr(images, "image") else ""
        raise BadImage(f"to_uint8 takes floating-point tensors of NumPy, CuPy, JAX, PyTorch or TensorFlow, not {kind}")
    scale = 255.0 / (high - low)
    # The cast truncates; adding half a level rounds to the nearest.
    levels = framework.cast(images, "float32") * scale + (0.5 - low * scale)
    if _has_nan(levels):
        raise BadImage("the images contain NaN: the network that generated them has diverged")
    return framework.cast(framework.clip(levels, 0.0, 255.0), "uint8")


def _has_nan(levels: Any) -> bool:
    """Return whether a value is NaN; False while a framework traces the computation without values."""
    try:
        differs = levels != levels  # noqa: PLR0124 - only NaN differs from itself
        return bool((differs if hasattr(differs, "any") else differs.numpy()).any())
    except (AttributeError, TypeError):
        return False
