"""The images of a tar archive, pushed in pieces of any size."""

from collections.abc import Iterator

from common.tar import End as TarEnd
from common.tar_headers import TarError
from common.webdataset import Fate, File, ShardEvent, ShardReader, Unreadable, printable
from service.api.batch.upload_events import Begin, End, Event, Ignored, Refused, Settle
from service.errors import MalformedRequest, MissingImage


class TarParser:
    """The images of a tar archive by the rules of `common.webdataset`; every other file is ignored.

    Args:
        limit: largest image whose bytes are wanted.
    """

    def __init__(self, limit: int) -> None:
        self._reader = ShardReader(limit)
        self._is_wanted = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """See `Parser`."""
        try:
            for event in self._reader.feed(data):
                yield from self._take(event)
        except TarError as error:
            raise MalformedRequest(str(error)) from error

    def close(self) -> None:
        """See `Parser`."""
        try:
            self._reader.close()
        except TarError as error:
            raise MalformedRequest(str(error)) from error

    def _take(self, event: ShardEvent) -> Iterator[Event]:
        if isinstance(event, File | Unreadable):
            yield from self._begin(event)
        elif self._is_wanted:
            yield End() if isinstance(event, TarEnd) else event

    def _begin(self, file: File | Unreadable) -> Iterator[Event]:
        self._is_wanted = False
        if file.settled is not None:
            yield Settle(is_judged=file.settled is Fate.JUDGE)
        if file.fate not in (Fate.JUDGE, Fate.HOLD):
            yield Ignored()
        elif isinstance(file, Unreadable):
            yield Refused(printable(file.name), MissingImage(file.detail), is_held=file.fate is Fate.HOLD)
        else:
            self._is_wanted = True
            yield Begin(printable(file.name), file.size, is_held=file.fate is Fate.HOLD)
