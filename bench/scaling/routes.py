"""The measured HTTP routes, each with its requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from bench.scaling.inprocess import BATCH, EDGE, StepTimer, large_images
from bench.scaling.saturation import Traffic
from bench.serving.posts import Post, as_jpeg, image_post, pixels_post
from gate.pixels import Pixels

LARGE_IMAGES = 4
_BATCH_CONNECTIONS = 4
"""Enough to keep a batch ready, and fewer images than the admission limit."""


@dataclass(frozen=True, slots=True)
class MeasuredRoute:
    """A route: its title, its requests, and quantiles of the decode time in ms of a thread."""

    title: str
    traffic: Traffic
    decode_ms: tuple[float, ...]


def kinds(pictures: Sequence[bytes], bare: StepTimer) -> Mapping[str, MeasuredRoute]:
    """Return all routes, built from the same PNG files."""
    jpegs, large = as_jpeg(pictures), large_images(LARGE_IMAGES)
    small = [bare.pixels(data) for data in pictures]
    batch = np.stack(list(islice(cycle(small), BATCH)))
    square = f"{bare.size} x {bare.size}"
    return {
        "png": MeasuredRoute("PNG file", _files(pictures), bare.decode_ms(pictures)),
        "jpeg": MeasuredRoute("JPEG file, quality 92", _files(jpegs), bare.decode_ms(jpegs)),
        "large": MeasuredRoute(
            f"tensor {EDGE} x {EDGE}", Traffic([_tensor(one) for one in large]), bare.shrink_ms(large)
        ),
        "small": MeasuredRoute(f"tensor {square}", Traffic([_tensor(one) for one in small]), (0.0, 0.0)),
        "batch": MeasuredRoute(
            f"tensor {square}, {BATCH} a request",
            Traffic([pixels_post(batch, binary_answer=True)], BATCH, _BATCH_CONNECTIONS),
            (0.0, 0.0),
        ),
    }


def _files(pictures: Sequence[bytes]) -> Traffic:
    return Traffic([image_post("/v1/decisions", data) for data in pictures])


def _tensor(image: Pixels) -> Post:
    return pixels_post(image[np.newaxis], binary_answer=True)
