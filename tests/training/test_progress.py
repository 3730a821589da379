"""Progress without a terminal: whole lines, and few of them."""

import errno
import io
import sys

import pytest

from training.data import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress.progress_bar(range(300), total=300, title="decode", unit="image")) == list(range(300))
    return stream.getvalue()


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(io.StringIO(), monkeypatch).splitlines() == [
        "decode: 0 of 300 images in 00:00",
        "decode: 300 of 300 images in 00:00",
    ]
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    assert len(shown(io.StringIO(), monkeypatch).splitlines()) == 301


def test_a_terminal_has_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(Terminal(), monkeypatch)
    assert text.startswith("\rdecode:   0%")
    assert text.count("\n") == 1


class Full(io.StringIO):
    """A log on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        self.write("")


class FullTerminal(Full, Terminal):
    """A terminal that went away."""


@pytest.mark.parametrize("stream", [Full(), FullTerminal()])
def test_progress_that_cannot_be_written_ends_no_run(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(stream, monkeypatch) == ""
