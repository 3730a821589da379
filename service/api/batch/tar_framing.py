"""Parse the images of a tar archive incrementally."""

from collections.abc import Iterator

from common.tar import End as TarEnd
from common.tar_headers import TarError
from common.webdataset import Fate, File, ShardEvent, ShardReader, Unreadable, distinct_path
from service.api.batch.upload_events import IgnoredFile, ImageEnd, ImageStart, RefusedImage, SettleHeld, UploadEvent
from service.errors import MalformedRequest, MissingImage


class TarParser:
    """The images of a tar archive by the rules of `common.webdataset`; every other file is ignored.

    Args:
        limit: maximum image size.
    """

    def __init__(self, limit: int) -> None:
        self._reader = ShardReader(limit)
        self._is_wanted = False

    def feed(self, data: bytes) -> Iterator[UploadEvent]:
        """See `UploadParser`."""
        try:
            for event in self._reader.feed(data):
                yield from self._take(event)
        except TarError as error:
            raise MalformedRequest(str(error)) from error

    def close(self) -> None:
        """See `UploadParser`."""
        try:
            self._reader.close()
        except TarError as error:
            raise MalformedRequest(str(error)) from error

    def _take(self, event: ShardEvent) -> Iterator[UploadEvent]:
        if isinstance(event, File | Unreadable):
            yield from self._begin(event)
        elif self._is_wanted:
            yield ImageEnd() if isinstance(event, TarEnd) else event

    def _begin(self, file: File | Unreadable) -> Iterator[UploadEvent]:
        self._is_wanted = False
        if file.settled is not None:
            yield SettleHeld(is_judged=file.settled is Fate.JUDGE)
        if file.fate not in (Fate.JUDGE, Fate.HOLD):
            yield IgnoredFile()
        elif isinstance(file, Unreadable):
            yield RefusedImage(distinct_path(file.name), MissingImage(file.detail), is_held=file.fate is Fate.HOLD)
        else:
            self._is_wanted = True
            yield ImageStart(distinct_path(file.name), file.size, is_held=file.fate is Fate.HOLD)
