"""The installed libraries whose tensors the client accepts, each on its best device."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TensorLibrary:
    """Functions of a library: array to tensor and back, moving axes, and synchronizing with the device.

    `device` is the name of its GPU, if it finds one.
    """

    name: str
    device: str | None
    load: Callable[[NDArray[Any]], Any]
    permute: Callable[[Any, tuple[int, ...]], Any]
    home: Callable[[Any], NDArray[Any]] = np.asarray
    wait: Callable[[], object] = lambda: None
    module: Any = None


def find_libraries(names: Sequence[str]) -> Iterator[TensorLibrary]:
    """Return the libraries among `names` that can be imported."""
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed")
        else:
            yield _MAKERS[name](module)


def _numpy(_: Any) -> TensorLibrary:
    return TensorLibrary("numpy", None, np.ascontiguousarray, np.transpose)


def _torch(torch: Any) -> TensorLibrary:
    has_gpu = torch.cuda.is_available()
    return TensorLibrary(
        "torch",
        torch.cuda.get_device_name() if has_gpu else None,
        lambda array: torch.from_numpy(array).to("cuda" if has_gpu else "cpu"),
        torch.permute,
        lambda tensor: tensor.cpu().numpy(),
        torch.cuda.synchronize if has_gpu else lambda: None,
        torch,
    )


def _jax(jax: Any) -> TensorLibrary:
    device = jax.devices()[0]
    name = device.device_kind if device.platform == "gpu" else None
    return TensorLibrary("jax", name, jax.numpy.asarray, jax.numpy.transpose, wait=jax.effects_barrier)


def _cupy(cupy: Any) -> TensorLibrary:
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return TensorLibrary(
        "cupy", name, cupy.asarray, cupy.transpose, cupy.asnumpy, lambda: cupy.cuda.Device().synchronize()
    )


def _tensorflow(tf: Any) -> TensorLibrary:
    devices = tf.config.list_physical_devices("GPU")
    name = devices[0].name if devices else None
    return TensorLibrary("tensorflow", name, tf.constant, tf.transpose, lambda tensor: np.asarray(tensor.numpy()))


_MAKERS = {"numpy": _numpy, "torch": _torch, "jax": _jax, "cupy": _cupy, "tensorflow": _tensorflow}
LIBRARIES = tuple(_MAKERS)
