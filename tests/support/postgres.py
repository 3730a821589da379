"""A real PostgreSQL for a test: Debian's, on a private socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres"


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of an empty database; server and files are gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="lensgate-postgres-"))
    try:
        if _is_root():
            owner = pwd.getpwnam(_USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _run("initdb", "--pgdata", folder / "data", "--auth=trust", "--no-sync", f"--username={_USER}")
        # No TCP port is opened; durability is off because test data is disposable.
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        _run("pg_ctl", "--pgdata", folder / "data", "--wait", "--log", folder / "log", "--options", options, "start")
        try:
            yield f"postgresql://{_USER}@/{_USER}?host={folder}"
        finally:
            _run("pg_ctl", "--pgdata", folder / "data", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _is_root() -> bool:
    return os.geteuid() == 0


def _run(program: str, *arguments: str | Path) -> None:
    command = [str(_find(program)), *map(str, arguments)]
    ran = subprocess.run(
        command,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        # The server refuses to run as root.
        user=_USER if _is_root() else None,
        group=pwd.getpwnam(_USER).pw_gid if _is_root() else None,
        extra_groups=[] if _is_root() else None,
    )
    assert ran.returncode == 0, f"{program}: {ran.stderr}"


def _find(program: str) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    assert found, "these tests need PostgreSQL: make tools installs it"
    return found[-1]
