"""The properties of a person and of the light that several parts of the portrait share."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from training.drawing.colour import (
    GREY_HAIR,
    HAIR_COLOURS,
    IRISES,
    SKIN_TONES,
    Colour,
    along,
    as_colour,
    mix,
    pick,
)
from training.drawing.geometry import Points, Pose, points, smooth, symmetric

EYE_HEIGHT = 0.47  # Share of the picture's height, as in aligned portraits.
EYE_DISTANCE = 0.25  # Share of the picture's width.


class HairStyle(StrEnum):
    """How the hair lies."""

    BALD = "bald"
    BUZZ = "buzz"
    SHORT = "short"
    TIED = "tied"
    BOB = "bob"
    LONG = "long"
    CURLY = "curly"


HAIR_SHARES = {
    # Of the softer and of the harder faces.
    HairStyle.BALD: (0.01, 0.12),
    HairStyle.BUZZ: (0.03, 0.17),
    HairStyle.SHORT: (0.13, 0.50),
    HairStyle.TIED: (0.15, 0.02),
    HairStyle.BOB: (0.20, 0.04),
    HairStyle.LONG: (0.32, 0.05),
    HairStyle.CURLY: (0.16, 0.10),
}


@dataclass(frozen=True, slots=True)
class Person:
    """One person under one light. Shares are 0..1; `light` is a unit vector `(3,)` towards the lamp, z to us."""

    skin: Colour
    hair: Colour
    iris: Colour
    style: HairStyle
    hard: bool
    age: float
    width: float
    jaw: float
    chin: float
    light: Points
    ambience: float

    @property
    def outline(self) -> Points:
        """Return the head without ears and hair, closed, `(N, 2)`."""
        upper = points((0, -1.5), (0.52, -1.4), (0.92, -1.0), (1.06, -0.45), (1.08, 0.1), (1.02, 0.55))
        lower = points((0.9, 0.97), (0.62, 1.36), (0.3, 1.58), (0, 1.62)) * (self.jaw, self.chin)
        return smooth(symmetric(np.concatenate([upper, lower]) * (self.width, 1.0)), closed=True)


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a random person of any skin tone."""
    hard = bool(rng.random() < 0.5)
    age = float(rng.beta(1.5, 2.0))
    tone = float(rng.beta(0.9, 1.2))
    return Person(
        skin=_skin(rng, tone),
        hair=_hair_colour(rng, tone, age=age),
        iris=_iris(rng, tone),
        style=_style(rng, hard=hard),
        hard=hard,
        age=age,
        width=float(rng.uniform(0.94, 1.03)),
        jaw=float(rng.uniform(1.0, 1.1) if hard else rng.uniform(0.9, 1.0)),
        chin=float(rng.uniform(0.97, 1.06)),
        light=_light(rng),
        ambience=float(rng.uniform(0.34, 0.6)),
    )


def draw_pose(rng: np.random.Generator, *, size: int) -> Pose:
    """Draw a portrait framing with a slight roll, turn, shift and scale."""
    shift = rng.normal(0.0, 0.008, size=2).clip(-0.02, 0.02)
    return Pose(
        centre=(size * (0.5 + float(shift[0])), size * (EYE_HEIGHT + float(shift[1]) * 0.6)),
        scale=size * EYE_DISTANCE * float(rng.uniform(0.93, 1.05)),
        roll=float(np.clip(rng.normal(0.0, 0.05), -0.14, 0.14)),
        turn=float(np.clip(rng.normal(0.0, 0.09), -0.2, 0.2)),
    )


def _skin(rng: np.random.Generator, tone: float) -> Colour:
    base = np.array(along(SKIN_TONES, tone))
    return as_colour((base + rng.normal(0.0, 4.0, size=3)).tolist())


def _hair_colour(rng: np.random.Generator, tone: float, *, age: float) -> Colour:
    # Light hair on deep skin is rare, so that the palette shrinks from its light end as the tone deepens.
    natural = pick(rng, HAIR_COLOURS[: 8 if tone < 0.35 else 5 if tone < 0.6 else 3])
    grey = along(GREY_HAIR, float(rng.random()))
    greyness = float(np.clip((age - 0.55) * 3 * rng.random(), 0, 1))
    return mix(natural, grey, greyness)


def _iris(rng: np.random.Generator, tone: float) -> Colour:
    return pick(rng, IRISES[: 6 if tone < 0.45 else 3])


def _style(rng: np.random.Generator, *, hard: bool) -> HairStyle:
    shares = np.array([pair[hard] for pair in HAIR_SHARES.values()])
    return list(HAIR_SHARES)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _light(rng: np.random.Generator) -> Points:
    towards = np.array([rng.uniform(-0.75, 0.75), rng.uniform(-0.75, -0.2), 1.0])
    return np.asarray(towards / np.linalg.norm(towards))
