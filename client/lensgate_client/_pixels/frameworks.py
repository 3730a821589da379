"""The few operations that pixels need where they are, in each framework's words. No framework is imported here."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Of DLPack: memory of the processor, also where it is pinned for CUDA or ROCm.
_HOST_DEVICES = frozenset({1, 3, 11})


class Framework(Protocol):
    """What can be done with a tensor without moving it."""

    def reshape(self, tensor: Any, shape: Sequence[int]) -> Any:
        """The same elements in another shape."""
        ...

    def sum(self, tensor: Any, axes: tuple[int, ...]) -> Any:
        """Sums of uint8, exact where they are below 2**24."""
        ...

    def cast(self, tensor: Any, dtype: str) -> Any:
        """The same values as `uint8` or `float32`, cut towards zero."""
        ...

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        """What is outside moved to the nearer end."""
        ...

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """A copy, or a view, in the processor's memory."""
        ...


class ArrayApi:
    """The array API standard: NumPy, CuPy, JAX and others.

    Args:
        namespace: the module of its functions.
    """

    def __init__(self, namespace: Any) -> None:
        self._xp = namespace

    def reshape(self, tensor: Any, shape: Sequence[int]) -> Any:
        return self._xp.reshape(tensor, tuple(shape))

    def sum(self, tensor: Any, axes: tuple[int, ...]) -> Any:
        """In int32."""
        return self._xp.sum(tensor, axis=axes, dtype=self._xp.int32)

    def cast(self, tensor: Any, dtype: str) -> Any:
        """By the method where there is one: the function is younger."""
        kind = getattr(self._xp, dtype)
        return tensor.astype(kind) if hasattr(tensor, "astype") else self._xp.astype(tensor, kind)

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        return self._xp.clip(tensor, low, high)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """CuPy copies only where it is asked to."""
        return np.asarray(tensor.get() if hasattr(tensor, "get") else tensor)


class Torch:
    """PyTorch, on any device.

    Args:
        torch: the module.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def reshape(self, tensor: Any, shape: Sequence[int]) -> Any:
        return tensor.reshape(tuple(shape))

    def sum(self, tensor: Any, axes: tuple[int, ...]) -> Any:
        """In int32."""
        return tensor.sum(dim=axes, dtype=self._torch.int32)

    def cast(self, tensor: Any, dtype: str) -> Any:
        return tensor.to(getattr(self._torch, dtype))

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        return tensor.clamp(low, high)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Waits for the device."""
        return np.asarray(tensor.cpu().numpy())


class TensorFlow:
    """TensorFlow's eager tensors, on any device.

    Args:
        tensorflow: the module.
    """

    def __init__(self, tensorflow: Any) -> None:
        self._tf = tensorflow

    def reshape(self, tensor: Any, shape: Sequence[int]) -> Any:
        return self._tf.reshape(tensor, shape)

    def sum(self, tensor: Any, axes: tuple[int, ...]) -> Any:
        """In float32, which is exact here: int32 TensorFlow adds up on the processor, wherever it is."""
        return self._tf.reduce_sum(self._tf.cast(tensor, self._tf.float32), axis=axes)

    def cast(self, tensor: Any, dtype: str) -> Any:
        return self._tf.cast(tensor, dtype)

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        return self._tf.clip_by_value(tensor, low, high)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Waits for the device."""
        return np.asarray(tensor.numpy())


# Those that do not say it themselves by the standard's means, or did not always.
_KNOWN: tuple[tuple[str, str, Callable[[Any], Framework]], ...] = (
    ("torch", "Tensor", Torch),
    ("tensorflow", "Tensor", TensorFlow),
    ("cupy", "ndarray", ArrayApi),
)


def framework_of(tensor: Any) -> Framework | None:
    """Whose tensor it is; None where nothing is known of it."""
    for name, title, kind in _KNOWN:
        # Who has a tensor has imported what made it.
        module = sys.modules.get(name)
        if module is not None and isinstance(tensor, getattr(module, title, ())):
            return kind(module)
    if hasattr(tensor, "__array_namespace__"):
        return ArrayApi(tensor.__array_namespace__())
    return None


def view_on_host(tensor: Any) -> NDArray[Any] | None:
    """The tensor as a plain array, without a copy, where it is in the processor's memory; None where it is not."""
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor)
    if not hasattr(tensor, "__dlpack__") or not hasattr(tensor, "__dlpack_device__"):
        return None
    try:
        device = int(tensor.__dlpack_device__()[0])
    except (BufferError, RuntimeError, ValueError):  # It is on several devices, or on one without a number.
        return None
    return np.from_dlpack(tensor) if device in _HOST_DEVICES else None


def dtype_name(tensor: Any) -> str:
    """`uint8`, `float32` ..., in whichever words the framework says it."""
    dtype = getattr(tensor, "dtype", "")
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]
