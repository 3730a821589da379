"""Limits the size of a request head, and of an incomplete line, which the parser buffers without a callback."""

from service.errors import HeaderTooLarge


class HeadSize:
    """Counts the bytes of one request head after another.

    Args:
        limit: limit of request line, headers and trailers together.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._size = 0
        self._buffered = 0
        self._is_silent = True

    def begin(self) -> None:
        """Begin another head."""
        self._size = 0

    def add(self, length: int) -> None:
        """Count a part of the head; raise HeaderTooLarge beyond the limit."""
        self.note_callback()
        self._size += length
        self._check(self._size)

    def note_callback(self) -> None:
        """Note a callback of the parser."""
        self._is_silent = False

    def begin_piece(self) -> None:
        """Begin a piece of received bytes."""
        self._is_silent = True

    def end_piece(self, length: int) -> None:
        """Count a piece without a callback of the parser; raise HeaderTooLarge beyond the limit."""
        self._buffered = self._buffered + length if self._is_silent else 0
        self._check(self._buffered)

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise HeaderTooLarge(
                f"the request head exceeds {self.limit:,} bytes: shorten the URL or the headers, such as cookies, or "
                "raise LENSGATE_MAX_HEADER_BYTES"
            )
