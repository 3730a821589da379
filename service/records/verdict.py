"""What a person says an image shows."""

from enum import StrEnum


class Verdict(StrEnum):
    """The labels, and that it cannot be told."""

    GLASSES = "glasses"
    NO_GLASSES = "no_glasses"
    UNCLEAR = "unclear"
