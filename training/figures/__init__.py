"""Figures of the paper and the report: functions from numbers to a matplotlib `Figure`.

Figures are readable on a phone, and their colours are distinguishable for the colour-blind (M. Okabe and K. Ito).
Without pyplot there is no global state, so drawing is thread-safe and works without a display.
"""

from training.figures.charts import (
    CurvePoint,
    confusion_matrix,
    curve,
    interval_chart,
    novelty_histogram,
    reliability_diagram,
    risk_coverage_chart,
    score_histogram,
)
from training.figures.image_grids import CaptionedImage, ImageGroup, feature_maps, image_grid
from training.figures.style import as_png, as_svg

__all__ = [
    "CaptionedImage",
    "CurvePoint",
    "ImageGroup",
    "as_png",
    "as_svg",
    "confusion_matrix",
    "curve",
    "feature_maps",
    "image_grid",
    "interval_chart",
    "novelty_histogram",
    "reliability_diagram",
    "risk_coverage_chart",
    "score_histogram",
]
