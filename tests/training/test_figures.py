"""Each figure shows its data, and renders as SVG that fits into a page or as a PNG file."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gate import Band
from gate.card import Interval
from tests.support.datasets import barred
from tests.support.figures import covered_or_cut
from training.evaluation.calibrate import reliability
from training.evaluation.selective_risk import risk_coverage
from training.figures import (
    CaptionedImage,
    CurvePoint,
    ImageGroup,
    as_png,
    as_svg,
    confusion_matrix,
    curve,
    feature_maps,
    image_grid,
    interval_chart,
    novelty_histogram,
    reliability_diagram,
    risk_coverage_chart,
    score_histogram,
)
from training.figures.paper_charts import repeated_chart
from training.figures.style import GLASSES, VARIABLES, WIDTH, axis_title

FACES = np.stack([barred(face, bool(face % 2), 20) for face in range(14)])
LOGITS = np.linspace(-4, 4, 81)
LABELS = (LOGITS + np.where(np.arange(81) % 9 == 0, -3, 1) > 0).astype(np.float32)


def written(figure: Figure) -> list[str]:
    """All text on a figure, legends and captions included."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", as_svg(figure, "text"))


def grid(*pictures: CaptionedImage, heading: str = "") -> Figure:
    """A grid of one group."""
    return image_grid([ImageGroup(pictures, heading)])


def line(axes: Axes, name: str) -> list[float]:
    """The heights of the line that the legend calls so."""
    (found,) = (one for one in axes.lines if one.get_label() == name)
    return list(np.asarray(found.get_ydata(), float))


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_curve_shows_both_splits_and_the_epoch_that_was_kept(metric: str) -> None:
    history = {metric: [0.9, 0.5, 0.4], f"val_{metric}": [0.8, 0.3, 0.6]}
    figure = curve(history, metric, kept=2)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", axis_title(metric))
    assert line(axes, "training") == [0.9, 0.5, 0.4]
    assert line(axes, "validation") == [0.8, 0.3, 0.6]
    assert line(axes, "selected epoch 2: 0.300") == [0.3]
    assert "selected epoch 2: 0.300" in written(figure)


