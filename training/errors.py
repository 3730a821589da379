"""What can go wrong on the way from a data set to a model; each text says what to do."""

from gate.errors import GateError


class TrainingError(GateError):
    """Base of every error this package raises on purpose."""


class DataError(TrainingError):
    """A data set that is not there, or not in the Kaggle layout."""


class RecordsError(TrainingError):
    """A folder of TFRecord shards that is missing, incomplete or was written for something else."""


class DamagedError(RecordsError):
    """A shard whose checksums do not fit what is in it."""


class SearchError(TrainingError):
    """A search on several machines whose chief and workers do not find each other any more."""


class ExportError(TrainingError):
    """A network that must not be shipped: its graph does not compute what the network computes."""
