"""The statistics extension: what became of requests, and what the model's runs took."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.timings import Stages


@dataclass(slots=True)
class Duration:
    """How often something happened, and its seconds together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Take in one more."""
        self.count += 1
        self.seconds += seconds

    def describe(self) -> dict[str, int]:
        """As the protocol shows it."""
        return {"count": self.count, "ns": round(self.seconds * 1e9)}


# What a stage of ours is called there; `read` is the network's, and in none of them.
_PARTS = {"queue": "queue", "decode": "compute_input", "inference": "compute_infer"}


@dataclass(slots=True)
class _Totals:
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    parts: dict[str, Duration] = field(default_factory=lambda: {name: Duration() for name in _PARTS.values()})
    output: Duration = field(default_factory=Duration)
    last: float = 0.0


class Statistics:
    """Counts the protocol's own requests by version; what else the service answers is in the metrics."""

    def __init__(self) -> None:
        self._totals: dict[str, _Totals] = {}

    def succeed(self, version: str, stages: Stages, *, seconds: float, encoding: float) -> None:
        """Count a request that was answered within `seconds`, of which writing the answer took `encoding`."""
        totals = self._of(version)
        totals.last = time.time()
        totals.success.add(seconds)
        totals.output.add(encoding)
        sums = dict.fromkeys(totals.parts, 0.0)
        for stage in stages.found:
            if part := _PARTS.get(stage.name):
                sums[part] += stage.ended - stage.started
        for name, seconds_of_part in sums.items():
            totals.parts[name].add(seconds_of_part)

    def fail(self, version: str, *, seconds: float) -> None:
        """Count a request that failed, for whatever reason, after `seconds`."""
        totals = self._of(version)
        totals.last = time.time()
        totals.fail.add(seconds)

    def describe(self, name: str, version: str, runs: Mapping[int, tuple[int, float]]) -> dict[str, Any]:
        """The statistics of one version.

        Counts of inferences and executions, and the batches, are of every run of the model, whoever asked for it;
        `inference_stats` are of the requests that came by this protocol.

        Args:
            name: the model's.
            version: the model's.
            runs: by batch size, how many runs there were and their seconds.
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
    """Images are put together and answers taken apart in no time worth measuring: those two count nothing."""
    nothing = Duration().describe()
    return {
        "batch_size": size,
        "compute_input": nothing,
        "compute_infer": Duration(count, seconds).describe(),
        "compute_output": nothing,
    }
