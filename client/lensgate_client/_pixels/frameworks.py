"""Tensor operations of each framework on the tensor's own device. This module imports no framework but NumPy."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# DLPack device types of host memory: plain, and pinned for CUDA or ROCm.
_HOST_DEVICES = frozenset({1, 3, 11})


class Framework(Protocol):
    """Operations on a tensor that keep it on its device."""

    def reshape(self, tensor: Any, shape: Sequence[int]) -> Any:
        """Return the same elements in another shape."""
        ...

    def sum(self, tensor: Any, axes: tuple[int, ...]) -> Any:
        """Sum uint8 values; exact for sums below 2**24."""
        ...

    def cast(self, tensor: Any, dtype: str) -> Any:
        """Convert to `uint8` or `float32`, truncating towards zero."""
        ...

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        """Limit the values to the range."""
        ...

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Return a copy, or a view, in host memory."""
        ...


class ArrayApi:
    """Libraries of the array API standard: NumPy, CuPy, JAX and others.

    Args:
        namespace: the module with the functions of the standard.
    """

    def __init__(self, namespace: Any) -> None:
        self._xp = namespace

    def reshape(self, tensor: Any, shape: Sequence[int]) -> Any:
        return self._xp.reshape(tensor, tuple(shape))

    def sum(self, tensor: Any, axes: tuple[int, ...]) -> Any:
        """Sum in int32."""
        return self._xp.sum(tensor, axis=axes, dtype=self._xp.int32)

    def cast(self, tensor: Any, dtype: str) -> Any:
        """Prefer the `astype` method: the function is newer."""
        kind = getattr(self._xp, dtype)
        return tensor.astype(kind) if hasattr(tensor, "astype") else self._xp.astype(tensor, kind)

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        return self._xp.clip(tensor, low, high)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Copy explicitly for CuPy, which has no implicit copies."""
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
        """Sum in int32."""
        return tensor.sum(dim=axes, dtype=self._torch.int32)

    def cast(self, tensor: Any, dtype: str) -> Any:
        return tensor.to(getattr(self._torch, dtype))

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        return tensor.clamp(low, high)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Copy to the host after the device has finished."""
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
        """Sum in float32, which is exact here; TensorFlow sums int32 on the CPU even for tensors on a GPU."""
        return self._tf.reduce_sum(self._tf.cast(tensor, self._tf.float32), axis=axes)

    def cast(self, tensor: Any, dtype: str) -> Any:
        return self._tf.cast(tensor, dtype)

    def clip(self, tensor: Any, low: float, high: float) -> Any:
        return self._tf.clip_by_value(tensor, low, high)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """Copy to the host after the device has finished."""
        return np.asarray(tensor.numpy())


# Frameworks without `__array_namespace__`, at least in older releases.
_KNOWN: tuple[tuple[str, str, Callable[[Any], Framework]], ...] = (
    ("torch", "Tensor", Torch),
    ("tensorflow", "Tensor", TensorFlow),
    ("cupy", "ndarray", ArrayApi),
)


def framework_of(tensor: Any) -> Framework | None:
    """Return the framework of a tensor; None if it is unknown."""
    for name, class_name, kind in _KNOWN:
        # The caller of a tensor has imported its framework already.
        module = sys.modules.get(name)
        if module is not None and isinstance(tensor, getattr(module, class_name, ())):
            return kind(module)
    if hasattr(tensor, "__array_namespace__"):
        return ArrayApi(tensor.__array_namespace__())
    return None


def view_on_host(tensor: Any) -> NDArray[Any] | None:
    """Return the tensor as a NumPy array without a copy; None if it is not in host memory."""
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor)
    if not hasattr(tensor, "__dlpack__") or not hasattr(tensor, "__dlpack_device__"):
        return None
    try:
        device = int(tensor.__dlpack_device__()[0])
    except (BufferError, RuntimeError, ValueError):  # Sharded over devices, or a device without a DLPack type.
        return None
    return np.from_dlpack(tensor) if device in _HOST_DEVICES else None


def dtype_name(tensor: Any) -> str:
    """Return `uint8`, `float32` or similar, without the prefix of the framework."""
    dtype = getattr(tensor, "dtype", "")
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]
