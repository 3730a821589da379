import errno
import io
import threading
from collections.abc import Iterator

import pytest

from bulk.output.tally import Counts
from bulk.progress import Progress, Survey, Total
from bulk.summary import Summary
from bulk.work_unit import WorkUnit
from common.source_report import Cell
from common.storage import StoredFile
from gate import Reason


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_outside_a_terminal_a_line_is_written_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    progress.judged(Counts(accepted=7, discarded=2, errors=1))
    assert stream.getvalue() == ""
    progress.close()
    assert stream.getvalue() == ""
    clock.now += 10
    progress.judged(Counts(accepted=10))
    assert stream.getvalue() == "20 images  2.0/s  accepted 17  discarded 2  errors 1  shard 0\n"


class Full(io.StringIO):
    """A stream to a full disk."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_lines_that_cannot_be_written_end_no_run() -> None:
    stream, clock = Full(), Clock()
    progress = Progress(stream, clock=clock)
    clock.now += 10
    progress.judged(Counts(accepted=1))
    progress.close()
    assert stream.getvalue().count("1 images") == 2


def test_on_a_terminal_one_line_is_rewritten_and_left_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "51")
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock=clock)
    progress.knows(Total(units=4, images=0))
    progress.skipped(5)
    clock.now += 1
    progress.finished()
    progress.close()
    first, second = stream.getvalue().split("\r")[1:]
    assert first == "0 images  0.0/s  0:00:02 left  accepted 0  discarded 0  errors 0"[:50]
    assert second == f"{first}\n"


@pytest.mark.parametrize(("images", "left"), [(1_000, "0:01:20"), (0, "0:01:00")], ids=["by images", "by parts"])
def test_the_time_left_is_estimated_from_the_images_judged_so_far(images: int, left: str) -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    progress.knows(Total(units=8, images=images))
    progress.skipped(100)
    clock.now += 9
    progress.judged(Counts(accepted=100))
    progress.finished()
    clock.now += 1
    progress.judged(Counts())
    line = stream.getvalue().splitlines()[-1]
    assert f"  {left} left  " in line
    assert line.endswith("shard 2 of 8")


def test_units_are_counted_beside_the_run() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    all_counted = threading.Event()

    def units() -> Iterator[WorkUnit]:
        for number in range(5):
            files = (StoredFile("x", 1, ""),)
            yield WorkUnit(kind="images", source="s", root="s", slot=str(number), files=files, images=3)
        all_counted.set()

    with Survey(units(), progress):
        assert all_counted.wait(300)
    clock.now += 10
    progress.judged(Counts(accepted=3))
    assert stream.getvalue() == "3 images  0.3/s  0:00:40 left  accepted 3  discarded 0  errors 0  shard 0 of 5\n"


def test_the_worst_of_many_sources_are_shown() -> None:
    sources = {f"source-{number:02d}": Counts(accepted=100 - number, discarded=number) for number in range(30)}
    summary = Summary(sources=sources, skipped=Counts(accepted=5), reused=2, removed=3, seconds=2.0)
    lines = list(summary.lines())
    assert lines[1].split()[0] == "source-10"
    assert lines[-3] == "and 10 sources with no higher reject ratio"
    assert lines[-1].endswith("5 skipped, 2 scores reused, 3 stale shards removed")
    assert summary.rate == (3_000 - 5) / 2
    assert summary.total.reject_ratio == pytest.approx(0.145)


def test_a_named_source_has_a_line_and_a_broken_one_says_why() -> None:
    cells = {
        Cell("good", None, 9, Reason.CONFIDENT): 100,
        Cell("bad\n", None, 9, Reason.CONFIDENT): 30,
        Cell("bad\n", None, 5, Reason.UNCERTAIN): 30,
        Cell("folder", None, 9, Reason.CONFIDENT): 50,
    }
    summary = Summary(sources={"folder": Counts()}, skipped=Counts(), reused=0, removed=0, seconds=0.0, cells=cells)
    assert list(summary.lines())[-5:-1] == [
        "bad\\n: 60 images, 50.0% accepted, 50.0% uncertain, 0.0% contradicted, 0.0% unfamiliar",
        "bad\\n differs: uncertain 50.0%, others 0.0%",
        "bad\\n differs: discarded 50.0%, others 0.0%",
        "good: 100 images, 100.0% accepted, 0.0% uncertain, 0.0% contradicted, 0.0% unfamiliar",
    ]


def test_the_reject_ratio_of_an_empty_run_is_zero() -> None:
    summary = Summary(sources={}, skipped=Counts(), reused=0, removed=0, seconds=0.0)
    assert (summary.total.reject_ratio, summary.rate) == (0.0, 0.0)
    assert next(summary.lines()).startswith("source ")
