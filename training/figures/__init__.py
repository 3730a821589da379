"""Figures of the paper and the report: functions from numbers to a matplotlib `Figure`.

Figures are readable on a phone, and their colours are distinguishable for the colour-blind (M. Okabe and K. Ito).
Without pyplot there is no global state, so drawing is thread-safe and works without a display.
"""

from training.figures.charts import (
    CurvePoint,
    curve,
    interval_chart,
    novelty_histogram,
    reliability_diagram,
    risk_coverage_chart,
    score_histogram,
)
from training.figures.image_grids import CaptionedImage, feature_maps, label_grid, picture_grid, prediction_grid
from training.figures.style import as_png, as_svg

__all__ = [
    "CaptionedImage",
    "CurvePoint",
    "as_png",
    "as_svg",
    "curve",
    "feature_maps",
    "interval_chart",
    "label_grid",
    "novelty_histogram",
    "picture_grid",
    "prediction_grid",
    "reliability_diagram",
    "risk_coverage_chart",
    "score_histogram",
]
