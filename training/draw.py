"""Drawn portraits with and without eyewear, by seed: something to try the whole chain with, and nobody's picture."""

from training.drawing.eyewear import Eyewear
from training.drawing.faces import choose_eyewear, draw_faces
from training.drawing.portrait import draw_face

__all__ = ["Eyewear", "choose_eyewear", "draw_face", "draw_faces"]
