"""The service's own instruments export what prometheus_client's would."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser

from service.metrics.instruments import LabelledCounter, LabelledHistogram

EDGES = (0.0002, 0.05, 0.37, 1.0, 10.0)


def exported(registry: CollectorRegistry) -> set[str]:
    return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}


def test_a_histogram_exports_the_samples_of_prometheus_client() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    seconds: LabelledHistogram[tuple[str]] = LabelledHistogram("s", "Text", ["route"], edges=EDGES, registry=ours)
    reference = Histogram("s", "Text", ["route"], buckets=EDGES, registry=theirs)
    for value in (0.0, 0.0002, 0.05, 0.2, 0.37, 9.0, 11.0):
        seconds.observe(value, ("/a",))
        reference.labels("/a").observe(value)
    seconds.expect(("/b",))
    reference.labels("/b")
    assert exported(ours) == exported(theirs)


def test_an_exemplar_is_exported_to_scrapers_that_accept_openmetrics() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    seconds: LabelledHistogram[tuple[str]] = LabelledHistogram("s", "Text", ["route"], edges=EDGES, registry=ours)
    reference = Histogram("s", "Text", ["route"], buckets=EDGES, registry=theirs)
    for value, trace in ((0.0002, "a1"), (0.2, "b2"), (0.3, "c3"), (11.0, "d4")):
        seconds.observe(value, ("/a",))
        seconds.link(value, ("/a",), trace_id=trace)
        reference.labels("/a").observe(value, {"trace_id": trace})
    seconds.link(0.5, ("/b",), trace_id="without a value")
    reference.labels("/b")
    assert openmetrics(ours) == openmetrics(theirs)
    assert "trace_id" not in generate_latest(ours).decode()
    seconds.restart(EDGES)
    seconds.expect(("/a",))
    assert "trace_id" not in str(openmetrics(ours))


def openmetrics(registry: CollectorRegistry) -> list[str]:
    """The lines of the format as a parser of it accepts them, without the times of their exemplars."""
    text = openmetrics_exposition.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    assert list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    return [re.sub(r"(# {.*} \S+) [\d.]+$", r"\1", line) for line in text.splitlines() if "_created" not in line]


def test_a_counter_exports_the_samples_of_prometheus_client() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    images: LabelledCounter[tuple[str, str]] = LabelledCounter("i", "Text", ["kind", "of"], registry=ours)
    reference = Counter("i", "Text", ["kind", "of"], registry=theirs)
    images.add(("a", 'quoted "b"'), 3)
    reference.labels("a", 'quoted "b"').inc(3)
    images.expect(("c", "d"))
    reference.labels("c", "d")
    assert exported(ours) == exported(theirs)


def test_a_name_is_registered_once() -> None:
    registry = CollectorRegistry()
    LabelledCounter("i", "Text", [], registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        LabelledCounter("i", "Text", [], registry=registry)


def test_counts_of_many_threads_add_up() -> None:
    registry = CollectorRegistry()
    images: LabelledCounter[tuple[()]] = LabelledCounter("i", "Text", [], registry=registry)

    def add_many() -> None:
        for _ in range(2_000):
            images.add(())

    with ThreadPoolExecutor(8) as threads:
        for each in [threads.submit(add_many) for _ in range(8)]:
            each.result()
    assert registry.get_sample_value("i_total") == 16_000


@pytest.mark.parametrize(("linked", "shown"), [(7.0, "0.37"), (0.38, "0.37"), (0.2, "0.2"), (0.04, "0.05")])
def test_an_exemplar_measured_differently_stays_beside_its_count(linked: float, shown: str) -> None:
    registry, edges = CollectorRegistry(), (0.05, 0.37, 1.0)
    seconds: LabelledHistogram[tuple[()]] = LabelledHistogram("s", "Text", [], edges=edges, registry=registry)
    seconds.observe(0.2, ())
    seconds.link(linked, (), trace_id="a1")
    (line,) = [line for line in openmetrics(registry) if "trace_id" in line]
    assert line.startswith(f's_bucket{{le="0.37"}} 1.0 # {{trace_id="a1"}} {shown}')


def test_folder_for_processes_of_prometheus_client_is_ignored(tmp_path: Path) -> None:
    """Images and service managers set it for other programs; the workers add their metrics themselves."""
    code = "import service; from prometheus_client import Counter; Counter('x', 'x').inc()"
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        for folder in (tmp_path, tmp_path / "missing"):
            subprocess.run([sys.executable, "-c", code], env={**os.environ, name: str(folder)}, check=True)
    assert not list(tmp_path.iterdir())
