"""Check that the client shrinks images on a GPU to the same bits as on the processor, and time it.

    PYTHONPATH=.:client python3 -m bench.gpu

Uses every installed library among PyTorch, JAX, CuPy and TensorFlow, besides NumPy and httpx; the rest of this project
need not be installed. Tensors of every layout are shrunk to the input size of the shipped model and compared with plain
integer sums; then the client, its filter and, with PyTorch, the examples send requests to a gate that answers by
brightness. The status is 1 if a check fails, and 2 if no library found a GPU.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from bench.gpu.asking import ask, run_examples
from bench.gpu.brightness import brightness_gate
from bench.gpu.libraries import LIBRARIES, TensorLibrary, find_libraries
from bench.gpu.shrinking import BATCH, compare, compare_streams, print_threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure and print."""
    # All libraries share one GPU here.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    parser = argparse.ArgumentParser(prog="python -m bench.gpu")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES, help="libraries to use (all)")
    options = parser.parse_args(arguments)
    print(f"{'library':12}{'tensor':32}{'pixels':>10}{f'ms, 1 of {BATCH}':>12}")
    # One after the other: a data loader forks, which is unsafe after JAX has started threads.
    checked = [(library, _check(library)) for library in find_libraries(options.libraries)]
    print_threads()
    if not all(is_right for _, is_right in checked):
        return 1
    return 0 if any(library.device for library, _ in checked) else 2


def _check(library: TensorLibrary) -> bool:
    print(f"{library.name:12}{library.device or 'on the processor'}")
    right = [compare(library)]
    if library.module is not None and library.device:
        right.append(compare_streams(library))
    with brightness_gate() as url:
        right.append(ask(library, url))
        if library.module is not None:
            right.append(run_examples(library, url))
    return all(right)


if __name__ == "__main__":
    sys.exit(main())
