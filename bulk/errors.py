"""What can go wrong in a bulk run.

BulkError
├── UsageError          the command's arguments contradict each other; status 2
├── SourceError         SRC holds nothing that can be judged, or it cannot be told what
├── DestinationError    DST or KEEP cannot take what is to be written there
├── EngineError         the engine cannot be started or was lost
├── Stopped             the run was told to stop; what was not finished is not there
└── RowError            one row's image cannot be judged; `code` is stable and stands in the table
    ├── UnreadableFile  the file, or the rest of a shard, could not be fetched; tried again by the next run
    ├── UnreadableFolder  a folder could not be listed; tried again by the next run
    ├── NotAFile        a FIFO, socket or device with the name of an image or shard
    ├── FileTooLarge
    ├── CorruptShard    what follows in a tar or Parquet file cannot be read
    ├── MissingImage    a sample without an image
    ├── InvalidExpected
    ├── ScoringFailed   the model failed on this image alone; tried again by the next run
    └── Internal        a fault of this code; tried again by the next run
"""

from gate.errors import GateError


class BulkError(GateError):
    """Base of every error this package raises on purpose."""


class UsageError(BulkError):
    """Arguments that contradict each other or do not go with SRC."""


class SourceError(BulkError):
    """SRC holds nothing that can be judged, or it cannot be told what."""


class DestinationError(BulkError):
    """DST or KEEP cannot take what is to be written there."""


class EngineError(BulkError):
    """The engine cannot be started, or was lost."""


class Stopped(BulkError):
    """The run was told to stop."""


class RowError(BulkError):
    """One row's image cannot be judged.

    What `may_pass` may be gone the next time: the next run then reads the part again.
    """

    code = "invalid_row"
    may_pass = False


class UnreadableFile(RowError):
    """The file, or the rest of a shard, could not be fetched."""

    code = "unreadable_file"
    may_pass = True


class UnreadableFolder(RowError):
    """The folder could not be listed; nothing in it was judged."""

    code = "unreadable_folder"
    may_pass = True


class NotAFile(RowError):
    """A FIFO, socket or device: opening one may block for ever."""

    code = "not_a_file"
    may_pass = True


class FileTooLarge(RowError):
    """More bytes than are read of one image."""

    code = "file_too_large"


class CorruptShard(RowError):
    """What follows in a tar or Parquet file cannot be read."""

    code = "corrupt_shard"


class MissingImage(RowError):
    """A sample of a shard without an image, or a row whose image is null."""

    code = "missing_image"


class InvalidExpected(RowError):
    """What the generator was asked for is no label."""

    code = "invalid_expected"


class ScoringFailed(RowError):
    """The model failed on this image, and on no other."""

    code = "scoring_failed"
    may_pass = True


class Internal(RowError):
    """Nothing that was foreseen."""

    code = "internal"
    may_pass = True
