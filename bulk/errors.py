"""The errors of bulk runs.

BulkError
├── UsageError          contradictory arguments; status 2
├── SourceError         SRC holds no images, or its format is ambiguous
├── DestinationError    DST or KEEP cannot be written
├── EngineError         the engine cannot be started or was lost
├── Stopped             the run was stopped; unfinished shards are not written
└── RowError            one image cannot be judged; `code` is stable and appears in the table
    ├── UnreadableFile  the file, or the rest of a shard, could not be fetched; retried by the next run
    ├── UnreadableFolder  a folder could not be listed; retried by the next run
    ├── NotAFile        a FIFO, socket or device named like an image or shard; retried by the next run
    ├── FileTooLarge
    ├── CorruptShard    the rest of a tar or Parquet file is damaged
    ├── MissingImage    a sample without an image
    ├── InvalidExpected the requested label is missing or not a label
    ├── InvalidSource   the source is not a valid one
    ├── ScoringFailed   the model failed on this image only; retried by the next run
    └── Internal        an unexpected error; retried by the next run
"""

from gate.errors import GateError


class BulkError(GateError):
    """Base of all errors that this package raises on purpose."""


class UsageError(BulkError):
    """Arguments contradict each other or do not apply to SRC."""


class SourceError(BulkError):
    """SRC holds no images, or its format is ambiguous."""


class DestinationError(BulkError):
    """DST or KEEP cannot be written."""


class EngineError(BulkError):
    """The engine cannot be started, or was lost."""


class Stopped(BulkError):
    """The run was stopped."""


class RowError(BulkError):
    """One image cannot be judged.

    An error with `may_pass` may be transient, so the next run reads the unit again.
    """

    code = "invalid_row"
    may_pass = False


class UnreadableFile(RowError):
    """The file, or the rest of a shard, could not be fetched."""

    code = "unreadable_file"
    may_pass = True


class UnreadableFolder(RowError):
    """The folder could not be listed; its images were not judged."""

    code = "unreadable_folder"
    may_pass = True


class NotAFile(RowError):
    """A FIFO, socket or device; opening one may block forever."""

    code = "not_a_file"
    may_pass = True


class FileTooLarge(RowError):
    """The image exceeds the size limit."""

    code = "file_too_large"


class CorruptShard(RowError):
    """The rest of a tar or Parquet file is damaged."""

    code = "corrupt_shard"


class MissingImage(RowError):
    """A sample of a shard has no image, or a row's image is null."""

    code = "missing_image"


class InvalidExpected(RowError):
    """The requested label is invalid."""

    code = "invalid_expected"


class InvalidSource(RowError):
    """The source named for an image is invalid."""

    code = "invalid_source"


class ScoringFailed(RowError):
    """The model failed on this image and on no other."""

    code = "scoring_failed"
    may_pass = True


class Internal(RowError):
    """An unexpected error."""

    code = "internal"
    may_pass = True
