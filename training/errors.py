"""Errors between a data set and a model; each text names the remedy."""

from gate.errors import GateError


class TrainingError(GateError):
    """Base of every error this package raises on purpose."""


class DataError(TrainingError):
    """A data set is missing, or is not in the Kaggle layout."""


class RecordsError(TrainingError):
    """A folder of TFRecord shards is missing, incomplete or belongs to another run."""


class DamagedError(RecordsError):
    """The checksums of a shard do not match its contents."""


class DivergedError(TrainingError):
    """The loss became NaN, so that there is no network to keep."""


class SearchError(TrainingError):
    """In a distributed search, chief and workers cannot reach each other."""


class ExportError(TrainingError):
    """A network must not be shipped: its graph and the Keras network give different results."""
