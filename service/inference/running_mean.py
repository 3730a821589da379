"""A running mean of the time that one image takes at a stage."""

# Weight of the newest value; the memory is about thirty values.
_WEIGHT = 0.03


class RunningMean:
    """An exponentially weighted mean; 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float) -> None:
        """Add a value; the first sets the mean."""
        self.value += (_WEIGHT if self.value else 1.0) * (value - self.value)
