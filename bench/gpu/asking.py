"""Send tensors of a library to a gate: with both client classes, the filter and the examples."""

import asyncio
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from lensgate_client import AsyncGate, Decision, Gate, GateFilter, Outcome

from bench.gpu.brightness import SIZE
from bench.gpu.libraries import TensorLibrary
from bench.gpu.shrinking import noise, plain_average

_EXAMPLES = Path(__file__).parents[2] / "client/examples"
_EDGE = 256


def ask(library: TensorLibrary, url: str) -> bool:
    """Print a line for each method; return whether every answer is correct."""
    results = {"Gate": _ask(library, url), "AsyncGate": asyncio.run(_ask_on_loop(library, url))}
    results["GateFilter"] = _filter(library, url)
    for title, is_right in results.items():
        print(f"{library.name:12}{title:32}{'right' if is_right else 'WRONG':>10}", flush=True)
    return all(results.values())


def _images(library: TensorLibrary) -> list[Any]:
    images = noise(40, _EDGE)
    batch = library.load(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return [batch, batch[0], library.load(images[1])]


def _is_right(outcomes: list[Outcome]) -> bool:
    means = plain_average(noise(40, _EDGE), SIZE).mean(axis=(1, 2, 3)) / 255
    decided = [one.glasses_probability for one in outcomes if isinstance(one, Decision)]
    return bool(np.allclose(decided, [*means, means[0], means[1]], rtol=0, atol=1e-12))


def _ask(library: TensorLibrary, url: str) -> bool:
    with Gate(url, transport=httpx.HTTPTransport()) as gate:
        return _is_right(gate.decide_many(_images(library)))


async def _ask_on_loop(library: TensorLibrary, url: str) -> bool:
    async with AsyncGate(url, transport=httpx.AsyncHTTPTransport()) as gate:
        return _is_right(await gate.decide_many(_images(library)))


def _filter(library: TensorLibrary, url: str) -> bool:
    """The filter yields the generator's own tensors, on their device."""
    levels = np.array([250, 128, 5, 130], np.uint8)
    batch = library.load(np.broadcast_to(levels[:, None, None, None], (4, 3, _EDGE, _EDGE)).copy())
    with Gate(url, transport=httpx.HTTPTransport()) as gate:
        kept = GateFilter(gate)
        images = list(kept.take(lambda: batch, 50))
    same = all(type(image) is type(batch) and tuple(image.shape) == (3, _EDGE, _EDGE) for image in images)
    bright = [int(image[0, 0, 0]) for image in images]
    return same and bright == [250, 5] * 25 and kept.stats.discarded == {"uncertain": kept.stats.seen - 50}


def run_examples(library: TensorLibrary, url: str) -> bool:
    """The PyTorch examples, without the network of a StyleGAN."""
    results = {"examples/torch_loader.py": _load(library, url), "examples/stylegan.py": _draw(library, url)}
    for title, is_right in results.items():
        print(f"{library.name:12}{title:32}{'right' if is_right else 'WRONG':>10}", flush=True)
    return all(results.values())


def _load(library: TensorLibrary, url: str) -> bool:
    """Every image once, over all workers."""
    torch = library.module
    accepted = _example("torch_loader").Accepted(_faces(torch), url)
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(accepted, batch_size=4, num_workers=workers)
        labels = sorted(int(label) for _, found in loader for label in found)
        if labels != [number for number in range(40) if number % 3 != 1]:
            return False
    return True


def _faces(torch: Any) -> list[tuple[Any, int]]:
    levels = (250, 128, 5)
    return [(torch.full((3, _EDGE, _EDGE), levels[n % 3], dtype=torch.uint8), n) for n in range(40)]


def _draw(library: TensorLibrary, url: str) -> bool:
    torch = library.module
    values = torch.tensor([0.95, 0.0, -0.95], device="cuda" if library.device else "cpu")

    def batches() -> Iterator[Any]:
        while True:
            yield values[:, None, None, None].expand(3, 3, _EDGE, _EDGE) + 0.0

    saved: list[Any] = []
    with Gate(url, transport=httpx.HTTPTransport()) as gate:
        _example("stylegan").keep(gate, batches(), lambda _, image: saved.append(image), count=20)
    return len(saved) == 20 and all(image.dtype == torch.uint8 and image.device == values.device for image in saved)


def _example(name: str) -> Any:
    """Load the example as a module; the functions called here do not need a StyleGAN repository."""
    for missing in ("dnnlib", "legacy"):
        sys.modules.setdefault(missing, types.ModuleType(missing))
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(_EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