def test_models_are_compared_by_value_and_interval_beside_the_baseline() -> None:
    models = {"small": Interval(value=0.9, low=0.85, high=0.94), "$large$": Interval(value=0.95, low=0.95, high=0.95)}
    figure = interval_chart(models, subject="model", baseline=0.8)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("accuracy (share correct)", "model")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["small", "$large$"]
    (points,) = axes.containers
    assert list(points[0].get_xdata()) == [0.9, 0.95]
    low, high = points[2][0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((0.85, 0.94))
    assert {"$large$", "majority label"} <= set(written(figure))
    assert "majority label" not in written(interval_chart(models, subject="model"))


def test_the_reliability_diagram_has_a_bar_for_each_bin() -> None:
    found = reliability((1 / (1 + np.exp(-LOGITS))) ** 2, LABELS, bins=4)
    (axes,) = reliability_diagram("Reliability before", found).axes
    (points,) = axes.containers
    assert list(points[0].get_ydata()) == [one.observed.value for one in found]
    assert list(points[0].get_xdata()) == [one.mean_probability for one in found]
    for bar, one in zip(points[2][0].get_segments(), found, strict=True):
        assert list(bar[:, 1]) == pytest.approx([one.observed.low, one.observed.high])


def test_the_risk_coverage_chart_marks_bands_their_bound_and_the_aim() -> None:
    found = risk_coverage(LOGITS, LABELS)
    marks = [CurvePoint("chosen", 0.7, 0.01, bound=0.0325), CurvePoint("the paper's", 0.9, 0.08)]
    figure = risk_coverage_chart("calibration", found, marks, target=0.04)
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "Risk by coverage, calibration"
    assert line(axes, "every symmetric band") == list(found.risk)
    assert line(axes, "chosen") == [0.01]
    assert line(axes, "the paper's") == [0.08]
    assert line(axes, "certified bound, 3.25 %") == [0.0325]
    assert line(axes, "target: at most 4 %") == [0.04, 0.04]
    low, high = axes.get_xlim()
    assert low < 0.7
    assert high > 1
    assert axes.get_ylim()[1] > max(found.risk)


def test_confusion_matrix_has_a_cell_per_label_and_predicted_label() -> None:
    counts = np.array([[1234, 6], [0, 2000]])
    figure = confusion_matrix({"all images": counts, "accepted images": np.zeros((2, 2), int)})
    first, second = figure.axes
    cells = {text.get_position(): text.get_text() for text in first.texts}
    places = ((0.5, 0.44), (1.5, 0.44), (0.5, 1.44), (1.5, 1.44))
    assert [cells[place] for place in places] == ["1,234", "6", "0", "2,000"]
    assert (cells[0.5, 0.72], cells[1.5, 1.72]) == ("99.5 %", "100.0 %")
    assert [label.get_text() for label in first.get_xticklabels()] == ["glasses", "no\nglasses"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("predicted label", "label in the data set")
    assert (second.get_title(loc="left"), second.texts[0].get_text()) == ("accepted images", "0")


def test_no_text_of_a_chart_covers_another_or_a_curve() -> None:
    """At a width of 4.4 inches, that of a phone."""
    found, share = risk_coverage(LOGITS, LABELS), 1 / (1 + np.exp(-LOGITS))
    history = {"loss": list(np.linspace(1, 0, 40)), "val_loss": list(np.linspace(1, 0.2, 40))}
    interval, point = Interval(value=0.9, low=0.85, high=0.94), Interval(value=0.2, low=0.2, high=0.2)
    marks = [
        CurvePoint("in use, 0.3999 to 0.999439", 0.7, 0.01, bound=0.03),
        CurvePoint("the paper's, 0.4 to 0.6", 0.72, 0.011),
    ]
    charts = {
        "curve": curve(history, "loss", kept=40),
        "intervals": interval_chart({"run-1": interval, "run-2": interval}, subject="run", baseline=0.8),
        "points": interval_chart({"32": point, "64": point}, subject="resolution", quantity="log loss"),
        "paper": repeated_chart(
            ["32", "64"],
            {"seeds": {"32": point, "64": point}},
            paper={"32": 0.2},
            subject="resolution",
            quantity="log loss",
            floor=("floor of the noise", 0.2),
        ),
        "reliability": reliability_diagram("Reliability", reliability(share, LABELS, bins=6)),
        "risk": risk_coverage_chart("test: faces", found, marks, target=0.01),
        "confusion": confusion_matrix({one: np.full((2, 2), 12345) for one in ("all images", "accepted images")}),
        "scores": score_histogram(share, LABELS, Band(0.3999, 0.999439)),
        "novelty": novelty_histogram(LOGITS, LOGITS * 100, 7.25),
    }
    assert {name: pairs for name, figure in charts.items() if (pairs := covered_or_cut(figure))} == {}


def test_scores_are_counted_by_label_and_the_band_is_shaded() -> None:
    probability, labels = np.array([0.02, 0.03, 0.5, 0.99, 1.0]), np.array([0, 0, 1, 1, 1])
    figure = score_histogram(probability, labels, Band(0.4, 0.6))
    heights = [[int(one.get_height()) for one in axes.containers[0]] for axes in figure.axes]
    assert (heights[0][10], heights[0][19], sum(heights[0])) == (1, 2, 3)
    assert (heights[1][0], sum(heights[1])) == (2, 2)
    for axes in figure.axes:
        (band,) = (patch for patch in axes.patches if patch.get_label() == "band 0.4 to 0.6")
        assert band.get_window_extent().width > 0
    assert {"3 with glasses", "2 with no glasses", "1"} <= set(written(figure))


def test_no_bar_of_either_label_is_clipped() -> None:
    probability, labels = np.array([0.99] * 5 + [0.02] * 900), np.array([1] * 5 + [0] * 900)
    for axes in score_histogram(probability, labels, Band(0.4, 0.6)).axes:
        assert axes.get_ylim()[1] > 900


def test_a_threshold_below_zero_lies_inside_the_novelty_chart() -> None:
    (axes,) = novelty_histogram(np.linspace(-9, -4, 50), None, -3.0).axes
    assert axes.get_xlim()[1] > -3.0


@pytest.mark.parametrize("value", [0.0, 1.5, -3.0, 1e9])
def test_equal_novelties_have_a_bar_that_is_seen(value: float) -> None:
    (axes,) = novelty_histogram(np.full(20, value), np.full(9, np.nextafter(value, 9e9)), value).axes
    for bars in axes.containers:
        (bar,) = (one for one in bars if one.get_height())
        assert bar.get_window_extent().width > 5
        assert bar.get_height() == pytest.approx(1)


def test_scores_of_a_single_label_are_drawn_and_names_in_other_scripts(recwarn: pytest.WarningsRecorder) -> None:
    above, below = score_histogram(np.array([0.1, 0.9]), np.zeros(2), Band(0.4, 0.6)).axes
    assert [sum(one.get_height() for one in axes.containers[0]) for axes in (above, below)] == [0, 2]
    assert below.get_ylim()[0] < 1 < below.get_ylim()[1]
    name = "\N{CJK UNIFIED IDEOGRAPH-6570}"
    assert name in written(interval_chart({name: Interval(value=0.9, low=0.8, high=0.95)}, subject="run"))
    assert not recwarn.list


def test_novelty_shows_every_image_however_far_out_and_the_threshold() -> None:
    good, strange = np.linspace(0, 1, 50), np.append(np.linspace(2, 5, 39), 1e6)
    (axes,) = novelty_histogram(good, strange, 1.5).axes
    for bars in axes.containers:
        assert sum(one.get_height() for one in bars) == pytest.approx(1)
    assert axes.get_xlim()[1] < 100
    assert {"50 portraits", "40 outliers", "threshold 1.5"} == set(axes.get_legend_handles_labels()[1])
    assert len(novelty_histogram(good, None, 1.5).axes[0].containers) == 1


def test_the_grid_of_labels_holds_every_example_under_its_label() -> None:
    first, second = (tuple(map(CaptionedImage, part)) for part in (FACES[:7], FACES[7:]))
    figure = image_grid([ImageGroup(first, "glasses"), ImageGroup(second, "no glasses")])
    images = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_array_equal(np.stack(images), FACES)
    assert [text for text in written(figure) if text] == ["glasses", "no glasses"]


def test_a_label_without_examples_is_left_out() -> None:
    figure = image_grid([ImageGroup(tuple(map(CaptionedImage, FACES[:2])), "glasses"), ImageGroup((), "no glasses")])
    assert len(figure.axes) == 2
    assert written(figure) == ["glasses"]


def test_unsure_predictions_have_a_frame_and_their_eyes_enlarged() -> None:
    sure = [CaptionedImage(face, f"sure {index}") for index, face in enumerate(FACES[:6])]
    unsure = [CaptionedImage(FACES[7], "unsure", "#ff0000", marked=True)]
    figure = grid(*sure, *unsure)
    face, eyes = figure.axes[-2:]
    assert len(figure.axes) == 8
    np.testing.assert_array_equal(np.asarray(eyes.images[0].get_array()), FACES[7][7:12, 4:16])
    assert face.get_position().width == pytest.approx(eyes.get_position().width)
    assert eyes.get_position().y1 < face.get_position().y0
    (box,) = face.patches
    assert box.get_window_extent().width > 0
    assert all(spine.get_edgecolor() == (1, 0, 0, 1) for spine in face.spines.values())
    assert written(figure) == [*(f"sure {index}" for index in range(6)), "unsure"]


def test_without_a_sure_or_an_unsure_prediction_the_others_are_shown() -> None:
    assert len(grid(CaptionedImage(FACES[0], "sure")).axes) == 1
    assert len(grid(CaptionedImage(FACES[0], "unsure", marked=True)).axes) == 2


def test_a_grid_of_pictures_has_its_heading_and_captions_of_several_lines() -> None:
    figure = grid(*(CaptionedImage(face, f"a\n{index}") for index, face in enumerate(FACES)), heading="uncertain")
    assert len(figure.axes) == len(FACES)
    assert written(figure).count("uncertain") == 1
    assert written(figure).count("a") == len(FACES)
    below = [box.y0 for axes in figure.axes if (box := axes.get_tightbbox())]
    assert len(below) == len(FACES)
    assert min(below) > 0


def test_feature_maps_are_those_that_vary_most_of_every_block() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(10, 10, 9)), np.zeros((5, 5, 2))
    first[..., 4] *= 100
    figure = image_grid(feature_maps(CaptionedImage(FACES[0], "a face"), [first, second]))
    assert len(figure.axes) == 1 + 6 + 2
    headings = [text for text in written(figure) if text]
    assert headings == ["a face", "input · 20 x 20", "block 1 · 10 x 10 · 9 maps", "block 2 · 5 x 5 · 2 maps"]
    strongest = np.asarray(figure.axes[1].images[0].get_array(), int).sum(axis=2)
    assert np.unravel_index(strongest.argmax(), (10, 10)) == np.unravel_index(first[..., 4].argmax(), (10, 10))


def test_svg_fits_into_a_page_and_takes_its_colours() -> None:
    figure = image_grid([ImageGroup((CaptionedImage(FACES[0]),), "glasses", GLASSES)])
    svg = as_svg(figure, "grid")
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert svg == as_svg(figure, "grid")
    assert not re.search(r"http|<style|DejaVu|<\?xml|<!DOCTYPE", svg)
    assert 'viewBox="0 0 ' in svg
    assert not re.search(r"<svg[^>]* (width|height)=", svg)
    assert "var(--glasses)" in svg
    assert not [colour for colour in VARIABLES if f"fill: {colour}" in svg]


def test_two_figures_on_one_page_share_no_id_that_differs() -> None:
    curves: tuple[dict[str, list[float]], ...] = (
        {"loss": [2, 1], "val_loss": [2, 1]},
        {"loss": [9, 1, 1], "val_loss": [1, 1, 2]},
    )
    found = [as_svg(curve(one, "loss", kept=1), name) for one, name in zip(curves, "ab", strict=True)]
    clips = [set(re.findall(r'<clipPath id="(\w+)"', svg)) for svg in found]
    assert clips[0]
    assert not clips[0] & clips[1]


def test_markup_and_math_in_text_are_drawn_literally() -> None:
    svg = as_svg(grid(CaptionedImage(FACES[0], r"<b>$\frac$&")), "hostile")
    assert r"&lt;b&gt;$\frac$&amp;" in svg
    assert "<b>" not in svg


def test_png_is_as_wide_as_asked_for_on_white() -> None:
    image = Image.open(io.BytesIO(as_png(curve({"loss": [1], "val_loss": [1]}, "loss", kept=1), dpi=100)))
    assert image.size == (round(WIDTH * 100), 290)
    assert image.convert("RGB").getpixel((0, 0)) == (254, 254, 254)


def test_drawing_leaves_matplotlibs_own_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    as_svg(curve({"loss": [1], "val_loss": [1]}, "loss", kept=1), "settings")
    assert dict(mpl.rcParams) == before
