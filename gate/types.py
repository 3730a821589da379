"""Types that decoding and scoring share."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ImageBytes = bytes | bytearray
"""An encoded image file, from a disk or a network."""

Pixels = NDArray[np.uint8]
"""Decoded levels: `[H, W, C]` for an image, `[N, H, W, 3]` for a batch."""

Device = Literal["auto", "cpu", "cuda"]
"""Where the model runs; `auto` is CUDA if this machine has it."""
