"""Colours, and how they mix."""

from collections.abc import Sequence

import numpy as np

Colour = tuple[int, int, int]

BLACK: Colour = (12, 10, 12)
WHITE: Colour = (250, 249, 246)
SHADOW: Colour = (38, 20, 18)

# From very light to very deep; a tone between two neighbours is their mixture.
SKIN_TONES: Sequence[Colour] = (
    (247, 219, 202),
    (240, 204, 180),
    (229, 186, 155),
    (213, 165, 130),
    (190, 138, 102),
    (160, 109, 77),
    (125, 81, 57),
    (92, 59, 44),
)
HAIR_COLOURS: Sequence[Colour] = (
    (26, 22, 22),
    (42, 30, 25),
    (66, 45, 32),
    (97, 66, 43),
    (134, 94, 58),
    (178, 138, 88),
    (214, 180, 128),
    (124, 58, 34),
)
GREY_HAIR: Sequence[Colour] = ((128, 125, 122), (188, 186, 182))
IRISES: Sequence[Colour] = (
    (60, 38, 24),
    (84, 54, 30),
    (112, 84, 44),
    (94, 112, 70),
    (86, 122, 146),
    (118, 138, 150),
)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour `share` of the way from the first to the second."""
    return as_colour([a + (b - a) * share for a, b in zip(first, second, strict=True)])


def scaled(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (`factor` below 1) or brighter."""
    return as_colour([channel * factor for channel in colour])


def as_colour(channels: Sequence[float]) -> Colour:
    """Round three numbers and clip them to 0..255."""
    red, green, blue = (min(255, max(0, round(channel))) for channel in channels)
    return red, green, blue


def along(scale: Sequence[Colour], place: float) -> Colour:
    """Return the colour at `place` (0..1) of a scale."""
    position = place * (len(scale) - 1)
    index = min(int(position), len(scale) - 2)
    return mix(scale[index], scale[index + 1], position - index)


def pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """Draw one of the colours, each as likely as the others."""
    return colours[int(rng.integers(len(colours)))]


def luminance(colour: Colour) -> float:
    """Return the brightness, 0..1 (ITU-R BT.601 weights)."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255
