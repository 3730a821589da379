"""The client's pixels equal the gate's bit for bit in every memory and layout."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensgate_client import BadImage, to_uint8
from lensgate_client._pixels.frameworks import ArrayApi, Framework, TensorFlow, framework_of
from lensgate_client._pixels.images import open_image
from lensgate_client._pixels.raster import Raster, open_raster
from lensgate_client._pixels.shrink import MAX_RATIO
from numpy.typing import NDArray

from gate.pixels import area_average
from tests.support.images import exact_average, portrait

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

Images = NDArray[np.uint8]
NUMPY = ArrayApi(np)


def noise(count: int, edge: int, seed: int) -> Images:
    """Return random levels with more extremes and midpoints, to test overflow and rounding."""
    random = np.random.default_rng(seed)
    levels = np.concatenate([np.arange(256), [0] * 64, [255] * 64, [127, 128] * 32]).astype(np.uint8)
    return random.choice(levels, (count, edge, edge, 3))


def by_the_gate(images: Images, size: int) -> Images:
    return np.stack([area_average(image, size) for image in images])


def shrunk(tensor: Any, size: int) -> Images:
    raster = open_raster(tensor)
    assert raster.fits(size)
    return raster.shrink(0, raster.count, size=size)


def on_device(images: Any, size: int, framework: Framework, *, channels_first: bool = False) -> Images:
    """Treat host memory as the memory of a device."""
    raster = Raster(images, channels_first, framework)
    return raster.shrink(0, raster.count, size=size)


@settings(deadline=None, max_examples=25)
@given(size=st.integers(4, 24), ratio=st.integers(1, 24), count=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_arrays_of_integer_ratios_equal_the_gate(size: int, ratio: int, count: int, seed: int) -> None:
    images = noise(count, size * ratio, seed)
    wanted = by_the_gate(images, size)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    for found in (
        shrunk(images, size),
        shrunk(planes, size),
        shrunk(planes.transpose(0, 2, 3, 1), size),
        on_device(images, size, NUMPY),
        on_device(planes, size, NUMPY, channels_first=True),
    ):
        assert found.dtype == np.uint8
        assert np.array_equal(found, wanted)


@settings(deadline=None, max_examples=10)
@given(size=st.integers(4, 12), ratio=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_tensorflow_tensors_equal_the_gate(size: int, ratio: int, seed: int) -> None:
    images = noise(2, size * ratio, seed)
    wanted = by_the_gate(images, size)
    tensor = tf.constant(images)
    planes = tf.transpose(tensor, (0, 3, 1, 2))
    assert np.array_equal(shrunk(tensor, size), wanted)
    assert np.array_equal(shrunk(planes, size), wanted)
    assert np.array_equal(on_device(tensor, size, TensorFlow(tf)), wanted)
    assert np.array_equal(on_device(planes, size, TensorFlow(tf), channels_first=True), wanted)


@pytest.mark.parametrize("edge", [64, 192, 1024])
def test_portrait_equals_the_gate_and_is_near_the_exact_mean(edge: int) -> None:
    image = portrait(edge)
    found = shrunk(image, 64)[0]
    assert np.array_equal(found, area_average(image, 64))
    assert np.abs(found - exact_average(image, 64)).max() <= 0.5


@pytest.mark.parametrize("level", [254, 255])
def test_largest_ratio_does_not_overflow(level: int) -> None:
    image = np.full((1, 4 * MAX_RATIO, 4 * MAX_RATIO, 3), level, np.uint8)
    for found in (shrunk(image, 4), on_device(image, 4, NUMPY), on_device(tf.constant(image), 4, TensorFlow(tf))):
        assert (found == level).all()


def test_halves_are_rounded_up() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[::2] = 1
    assert (shrunk(image, 2) == 1).all()


def test_strided_views_equal_the_gate() -> None:
    image = portrait(128)
    for view in (image[::-1], image[:, ::-1], image[:, :, ::-1], image.swapaxes(0, 1), portrait(256)[::2, ::2]):
        assert np.array_equal(shrunk(view, 32)[0], area_average(np.ascontiguousarray(view), 32))


def test_threads_do_not_change_the_result() -> None:
    images = noise(16, 64, seed=3)
    with ThreadPoolExecutor(4) as threads:
        found = open_raster(images).shrink(2, 13, size=16, executor=threads)
    assert np.array_equal(found, by_the_gate(images[2:13], 16))
    # The gate object was closed meanwhile, which the next request tells.
    found = open_raster(images).shrink(2, 13, size=16, executor=threads)
    assert np.array_equal(found, by_the_gate(images[2:13], 16))


def test_device_chunks_stay_in_order() -> None:
    images = noise(21, 32, seed=4)
    assert np.array_equal(on_device(images, 8, NUMPY), by_the_gate(images, 8))


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ((64, 65, 3), "not_square"),
        ((3, 65, 64), "not_square"),
        ((2, 32, 64, 3), "not_square"),
        ((16, 16, 3), "image_too_small"),
        ((3, 31, 31), "image_too_small"),
    ],
)
def test_invalid_dimensions_have_the_code_of_the_gate(shape: tuple[int, ...], code: str) -> None:
    with pytest.raises(BadImage) as caught:
        open_raster(np.zeros(shape, np.uint8)).fits(32)
    assert caught.value.code == code
    assert "the image is" in caught.value.detail


def test_image_above_the_largest_ratio_is_rejected() -> None:
    edge = 2 * (MAX_RATIO + 1)
    with pytest.raises(BadImage, match="image_too_large"):
        open_raster(np.zeros((edge, edge, 3), np.uint8)).fits(2)


def test_image_of_a_fractional_ratio_does_not_fit() -> None:
    assert not open_raster(np.zeros((100, 100, 3), np.uint8)).fits(64)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (1, 64, 64), (5, 2, 64, 64, 3), (3,), (2, 0, 0, 3)])
def test_unsupported_shape_is_rejected_with_the_supported_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match=r"\[N, H, H, 3\]"):
        open_raster(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("tensor", [np.zeros((64, 64, 3), np.float32), tf.zeros((1, 3, 64, 64), tf.float16)])
def test_floating_point_is_rejected_with_a_conversion(tensor: Any) -> None:
    with pytest.raises(BadImage, match=r"float.*to_uint8\(images\).*low=0\.0"):
        open_raster(tensor)


@pytest.mark.parametrize("dtype", [np.uint16, np.bool_])
def test_other_integers_are_rejected(dtype: type) -> None:
    with pytest.raises(BadImage, match="not uint8"):
        open_raster(np.zeros((64, 64, 3), dtype))


def test_tensorflow_values_are_converted() -> None:
    values = tf.constant([-1.0, 0.0, 1.0])
    assert isinstance(framework_of(values), TensorFlow)
    assert to_uint8(values).numpy().tolist() == [0, 128, 255]


def test_a_tensor_of_an_encoded_file_is_told_to_pass_its_bytes() -> None:
    file = tf.io.encode_png(tf.zeros((64, 64, 3), tf.uint8))
    with pytest.raises(BadImage, match=r"string.*numpy\(\)"):
        open_image(file)
