"""The figures that the paper states.

A. Schiavone, *Binary Classification of GAN-generated High-Resolution Images via Convolutional Neural Networks*,
Università Statale di Milano, September 2021. It ran each experiment once.
"""

from dataclasses import dataclass

IMAGES = 4_500
GLASSES = 0.635
"""Share of its labels that say glasses."""

WRONG_LABELS = 523
"""Labels that a later hand count found to contradict the image."""

FILE_IMAGES = 450
"""Images in one TFRecord file."""

PREPARING_MINUTES = "4 to 5"
PREPARED_GIGABYTES = 0.011

RAW_LABELS = (0.885, 0.290)
"""Accuracy and log loss of another project on the same images and labels, at 128 pixels."""

CLEANED_LABELS = (0.990, 0.101)
"""The same project after it had removed 523 images by hand."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table of the paper: accuracy, and log loss, seconds or megabytes of a file where stated."""

    accuracy: float
    log_loss: float | None = None
    seconds: float | None = None
    megabytes: float | None = None


RESOLUTION = {
    "32": Figure(0.8611, megabytes=1.1),
    "64": Figure(0.8733, megabytes=3.6),
    "128": Figure(0.8444, megabytes=13.0),
}
BATCH_SIZE = {
    "32": Figure(0.895, seconds=33.4),
    "64": Figure(0.899, seconds=40.0),
    "128": Figure(0.887, seconds=34.4),
}
MODELS = {
    "untuned": Figure(0.887, 0.388),
    "tuned architecture": Figure(0.867, 0.320),
    "tuned learning rate": Figure(0.869, 0.318),
}
TRIALS = 5
"""Combinations that its random search tried."""
