"""A PyTorch data set that yields only the samples that the gate accepts.

    accepted = Accepted(faces, "http://127.0.0.1:8000", expected="glasses")
    for batch in DataLoader(accepted, batch_size=64, num_workers=4):
        ...

`faces` is any data set with a length, such as one of torchvision. Each worker processes its share over its own
connections.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lensgate_client import Gate, GateFilter, Label
from torch.utils.data import Dataset, IterableDataset, get_worker_info


class Accepted(IterableDataset[Any]):
    """The samples of a data set that the gate accepts.

    Each worker receives a copy of this object, so it holds no connection: `__iter__` opens connections in the worker.

    Args:
        faces: the data set.
        url: URL of the gate.
        token: access token, if the gate requires one.
        pixels: returns the image of a sample, uint8 or the bytes of a file; it may convert, as `to_uint8` does.
        expected: expected label of every image.
        options: options of `GateFilter`, such as `max_reject_ratio`.
    """

    def __init__(
        self,
        faces: "Dataset[Any]",
        url: str,
        *,
        token: str | None = None,
        pixels: Callable[[Any], Any] | None = None,
        expected: Label | None = None,
        **options: Any,
    ) -> None:
        self._faces = faces
        self._url = url
        self._token = token
        self._pixels = pixels or first_of
        self._expected = expected
        self._options = options

    def __iter__(self) -> Iterator[Any]:
        """Yield the accepted samples of the worker's share: every n-th sample with n workers."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        samples = (self._faces[index] for index in range(first, len(self._faces), step))
        with Gate(self._url, self._token) as gate:
            yield from GateFilter(gate, pixels=self._pixels, **self._options).take(samples, expected=self._expected)


def first_of(sample: Any) -> Any:
    """Return the image of a sample that may be a tuple of an image and a label."""
    return sample[0] if isinstance(sample, tuple) else sample
