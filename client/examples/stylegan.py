"""Generate faces with a StyleGAN2-ADA or StyleGAN3 network and save those that the gate accepts.

    python stylegan.py --network ffhq.pkl --gate http://127.0.0.1:8000 --count 1000 --expected glasses --out faces

It needs PyTorch, Pillow, and the generator's repository on the Python path, because its pickles import `dnnlib` and
`torch_utils`. The images stay on the GPU; the client sends 49 kB of each to a gate whose model takes 128 pixels.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dnnlib
import legacy
import torch
from lensgate_client import FilterStats, Gate, GateFilter, GaveUp, Label, to_uint8
from PIL import Image


def keep(
    gate: Gate,
    batches: Iterable[Any],
    save: Callable[[int, Any], object],
    *,
    count: int,
    expected: Label | None = None,
    max_reject_ratio: float = 0.9,
) -> FilterStats:
    """Save the first `count` images that the gate accepts.

    Args:
        gate: the gate.
        batches: output of the network, floating point `[N, 3, H, H]` from -1 to 1.
        save: called with the number and the uint8 pixels `[3, H, H]` of each accepted image.
        count: number of images to save.
        expected: expected label of the images.
        max_reject_ratio: a higher ratio indicates a wrong network or a wrong expected label.

    Raises:
        GaveUp: too many images are rejected.
    """
    kept = GateFilter(gate, max_reject_ratio=max_reject_ratio)
    for number, image in enumerate(kept.take(map(to_uint8, batches), count, expected=expected)):
        save(number, image)
    return kept.stats


def draw(network: str, *, batch: int, truncation: float) -> Iterator[Any]:
    """Yield endless batches of the network, float32 `[batch, 3, H, H]` on the GPU."""
    device = torch.device("cuda")
    with dnnlib.util.open_url(network) as file:
        generator = legacy.load_network_pkl(file)["G_ema"].to(device).eval()
    while True:
        latents = torch.randn([batch, generator.z_dim], device=device)
        labels = torch.zeros([batch, generator.c_dim], device=device)
        with torch.inference_mode():
            images = generator(latents, labels, truncation_psi=truncation)
        # Outside the block, so that the consumer does not run in inference mode.
        yield images


def save_png(folder: Path) -> Callable[[int, Any], None]:
    """Return a function that writes `face-<number>.png`; it refuses to replace a face of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)

    def save(number: int, image: Any) -> None:
        pixels = image.permute(1, 2, 0).cpu().numpy()
        with (folder / f"face-{number:06}.png").open("xb") as file:
            Image.fromarray(pixels).save(file, "PNG")

    return save


def main() -> int:
    """Generate, filter and save; print the counts."""
    parser = argparse.ArgumentParser(description="save the faces of a StyleGAN that a Lensgate accepts")
    parser.add_argument("--network", required=True, help="pickle of the network, a file or a URL")
    parser.add_argument("--gate", default="http://127.0.0.1:8000", help="URL of the gate; LENSGATE_TOKEN has its token")
    parser.add_argument("--count", type=int, default=100, help="images to save (100)")
    parser.add_argument("--batch", type=int, default=32, help="batch size of the network (32)")
    parser.add_argument("--truncation", type=float, default=0.7, help="truncation psi (0.7)")
    parser.add_argument("--expected", choices=["glasses", "no_glasses"], help="expected label of the images")
    parser.add_argument("--out", type=Path, default=Path("faces"), help="output directory (faces)")
    options = parser.parse_args()
    batches = draw(options.network, batch=options.batch, truncation=options.truncation)
    with Gate(options.gate, os.environ.get("LENSGATE_TOKEN")) as gate:
        try:
            stats = keep(gate, batches, save_png(options.out), count=options.count, expected=options.expected)
        except GaveUp as error:
            print(error)
            return 3
    print(stats)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
