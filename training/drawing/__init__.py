"""Synthetic portraits with and without eyewear, drawn with numpy and Pillow from a seed; they show no real person."""

from training.drawing.eyewear import Eyewear
from training.drawing.faces import choose_eyewear, draw_faces
from training.drawing.portrait import draw_face

__all__ = ["Eyewear", "choose_eyewear", "draw_face", "draw_faces"]
