"""Small labelled data sets on disk: portraits that a network tells apart at once, by a bar across the eyes."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.support.images import Pixels, encode, portrait


def write_dataset(
    folder: Path,
    labels: Mapping[int, int],
    *,
    test: Mapping[int, int | None] | None = None,
    images: str = "faces-spring-2020/faces-spring-2020",
    kind: str = "PNG",
    latents: int = 4,
) -> Path:
    """Write `train.csv`, `test.csv` if given and the images, 64 x 64, in the Kaggle layout."""
    (folder / images).mkdir(parents=True)
    for face, label in {**labels, **(test or {})}.items():
        ending = "jpg" if kind == "JPEG" else kind.lower()
        (folder / images / f"face-{face}.{ending}").write_bytes(encode(barred(face, bool(label)), kind))
    _write_table(folder / "train.csv", labels, latents)
    if test is not None:
        _write_table(folder / "test.csv", test, latents)
    return folder


def barred(face: int, glasses: bool, size: int = 64) -> Pixels:
    """Return a distinct image for each `face`, with a dark bar in place of glasses."""
    pixels = portrait(size, seed=face)
    if glasses:
        pixels[size // 3 : size // 2] //= 4
    return pixels


def half(count: int, *, first: int = 1) -> dict[int, int]:
    """`count` labels, every other one with glasses."""
    return {first + index: index % 2 for index in range(count)}


def _write_table(path: Path, labels: Mapping[int, int | None], latents: int) -> None:
    random = np.random.default_rng(0)
    known = None not in labels.values()
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", *(f"v{index + 1}" for index in range(latents)), *(["glasses"] if known else [])])
        for face, label in labels.items():
            rows.writerow([face, *random.normal(size=latents).round(3), *([label] if known else [])])
