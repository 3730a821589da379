"""Compare the service's counters with the client's."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.samples import Sample

from bench.metrics import read_samples
from bench.serving.posts import INFER
from bench.soak.load import ClientResults
from bench.soak.requests import NO_ROUTE

INFER_ROUTE = "/v2/models/{name}/infer"
CLIENT_CLOSED = "499"
"""The status under which the service counts requests that the client left."""


class Counters:
    """The growth of the service's counters from now on.

    Args:
        port: where the service listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._before = read_samples(port)

    def differences(self, seen: ClientResults) -> Iterator[str]:
        """Return one text per series that differs between service and client; empty if all agree."""
        now = read_samples(self._port)
        expectations: tuple[tuple[str, Mapping[tuple[str, ...], int], Sequence[str]], ...] = (
            ("decisions_total", seen.decisions, ("decision", "reason")),
            ("image_errors_total", {(code,): count for code, count in seen.image_errors.items()}, ("code",)),
            ("requests_total", _routes(seen), ("route", "status")),
        )
        for name, expected, labels in expectations:
            counted = _sums(now, name, labels)
            counted.subtract(_sums(self._before, name, labels))
            yield from _compare(name, expected, counted)


def _sums(samples: Iterable[Sample], name: str, labels: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Sum the samples of a metric by these labels, over all other labels."""
    sums: Counter[tuple[str, ...]] = Counter()
    for sample in samples:
        if sample.name == f"lensgate_{name}":
            sums[tuple(sample.labels[label] for label in labels)] += int(sample.value)
    return sums


def _routes(seen: ClientResults) -> dict[tuple[str, ...], int]:
    """Answers by the route label and status; paths that are not routes share one label."""
    counts: Counter[tuple[str, ...]] = Counter()
    for (path, status), count in seen.statuses.items():
        route = {INFER: INFER_ROUTE, NO_ROUTE: "other"}.get(path, path)
        counts[route, str(status)] += count
    return dict(counts)


def _compare(name: str, expected: Mapping[tuple[str, ...], int], counted: Counter[tuple[str, ...]]) -> Iterator[str]:
    routes = {labels[0] for labels in expected}
    for labels in sorted({*expected, *counted}):
        if name == "requests_total" and (labels[0] not in routes or labels[1] == CLIENT_CLOSED):
            continue  # GETs are not compared, and a request that the client left has no answer.
        if expected.get(labels, 0) != counted[labels]:
            found, wanted = counted[labels], expected.get(labels, 0)
            yield f"{name} {' '.join(labels)}: the service counted {found:,}, the client {wanted:,}"
