"""Messages of C++ libraries on standard error."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = r"""
import logging, os, sys
from training.cli.native_log import without_notes
with without_notes():
    os.write(2, b"I0000 00:00:1795936027.418744   16243 port.cc:153] oneDNN custom operations are on.\n")
    os.write(2, b"E0000 00:00:1796036319.940959   15003 cuda_platform.cc:52] failed call to cuInit: INTERNAL: (303)\n")
    logging.getLogger("tensorflow").warning("5 out of the last 9 calls triggered tf.function retracing.")
    logging.getLogger("tensorflow").warning("another warning")
    os.write(2, b"W0000 00:00:1795936027.418744   16243 a.cc:1] a warning\n")
    print("a progress bar", file=sys.stderr)
    os.write(2, b"F0000 00:00:1795936027.418744   16243 a.cc:1] the last words\n")
    os.abort()
"""


def test_native_log_drops_notes_and_keeps_errors_of_an_aborted_process() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert not any(text in ran.stderr for text in ("oneDNN", "retracing"))
    assert all(text in ran.stderr for text in ("a warning", "another warning", "a progress bar", "the last words"))
    assert ("cuInit" in ran.stderr) == Path("/dev/nvidiactl").exists()


def test_a_full_disk_under_standard_error_ends_no_run() -> None:
    script = """
from common.terminal import say
from training.cli.native_log import without_notes
with without_notes():
    say("a message", error=True)
print("ended")
"""
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True, check=True)
    assert ran.stdout == "ended\n"


def test_a_module_in_the_working_directory_does_not_end_the_filter(tmp_path: Path) -> None:
    (tmp_path / "enum.py").write_text("raise SystemExit('shadowed')")
    command = [sys.executable, "-P", "-c", SCRIPT]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "the last words" in ran.stderr
    assert "shadowed" not in ran.stderr


def test_a_process_that_keeps_standard_error_is_left_to_a_thread() -> None:
    script = """
import gc, subprocess, sys
from training.cli.native_log import without_notes
with without_notes():
    keeper = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
gc.collect()
keeper.communicate()
"""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ResourceWarning" not in ran.stderr
