"""The statistics extension: counts and durations of requests and of the model's runs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.timings import Stages


@dataclass(slots=True)
class Duration:
    """A count and total seconds."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Add one."""
        self.count += 1
        self.seconds += seconds

    def describe(self) -> dict[str, int]:
        """Return the protocol's form."""
        return {"count": self.count, "ns": round(self.seconds * 1e9)}


# The protocol's names of stages; `read` is network time and not part of them.
_PARTS = {"queue": "queue", "decode": "compute_input", "inference": "compute_infer"}


@dataclass(slots=True)
class _Totals:
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    parts: dict[str, Duration] = field(default_factory=lambda: {name: Duration() for name in _PARTS.values()})
    output: Duration = field(default_factory=Duration)
    last: float = 0.0


class Statistics:
    """Counts V2 requests by model version; the metrics cover all requests."""

    def __init__(self) -> None:
        self._totals: dict[str, _Totals] = {}

    def succeed(self, version: str, stages: Stages, *, seconds: float, encoding: float) -> None:
        """Count a successful request; `encoding` is the part of `seconds` spent on the response."""
        totals = self._of(version)
        totals.last = time.time()
        totals.success.add(seconds)
        totals.output.add(encoding)
        sums = dict.fromkeys(totals.parts, 0.0)
        for stage in stages.measured:
            if part := _PARTS.get(stage.name):
                sums[part] += stage.ended - stage.started
        for name, seconds_of_part in sums.items():
            totals.parts[name].add(seconds_of_part)

    def fail(self, version: str, *, seconds: float) -> None:
        """Count a request that failed after `seconds`."""
        totals = self._of(version)
        totals.last = time.time()
        totals.fail.add(seconds)

    def describe(self, name: str, version: str, runs: Mapping[int, tuple[int, float]]) -> dict[str, Any]:
        """Describe one version.

        Inference and execution counts and batches cover all runs of the model; `inference_stats` cover V2 requests.

        Args:
            name: the model's.
            version: the model's.
            runs: number of runs and their seconds, by batch size.
        """
        totals = self._of(version)
        return {
            "name": name,
            "version": version,
            "last_inference": round(totals.last * 1000),
            "inference_count": sum(size * count for size, (count, _) in runs.items()),
            "execution_count": sum(count for count, _ in runs.values()),
            "inference_stats": {
                "success": totals.success.describe(),
                "fail": totals.fail.describe(),
                **{part: duration.describe() for part, duration in totals.parts.items()},
                "compute_output": totals.output.describe(),
                "cache_hit": Duration().describe(),
                "cache_miss": Duration().describe(),
            },
            "batch_stats": [_describe_batch(size, *runs[size]) for size in sorted(runs)],
        }

    def _of(self, version: str) -> _Totals:
        if version not in self._totals:
            self._totals[version] = _Totals()
        return self._totals[version]


def _describe_batch(size: int, count: int, seconds: float) -> dict[str, Any]:
    """Describe a batch size; assembling inputs and splitting outputs is too fast to measure."""
    zero = Duration().describe()
    return {
        "batch_size": size,
        "compute_input": zero,
        "compute_infer": Duration(count, seconds).describe(),
        "compute_output": zero,
    }
