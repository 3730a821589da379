"""One portrait, from the background to the camera."""

import numpy as np
from PIL import Image

from training.drawing.background import draw_background
from training.drawing.camera import photograph
from training.drawing.canvas import Canvas
from training.drawing.clothes import draw_clothes
from training.drawing.eyewear import Eyewear, draw_front, draw_temples, make_glasses
from training.drawing.face import draw_age, draw_beard, draw_ears, draw_neck, draw_skin
from training.drawing.features import draw_brows, draw_cast_lines, draw_eyes, draw_look, draw_mouth, draw_nose
from training.drawing.hair import draw_back_hair, draw_hair
from training.drawing.person import Person, draw_person, draw_pose
from training.drawing.relief import Relief, light_head

PARTS = ("person", "pose", "background", "clothes", "skin", "features", "hair", "eyewear", "camera")


def draw_face(rng: np.random.Generator, eyewear: Eyewear, *, size: int = 1024) -> Image.Image:
    """Draw a portrait, RGB, `size` by `size` pixels, of a random person with this eyewear.

    Generators in the same state give the same picture, and the same person whatever the eyewear: every part has a
    random generator of its own.
    """
    seeds = rng.integers(2**63, size=len(PARTS)).tolist()
    chance = {part: np.random.default_rng(seed) for part, seed in zip(PARTS, seeds, strict=True)}
    person = draw_person(chance["person"])
    canvas = Canvas(draw_background(chance["background"], size=size), draw_pose(chance["pose"], size=size))
    relief = light_head(person, canvas.pose, size=size)
    glasses = make_glasses(chance["eyewear"], eyewear, person=person)
    draw_back_hair(canvas, person, relief=relief, rng=chance["hair"])
    draw_neck(canvas, person)
    draw_clothes(canvas, person, rng=chance["clothes"])
    draw_ears(canvas, person)
    head = _draw_head(canvas, person, relief=relief, chance=chance)
    if glasses is not None:
        draw_temples(canvas, glasses, person=person)
    draw_hair(canvas, person, relief=relief, head=head, rng=chance["hair"])
    if glasses is not None:
        draw_front(canvas, glasses, person=person, rng=chance["eyewear"])
    return photograph(canvas.image, chance["camera"])


def _draw_head(
    canvas: Canvas, person: Person, *, relief: Relief, chance: dict[str, np.random.Generator]
) -> Image.Image:
    rng = chance["features"]
    look = draw_look(rng, person)
    head = draw_skin(canvas, person, relief=relief, rng=chance["skin"])
    draw_age(canvas, person, head=head)
    draw_nose(canvas, person, head=head)
    draw_beard(canvas, person, head=head, rng=rng)
    draw_mouth(canvas, person, head=head, rng=rng)
    draw_eyes(canvas, person, look=look, head=head)
    draw_brows(canvas, person, look=look, rng=rng)
    draw_cast_lines(canvas, head=head, rng=rng)
    return head
