"""Build the documentation site, as `make docs` does."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import DOCS, ROOT


def build_site(folder: Path) -> Path:
    """Build a copy of the pages in `folder` and return the site's folder; a broken link is an error."""
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder / "runs/site"
