"""Recognition of tensors without importing their frameworks."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from lensgate_client import Ask, BadImage, to_uint8
from lensgate_client._pixels.frameworks import ArrayApi, Torch, dtype_name, framework_of, view_on_host
from lensgate_client._pixels.images import open_image
from lensgate_client._pixels.raster import count_images, open_raster
from numpy.typing import NDArray

from gate.pixels import area_average
from tests.conftest import ROOT
from tests.support.images import portrait

CUDA = 2


class DeviceArray:
    """An array of the array API standard in memory that NumPy cannot access, as in CuPy."""

    def __init__(self, array: NDArray[Any], device: int = CUDA) -> None:
        self._array = array
        self._device = device
        self.shape = array.shape
        self.dtype = array.dtype

    def __array_namespace__(self) -> Any:
        def call(name: str) -> Any:
            return lambda tensor, *given, **named: DeviceArray(getattr(np, name)(tensor._array, *given, **named))

        return SimpleNamespace(
            int32=np.int32,
            uint8=np.uint8,
            float32=np.float32,
            **{name: call(name) for name in ("reshape", "sum", "clip", "astype")},
        )

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("implicit copies are not allowed")

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the memory is on a device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device, 0

    def __getitem__(self, key: Any) -> Self:
        return type(self)(self._array[key])

    def __mul__(self, factor: float) -> Self:
        return type(self)(self._array * factor)

    def __add__(self, summand: float) -> Self:
        return type(self)(self._array + summand)

    def get(self) -> NDArray[Any]:
        return self._array


class Tensor:
    """The used methods of torch.Tensor on a NumPy array."""

    def __init__(self, array: NDArray[Any], dtype: str | None = None) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = f"torch.{dtype or array.dtype.name}"

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the memory is on a device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, 0

    def __getitem__(self, key: Any) -> "Tensor":
        return Tensor(self._array[key])

    def __mul__(self, factor: float) -> "Tensor":
        return Tensor(self._array * np.float32(factor))

    def __add__(self, summand: float) -> "Tensor":
        return Tensor(self._array + np.float32(summand))

    def reshape(self, shape: tuple[int, ...]) -> "Tensor":
        return Tensor(self._array.reshape(shape))

    def sum(self, *, dim: tuple[int, ...], dtype: str) -> "Tensor":
        return Tensor(self._array.sum(axis=dim, dtype=dtype))

    def to(self, dtype: str) -> "Tensor":
        return Tensor(self._array.astype(dtype))

    def clamp(self, low: float, high: float) -> "Tensor":
        return Tensor(self._array.clip(low, high))

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> NDArray[Any]:
        return self._array


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = SimpleNamespace(Tensor=Tensor, int32="int32", uint8="uint8", float32="float32")
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 3, 1, 2)])
@pytest.mark.parametrize("kind", [DeviceArray, Tensor])
@pytest.mark.usefixtures("torch")
def test_device_images_are_summed_on_the_device(kind: Any, layout: tuple[int, ...]) -> None:
    images = np.stack([portrait(64, seed=seed) for seed in range(3)])
    raster = open_raster(kind(images.transpose(layout)))
    assert not raster.is_on_host
    assert raster.fits(16)
    wanted = np.stack([area_average(image, 16) for image in images])
    assert np.array_equal(raster.shrink(0, 3, size=16), wanted)
    single = open_raster(kind(images[0]))
    assert np.array_equal(single.shrink(0, 1, size=16), wanted[:1])
    assert raster.encode_png(1) == open_raster(images).encode_png(1)


def test_torch_tensor_is_recognized(torch: Any) -> None:
    assert isinstance(framework_of(torch.Tensor(np.zeros(1))), Torch)


def test_cupy_array_without_array_namespace_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    class Array:
        shape = (2, 2)

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=Array, reshape=lambda _, shape: shape))
    framework = framework_of(Array())
    assert isinstance(framework, ArrayApi)
    assert framework.reshape(Array(), [4]) == (4,)


def test_unknown_framework_is_rejected() -> None:
    strange = SimpleNamespace(shape=(64, 64, 3), dtype="uint8")
    assert framework_of(strange) is None
    with pytest.raises(BadImage, match=r"a SimpleNamespace is not a tensor.*numpy\.asarray"):
        open_raster(strange)


class Unreadable:
    """A tensor whose values cannot be taken, such as a sparse or a deleted one."""

    dtype = "uint8"

    def __init__(self, shape: tuple[int | None, ...]) -> None:
        self.shape = shape

    def __dlpack__(self, **_: Any) -> Any:
        raise TypeError("the array was deleted")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@pytest.mark.parametrize("shape", [(64, 64, 3), (2, 64, 64, 3), (None, 64, 64, 3), (2, None, None, 3)])
def test_a_tensor_without_dense_values_is_an_image_error(shape: tuple[int | None, ...]) -> None:
    tensor = Unreadable(shape)
    assert count_images(tensor) == (2 if shape[0] == 2 else 1)
    with pytest.raises(BadImage, match=r"an? Unreadable cannot be read.*dense"):
        open_image(tensor)


def test_a_tensor_that_has_no_shape_to_tell_is_an_image_error() -> None:
    class Nested:
        dtype = "uint8"

        @property
        def shape(self) -> tuple[int, ...]:
            raise RuntimeError("a nested tensor has several shapes")

    with pytest.raises(BadImage, match="not a Nested"):
        open_image(Nested())


@pytest.mark.parametrize("shape", [(9000,), (9000, 1), (1, 9000)])
def test_the_array_of_an_encoded_file_is_told_to_pass_its_bytes(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match=r"encoded file.*tobytes"):
        open_raster(np.zeros(shape, np.uint8))


def test_host_memory_is_viewed_without_a_copy() -> None:
    array = np.zeros((4, 4), np.uint8)
    assert view_on_host(array) is array

    class Exporter:
        def __dlpack__(self, **options: Any) -> Any:
            return array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return array.__dlpack_device__()

    view = view_on_host(Exporter())
    assert view is not None
    assert np.shares_memory(view, array)


def test_sharded_array_is_not_in_host_memory() -> None:
    class Sharded:
        def __dlpack__(self, **_: Any) -> Any: ...

        def __dlpack_device__(self) -> tuple[int, int]:
            raise BufferError("the array has several shards")

    assert view_on_host(Sharded()) is None


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.dtype("uint8"), "uint8"), ("torch.bfloat16", "bfloat16"), (SimpleNamespace(name="half"), "half")],
)
def test_dtype_names_are_uniform(dtype: Any, name: str) -> None:
    assert dtype_name(SimpleNamespace(dtype=dtype)) == name


@pytest.mark.usefixtures("torch")
def test_to_uint8_equals_the_conversion_of_stylegan() -> None:
    values = np.linspace(-1.2, 1.2, 2000, dtype=np.float32).reshape(1, 4, 500)
    wanted = np.clip(values * np.float32(127.5) + np.float32(128), 0, 255).astype(np.uint8)
    assert np.array_equal(to_uint8(values), wanted)
    assert np.array_equal(to_uint8(Tensor(values)).numpy(), wanted)
    assert np.array_equal(to_uint8(DeviceArray(values)).get(), wanted)
    assert wanted.min() == 0
    assert wanted.max() == 255


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_values_from_zero_to_one_are_rounded(dtype: Any) -> None:
    levels = np.arange(256)
    assert np.array_equal(to_uint8((levels / 255).astype(dtype), low=0.0, high=1.0), levels)


def test_the_mask_of_an_array_is_ignored() -> None:
    values = np.linspace(-1, 1, 192, dtype=np.float32).reshape(8, 8, 3)
    assert np.array_equal(to_uint8(np.ma.array(values, mask=values > 0)), to_uint8(values))


def test_to_uint8_rejects_other_arguments() -> None:
    with pytest.raises(BadImage, match="not Ask: pass its image"):
        to_uint8(Ask(np.zeros((64, 64, 3), np.float32)))
    with pytest.raises(BadImage, match="not uint8"):
        to_uint8(np.zeros(3, np.uint8))
    with pytest.raises(BadImage, match="not list"):
        to_uint8([0.5])
    with pytest.raises(ValueError, match="low must be less than high"):
        to_uint8(np.zeros(3, np.float32), low=1.0, high=-1.0)


def test_cast_falls_back_to_the_astype_function() -> None:
    found = ArrayApi(DeviceArray(np.zeros(1)).__array_namespace__()).cast(DeviceArray(np.array([1.5])), "uint8")
    assert found.dtype == np.uint8


def test_importing_the_client_imports_no_framework() -> None:
    code = "import sys, lensgate_client; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "client", capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert {"httpx", "numpy"} <= loaded
    assert not loaded & {"torch", "tensorflow", "jax", "cupy", "PIL", "gate", "service"}
