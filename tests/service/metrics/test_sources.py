"""Decisions by source: which label they get, and that all workers are added."""

import pytest
from prometheus_client import CollectorRegistry

from gate import Label, Reason
from service.errors import SettingsError
from service.metrics.decisions import Metrics
from service.settings import Settings

NAME = "lensgate_source_decisions_total"


def metrics_of(sources: str) -> Metrics:
    made = Metrics(CollectorRegistry())
    made.sources.expect(Settings(sources=sources).listed_sources)
    return made


def value(metrics: Metrics, source: str, expected: str = "none", reason: str = "confident") -> float | None:
    return metrics.registry.get_sample_value(NAME, {"source": source, "expected": expected, "reason": reason})


def test_every_label_exists_at_zero_from_the_start() -> None:
    found = [sample for family in metrics_of("a, b").registry.collect() for sample in family.samples]
    counts = [sample for sample in found if sample.name == NAME]
    assert len(counts) == 4 * 3 * 4
    assert {sample.value for sample in counts} == {0}
    broken = {sample.labels["source"]: sample.value for sample in found if sample.name == "lensgate_source_broken"}
    assert broken == {"a": 0, "b": 0, "other": 0, "none": 0}


def test_sources_that_are_not_listed_share_one_label() -> None:
    metrics = metrics_of("a,b")
    for source in ("a", "c", "d", "none", "other", "A", None):
        metrics.sources.observe(source, None, Reason.CONFIDENT)
    metrics.sources.observe("a", Label.GLASSES, Reason.CONTRADICTED)
    assert value(metrics, "a") == value(metrics, "none") == 1
    assert value(metrics, "other") == 5
    assert value(metrics, "a", "glasses", "contradicted") == 1


def test_workers_are_added() -> None:
    first, second = metrics_of("a"), metrics_of("a")
    for metrics in (first, second, second):
        metrics.sources.observe("a", None, Reason.CONFIDENT)
    reading = first.read()
    reading.add(second.read(), is_alive=True)
    samples = reading.families["lensgate_source_decisions"].samples.values()
    assert sum(sample.value for sample in samples if sample.labels["source"] == "a") == 3


def test_a_source_is_shown_as_broken_until_it_is_not() -> None:
    metrics = metrics_of("a,b")
    metrics.sources.show_broken(["a", "unlisted"])

    def broken() -> set[str]:
        names = ("a", "b", "other", "none")
        return {name for name in names if metrics.registry.get_sample_value("lensgate_source_broken", {"source": name})}

    assert broken() == {"a", "other"}
    metrics.sources.show_broken([None])
    assert broken() == {"none"}


def test_a_broken_source_is_shown_whichever_worker_answers() -> None:
    looked, looks_later = metrics_of("a,b"), metrics_of("a,b")
    looked.sources.show_broken(["a"])

    def broken(answering: Metrics, other: Metrics) -> set[str]:
        reading = answering.read()
        reading.add(other.read(), is_alive=True)
        return {labels["source"] for labels in reading.labels("lensgate_source_broken")}

    assert broken(looked, looks_later) == broken(looks_later, looked) == {"a"}
    looked.sources.show_broken([])
    assert broken(looked, looks_later) == set()


@pytest.mark.parametrize(
    "sources",
    [
        "a,none",
        "other",
        "a\nb",
        "x" * 129,
        ",".join(map(str, range(101))),
        '["a"]',
        '["a", "b"]',
        '"a","b"',
        "'a','b'",
        '["a,b"]',
    ],
)
def test_a_source_that_cannot_be_listed_is_named(sources: str) -> None:
    with pytest.raises(SettingsError, match="LENSGATE_SOURCES"):
        Settings.load({}, {"LENSGATE_SOURCES": sources})


def test_a_source_with_a_quote_of_its_own_can_be_listed() -> None:
    sources = ("o'brien", "'t hooft", 'gan 5"', "[a]")
    assert Settings(sources=",".join(sources)).listed_sources == sources
