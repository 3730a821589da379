"""A virtual environment for each peer, made once from the versions that `peers/<name>.txt` pins."""

import hashlib
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).with_name("peers")
_DEBIAN_PYTHON = Path("/usr/bin/python3.11")
_INSTALL_SECONDS = 1200.0


class InstallError(RuntimeError):
    """A peer cannot be installed; the text says why."""


def version_of(name: str, distribution: str) -> str:
    """Return the version of `distribution` that `peers/<name>.txt` pins."""
    pins = dict(line.split("==") for line in (PEERS / f"{name}.txt").read_text().splitlines())
    return next(version for pinned, version in pins.items() if pinned.partition("[")[0] == distribution)


def python_of(name: str, folder: Path) -> Path:
    """Return the interpreter of a peer's environment in `folder`/`name`; create it if missing or outdated.

    Raises:
        InstallError: it cannot be created.
    """
    pins = PEERS / f"{name}.txt"
    home = (folder / name).resolve()
    python, stamp = home / "bin/python", home / "pins.sha256"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == wanted):
        print(f"installing {pins.name} into {folder / name}", flush=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        _run([str(_base(name)), "-m", "venv", "--clear", str(home)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        _run([*pip, "--requirement", str(pins)])
        stamp.write_text(wanted)
    return python


def _base(name: str) -> Path:
    """Triton starts the stub of its Python backend only with the libpython of Debian's python3.11."""
    if name != "triton":
        return Path(sys.executable)
    if not _DEBIAN_PYTHON.is_file():
        raise InstallError("Debian's python3.11, python3.11-venv and libpython3.11 are needed")
    return _DEBIAN_PYTHON


def _run(command: list[str]) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{' '.join(command)}: {error}") from error
    if ran.returncode:
        lines = (ran.stderr or ran.stdout).strip().splitlines() or ["no message"]
        raise InstallError(f"{' '.join(command)}: {lines[-1]}")
