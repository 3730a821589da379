"""Types that decoding and scoring share."""

import numpy as np
from numpy.typing import NDArray

ImageBytes = bytes | bytearray
"""An encoded image file, from a disk or a network."""

Pixels = NDArray[np.uint8]
"""Decoded levels: `[H, W, C]` for an image, `[N, H, W, 3]` for a batch."""
