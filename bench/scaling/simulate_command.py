"""Simulate 1 to 100 replicas behind a balancer, from measured service times: goodput and tail latencies.

    python -m bench.scaling.simulate_command
    python -m bench.scaling.simulate_command --write docs/operation/scaling.md

Images arrive as a Poisson process (open loop). A replica has two cores and the gate's default limits. Times exclude the
network and other load of the machine.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.scaling import measured
from bench.scaling.arrivals import Mix, work_of
from bench.scaling.balancers import BALANCERS
from bench.scaling.measured import Measured, MeasuredError
from bench.scaling.replica import ANSWERED
from bench.scaling.scenarios import Scenario, ScenarioOutcome
from bench.scaling.simulation import Cluster, FailurePolicy, Outage
from bench.scaling.tables import DocumentError, MarkdownTable, by_name, number, refresh

REPLICAS = (1, 2, 4, 10, 30, 100)
FEW = (2, 4, 16)
PNG_SHARE = 0.7
"""Share of PNG images; the others are JPEG."""
_BURST = 16
_SLOW = 0.5
_STOPS = Outage(0, start=5.0, seconds=4.0)
_NO_POLICY = FailurePolicy(retries=False, max_fails=float("inf"))


@dataclass(frozen=True, slots=True)
class FleetStudy:
    """One table: a row for each number of replicas, a column for each balancer."""

    name: str
    replicas: Sequence[int]
    scenario: Callable[[int], Scenario]
    cell: Callable[[ScenarioOutcome], str]

    def row(self, replicas: int, mix: Mix) -> list[str]:
        """Return the row of so many replicas."""
        scenario = self.scenario(replicas)
        return [str(replicas), *(self.cell(scenario.run(make(), mix)) for make in BALANCERS.values())]

    def table(self, mix: Mix) -> MarkdownTable:
        """Return the table with all rows."""
        return MarkdownTable(
            self.name, ["replicas", *BALANCERS], [self.row(replicas, mix) for replicas in self.replicas]
        )


def _times(outcome: ScenarioOutcome) -> str:
    """Median, 99 % and 99.9 %."""
    return " / ".join(number(outcome.milliseconds(share), 2) for share in (0.5, 0.99, 0.999))


def _goodput(outcome: ScenarioOutcome) -> str:
    return f"{outcome.share(ANSWERED):.1%}, {number(outcome.milliseconds(0.99), 2)}"


def _equal(load: float, burst: int = 1) -> Callable[[int], Scenario]:
    return lambda replicas: Scenario(Cluster([1.0] * replicas), load, burst)


def _slow(replicas: int) -> Scenario:
    return Scenario(Cluster([_SLOW] + [1.0] * (replicas - 1)), 0.7)


def _stopping(policy: FailurePolicy) -> Callable[[int], Scenario]:
    return lambda replicas: Scenario(
        Cluster([1.0] * replicas, outages=[_STOPS], policy=policy),
        0.4,
        window=(_STOPS.start, _STOPS.start + _STOPS.seconds),
    )


STUDIES = (
    FleetStudy("simulated-70", REPLICAS, _equal(0.7), _times),
    FleetStudy("simulated-90", REPLICAS, _equal(0.9), _times),
    FleetStudy("simulated-120", REPLICAS, _equal(1.2), _goodput),
    FleetStudy("simulated-bursts", REPLICAS, _equal(0.7, _BURST), _times),
    FleetStudy("simulated-slow", FEW, _slow, _goodput),
    FleetStudy("simulated-stop", FEW, _stopping(FailurePolicy()), _goodput),
    FleetStudy("simulated-careless", FEW, _stopping(_NO_POLICY), _goodput),
)


def mix_of(figures: Measured, png_share: float = PNG_SHARE) -> Mix:
    """Return the measured mix of PNG and JPEG files."""
    works = [(png_share, work_of(figures.routes["png"])), (1 - png_share, work_of(figures.routes["jpeg"]))]
    return Mix([(share, work) for share, work in works if share > 0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, and write on request; 1 if a file cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and options.png != PNG_SHARE:
        parser.error("a document is written with the images as they are by default: leave out --png")
    try:
        mix = mix_of(measured.load(options.measured), options.png)
        tables = []
        for study in STUDIES:
            tables.append(study.table(mix))
            print(f"{study.name}\n\n{tables[-1]}\n", flush=True)
        if options.write:
            refresh(options.write, by_name(tables))
    except (MeasuredError, DocumentError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling.simulate_command", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--measured", type=Path, default=measured.FILE, help="file written by bench.scaling.measure_command"
    )
    parser.add_argument(
        "--png", type=_share, default=PNG_SHARE, help=f"share of PNG files, the others JPEG ({PNG_SHARE})"
    )
    parser.add_argument("--write", type=Path, help="document whose tables to update")
    return parser


def _share(text: str) -> float:
    if not 0.0 <= (share := float(text)) <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
