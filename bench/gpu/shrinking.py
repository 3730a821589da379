"""Shrink tensors of every layout on their device, and compare with plain 64-bit sums."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from lensgate_client import to_uint8
from lensgate_client._pixels.raster import open_raster
from lensgate_client._pixels.shrink import THREADS, Pixels

from bench.gpu.brightness import SIZE
from bench.gpu.libraries import TensorLibrary

BATCH = 32
_RUNS = 9
_EDGES = ((1024, SIZE), (256, 32), (96, 32), (SIZE, SIZE))
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def noise(count: int, edge: int, seed: int = 0) -> Pixels:
    """Images with every level, and some rows of extreme levels."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, edge, edge, 3), np.uint8)
    rows = random.integers(0, 8, (count, edge))
    pixels[rows == 0] = 0
    pixels[rows == 1] = 255
    return pixels


def plain_average(images: Pixels, size: int) -> Pixels:
    """The reference: area averaging of `[N, H, H, 3]` to `[N, size, size, 3]`."""
    count, ratio = len(images), images.shape[1] // size
    sums = images.reshape(count, size, ratio, size, ratio, 3).sum(axis=(2, 4), dtype=np.int64)
    means: Pixels = ((sums + ratio * ratio // 2) // (ratio * ratio)).astype(np.uint8)
    return means


def compare(library: TensorLibrary) -> bool:
    """Print a line for each layout; return whether all are correct."""
    alike: dict[str, list[bool]] = {}
    for edge, size in _EDGES:
        images = noise(10, edge)
        wanted = plain_average(images, size)
        for title, tensor in _layouts(library, images):
            shrunk = _shrink(tensor, size)
            alike.setdefault(title, []).append(np.array_equal(shrunk, wanted[: len(shrunk)]))
    times = {title: _time(library, tensor) for title, tensor in _layouts(library, noise(BATCH, 1024))}
    for title, results in alike.items():
        shown = "equal" if all(results) else "DIFFERENT"
        print(f"{library.name:12}{title:32}{shown:>10}{times[title]:>12.3f}", flush=True)
    return all(map(all, alike.values())) and _compare_levels(library)


def _layouts(library: TensorLibrary, images: Pixels) -> Iterator[tuple[str, Any]]:
    last = library.load(images)
    first = library.load(np.ascontiguousarray(images.transpose(_FIRST)))
    yield "[N, H, H, 3]", last
    yield "[N, 3, H, H]", first
    yield "[N, H, H, 3] of [N, 3, H, H]", library.permute(first, _LAST)
    yield "[N, 3, H, H] of [N, H, H, 3]", library.permute(last, _FIRST)
    yield "every other image", library.load(np.repeat(images, 2, axis=0))[::2]
    yield "[H, H, 3]", last[0]
    yield "[3, H, H]", first[0]
    if library.module is not None:
        memory_format = library.module.channels_last
        yield "channels_last", first.contiguous(memory_format=memory_format)
        yield "in the processor's memory", library.module.from_numpy(images)
        if library.device:
            yield "the same, pinned", library.module.from_numpy(images).pin_memory()


def _shrink(tensor: Any, size: int) -> Pixels:
    raster = open_raster(tensor)
    if not raster.fits(size):
        raise AssertionError("whole ratios fit")
    return raster.shrink(0, raster.count, size=size)


def _time(library: TensorLibrary, tensor: Any) -> float:
    """Return the median milliseconds per image, including the copy to the host."""
    times = []
    for _ in range(_RUNS + 2):
        library.wait()
        start = time.perf_counter()
        count = len(_shrink(tensor, SIZE))
        times.append((time.perf_counter() - start) / count * 1e3)
    return statistics.median(times[2:])


def _compare_levels(library: TensorLibrary) -> bool:
    """Return whether a network's output becomes the same levels as in StyleGAN's own code."""
    values = np.random.default_rng(1).normal(0, 0.7, (4, 3, 64, 64)).astype(np.float32)
    wanted = np.clip(values * np.float32(127.5) + np.float32(128), 0, 255).astype(np.uint8)
    tensor = library.load(values)
    found = to_uint8(tensor)
    is_equal = np.array_equal(library.home(found), wanted)
    if library.module is not None:
        own = (tensor * 127.5 + 128).clamp(0, 255).to(library.module.uint8)
        is_equal = is_equal and bool(library.module.equal(found, own))
    print(f"{library.name:12}{'to_uint8':32}{'equal' if is_equal else 'DIFFERENT':>10}")
    return is_equal


def compare_streams(library: TensorLibrary) -> bool:
    """PyTorch: check that work pending on another stream is awaited, and print the memory used."""
    torch = library.module
    images = noise(BATCH, 1024, seed=2)
    source = torch.from_numpy(images).cuda()
    heavy = torch.rand(8192, 8192, device="cuda")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(10):
            heavy = heavy @ heavy
        made = source + (heavy[0, 0].isnan() * 0).to(torch.uint8)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        shrunk = _shrink(made, SIZE)
    is_equal = bool(np.array_equal(shrunk, plain_average(images, SIZE)))
    more = (torch.cuda.max_memory_allocated() - before) / 1e6
    print(f"{library.name:12}{'on a separate stream':32}{'equal' if is_equal else 'DIFFERENT':>10}")
    print(f"{library.name:12}memory beyond the batch's {source.nbytes / 1e6:.0f} MB: {more:.0f} MB")
    return is_equal


def print_threads() -> None:
    """Time arrays on the processor, on one thread and on several."""
    raster = open_raster(noise(BATCH, 1024))
    with ThreadPoolExecutor(THREADS) as threads:
        for title, pool in (("1 thread", None), (f"{THREADS} threads", threads)):
            times = []
            for _ in range(_RUNS):
                start = time.perf_counter()
                raster.shrink(0, BATCH, size=SIZE, executor=pool)
                times.append((time.perf_counter() - start) / BATCH * 1e3)
            print(f"{'numpy':12}{title:42}{statistics.median(times):>12.3f}")
