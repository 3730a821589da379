"""`make test` notices when the fast lane can no longer start, which it does not run itself."""

import subprocess
import sys

from tests.support.fast_lane import TESTS


def test_fast_lane_imports_no_large_framework() -> None:
    command = [sys.executable, "-m", "pytest", "--fast", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stdout[-2_000:]
