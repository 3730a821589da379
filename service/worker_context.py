"""One process among the workers of one service."""

from dataclasses import dataclass

from service.access.shared_buckets import SharedBuckets
from service.process.parent_link import ParentLink


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Number of this worker, its share of the limits, and its link to the parent.

    Args:
        number: of this worker, from 1 on.
        count: number of workers; 1 for a service of one process.
        link: to the parent; None for a service of one process.
        rates: the shared rate limits; None for a service of one process.
    """

    number: int = 1
    count: int = 1
    link: ParentLink | None = None
    rates: SharedBuckets | None = None

    @property
    def is_first(self) -> bool:
        """Whether this worker does the work that one of them has to do, such as deleting old records."""
        return self.number == 1

    def share(self, total: int) -> int:
        """Return this worker's part of a limit that all workers keep together, at least 1."""
        return max(1, total // self.count)

    def threads(self, cores: int) -> int:
        """Return the number of decode threads of this worker.

        The kernel spreads connections unevenly, so a worker may use half as many cores again as its share.
        """
        return min(cores, -(-3 * cores // (2 * self.count)))


ALONE = WorkerContext()
"""The only process of a service."""
