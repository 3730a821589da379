"""From what a generator's network puts out to pixels."""

from typing import Any

from lensgate_client._pixels.frameworks import dtype_name, framework_of
from lensgate_client.errors import BadImage

_FLOATS = frozenset({"bfloat16", "float16", "float32", "float64"})


def to_uint8(images: Any, *, low: float = -1.0, high: float = 1.0) -> Any:
    """Floating-point images as uint8, where they are: `low` becomes 0 and `high` 255, rounded; what is outside is cut.

    With the defaults it is StyleGAN's own `(images * 127.5 + 128).clamp(0, 255).to(torch.uint8)`. The layout stays:
    the gate's classes take `[N, 3, H, W]` and `[N, H, W, 3]`.

    Args:
        images: a tensor of NumPy, CuPy, JAX, PyTorch or TensorFlow, of any shape.
        low: black.
        high: white.

    Raises:
        BadImage: it is no such tensor, has no floating-point numbers, or has NaN among them.
    """
    if not low < high:
        raise ValueError(f"low has to be below high, and {low} is not below {high}")
    framework = framework_of(images)
    if framework is None or (dtype := dtype_name(images)) not in _FLOATS:
        found = type(images).__name__ if framework is None else dtype
        raise BadImage(f"to_uint8 takes floating-point tensors of NumPy, CuPy, JAX, PyTorch or TensorFlow, not {found}")
    scale = 255.0 / (high - low)
    # Half a level more, and what follows the point is cut: rounded to the nearest.
    levels = framework.cast(images, "float32") * scale + (0.5 - low * scale)
    if _has_nan(levels):
        raise BadImage("the images hold NaN, which is no brightness: the network that made them has diverged")
    return framework.cast(framework.clip(levels, 0.0, 255.0), "uint8")


def _has_nan(levels: Any) -> bool:
    """Whether a number is none; False where a framework only traces the computation and has no numbers yet."""
    try:
        differs = levels != levels  # noqa: PLR0124 - NaN alone differs from itself
        return bool((differs if hasattr(differs, "any") else differs.numpy()).any())
    except (AttributeError, TypeError):
        return False
