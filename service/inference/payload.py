"""Hand large buffers from function to function without keeping them alive on the way."""

from typing import Generic, TypeVar

_Data_co = TypeVar("_Data_co", covariant=True)


class Payload(Generic[_Data_co]):
    """A request body, an image file or pixels, owned by one holder at a time.

    Functions pass the payload on, and the one that uses the data takes it. A coroutine that waits, or an exception that
    refers to its frame, then holds an empty payload instead of megabytes.
    """

    __slots__ = ("_data",)

    def __init__(self, data: _Data_co) -> None:
        self._data: _Data_co | None = data

    @property
    def data(self) -> _Data_co:
        """The data, to look at without taking it.

        Raises:
            ValueError: it was taken or dropped.
        """
        if self._data is None:
            raise ValueError("the payload is empty: it was taken or dropped")
        return self._data

    def take(self) -> _Data_co:
        """Hand the data over; the payload is empty afterwards.

        Raises:
            ValueError: it was taken or dropped.
        """
        data, self._data = self.data, None
        return data

    def drop(self) -> None:
        """Free the data if it was not taken."""
        self._data = None
