"""The error of a machine on which no further thread can be started."""

import subprocess
import sys

import pytest

from common.thread_limit import explained_thread_limit
from tests.conftest import ROOT

OPTIONS = '{"worker": {"flags": {}, "count": 2, "port": 0, "metrics_port": null, "grpc_port": null, "rates": 0}}'

LIMIT = """
import json, sys, threading

def start(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
"""


@pytest.mark.parametrize(
    "start",
    [
        "from lensgate.cli import main; sys.exit(main(['serve']))",
        "from lensgate.cli import main; sys.exit(main(['models', 'list']))",
        "from service.process.parent import ParentOptions, main\n"
        f"options = json.loads({OPTIONS!r}) | {{'reload_seconds': 1.0, 'log_level': 'info'}}\n"
        "sys.exit(main(ParentOptions.decode(json.dumps(options))))",
        "from service.process.parent import WorkerOptions\nfrom service.worker_command import main\n"
        f"sys.exit(main(WorkerOptions(**json.loads({OPTIONS!r})['worker'], link=0)))",
    ],
    ids=["service", "command", "parent", "worker"],
)
def test_a_process_that_cannot_start_a_thread_says_what_to_do(start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMIT + start],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.partition(":")[0]) == (1, "lensgate")
    assert "no further thread can be started: raise the limit of processes" in line


def test_another_error_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="deadlock"), explained_thread_limit():
        raise RuntimeError("deadlock")
