"""Inputs of a plan: prices, and the composition of loads and fleets."""

import argparse
from dataclasses import dataclass, field, fields
from typing import Any, Self


def _input(default: float, text: str, *, least: float = 0.0, most: float = float("inf")) -> Any:
    return field(default=default, metadata={"help": text, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class Inputs:
    """Prices in dollars; each field is a flag of `bench.scaling.cost_command`."""

    core_hour: float = _input(0.04, "price of a core for an hour")
    gpu_hour: float = _input(2.5, "price of a GPU for an hour")
    gigabyte: float = _input(0.023, "price of a gigabyte kept for a month")
    egress: float = _input(0.01, "price of a gigabyte that leaves a zone for another")
    peak: float = _input(3.0, "the busiest minutes' rate over the day's mean", least=1.0)
    load: float = _input(
        0.6, "load of a replica in the busiest minutes, as a share of its capacity", least=0.01, most=1.0
    )
    spare: int = _input(1, "replicas that may be missing")
    replica_cores: int = _input(2, "cores of a replica", least=1)
    bulk_load: float = _input(0.9, "share of its cores that a bulk run keeps busy", least=0.01, most=1.0)
    discarded: float = _input(0.15, "share of images that is discarded, of which pictures are kept", most=1.0)
    scrape_seconds: float = _input(15.0, "time between two scrapes of Prometheus", least=1.0)
    sample_bytes: float = _input(2.0, "bytes per sample that Prometheus keeps on disk")
    link: float = _input(1.0, "gigabytes a second of a machine's network, each way", least=0.001)
    most_series: float = _input(1e6, "series that one Prometheus is to hold", least=1.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add a flag for each field."""
        for each in fields(cls):
            parser.add_argument(
                "--" + each.name.replace("_", "-"),
                type=type(each.default),
                default=each.default,
                metavar="NUMBER",
                help=f"{each.metadata['help']} ({each.default:g})",
            )

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """Return the values of the flags.

        Raises:
            ValueError: a number is out of range; the text names the flag.
        """
        given = {each.name: getattr(options, each.name) for each in fields(cls)}
        for each in fields(cls):
            least, most = each.metadata["least"], each.metadata["most"]
            if not least <= given[each.name] <= most:
                flag = "--" + each.name.replace("_", "-")
                raise ValueError(f"{flag} {given[each.name]:g} is not from {least:g} to {most:g}")
        return cls(**given)
