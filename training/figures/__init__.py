"""Every figure of the paper and of the report, each a function from numbers to a matplotlib `Figure`.

They are narrow enough to be read on a phone, and in colours that the colour-blind tell apart (M. Okabe and K. Ito).
No pyplot and no state: what draws them may run in several threads, and needs no display.
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
