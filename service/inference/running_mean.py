"""How long one image takes at a stage, learned as it goes."""

# The share of the newest value: some thirty values back is forgotten.
_WEIGHT = 0.03


class RunningMean:
    """An exponentially weighted mean; 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, value: float) -> None:
        """Take in a value; the first is taken as it is."""
        self.value += (_WEIGHT if self.value else 1.0) * (value - self.value)
