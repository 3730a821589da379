"""The client on a GPU: whether pixels that are shrunk there are the processor's, bit for bit, and what it takes.

    PYTHONPATH=.:client python3 -m bench.gpu

Takes whichever of PyTorch, JAX, CuPy and TensorFlow there is, besides NumPy and httpx; nothing else of this project has
to be installed. Tensors of every layout are shrunk and held against plain integer sums; then a gate that answers by
brightness is asked by the client, by its filter and, with PyTorch, by the examples. The status is 1 where anything is
not as it should be, and 2 where no library saw a GPU.
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
    # All of them share one GPU here.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    parser = argparse.ArgumentParser(prog="python -m bench.gpu")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES, help="which (all)")
    options = parser.parse_args(arguments)
    print(f"{'library':12}{'tensor':32}{'pixels':>10}{f'ms, 1 of {BATCH}':>12}")
    # One after the other: a data loader forks, which is not for a process in which JAX has started its threads.
    found = [(library, _check(library)) for library in find_libraries(options.libraries)]
    print_threads()
    if not all(is_right for _, is_right in found):
        return 1
    return 0 if any(library.device for library, _ in found) else 2


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
