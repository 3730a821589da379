"""One container of an image, as compose starts it: no root, no capabilities, nothing to write but /tmp and volumes."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.rehearsal.build import Image

__all__ = ["Container", "Ran", "make_volume", "running"]

# A network of its own, with a loopback alone: what is asked of the service is asked from inside.
_START = """
set -eu
root=$1 volumes=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid "$root"
mount -t proc -o nosuid,noexec,nodev proc "$root/proc"
mount -t tmpfs -o size=256m,mode=1777,noexec,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o size=64k,mode=755,noexec,nosuid tmpfs "$root/dev"
for name in null zero full random urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
for folder in "$volumes"/*; do
    mount --bind "$folder" "$root/${folder##*/}"
done
ip link set lo up
cd /
"""
_LIMITS = ("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")


@dataclass(frozen=True)
class Ran:
    status: int
    output: str


class Container:
    """The running one."""

    def __init__(
        self, image: Image, environment: Mapping[str, str], *, outer: subprocess.Popen[str], log: Path
    ) -> None:
        self._image = image
        self._environment = environment
        self._outer = outer
        self._log = log
        self.pid = _child(outer)

    def execute(self, *command: str, stdin: bytes = b"") -> Ran:
        """Run a command inside, as the service's own user."""
        done = subprocess.run(  # noqa: S603
            [
                *("nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"),
                *_as_user(self._image, self._environment, command),
            ],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode())

    def health(self) -> Ran:
        """What the HEALTHCHECK says."""
        return self.execute(*(self._image.settings["HEALTHCHECK"].exec_form() or ()))

    def wait_until_healthy(self, seconds: float = 60.0) -> None:
        """Ask until it is.

        Raises:
            RuntimeError: it left, or took longer.
        """
        deadline = time.monotonic() + seconds
        while (found := self.health()).status:
            if self._outer.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._log.read_text()}\nthe service is not healthy: {found.output}")
            time.sleep(0.2)

    def status(self) -> dict[str, str]:
        """What the kernel says of process one: user, capabilities, memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def stop(self, seconds: float = 30.0) -> int:
        """Send the image's STOPSIGNAL and wait; what the service ended with."""
        os.kill(self.pid, signal.Signals[self._image.settings["STOPSIGNAL"].value])
        return self._outer.wait(seconds)


@contextmanager
def running(image: Image, environment: Mapping[str, str], *, volumes: Path, log: Path) -> Iterator[Container]:
    """Start ENTRYPOINT and CMD, and kill what still runs at the end.

    Args:
        image: what was built.
        environment: over the image's own.
        volumes: holds the folder of each volume, by its name below /.
        log: takes what the service prints.
    """
    variables = {**image.environment, **environment}
    command = [word for key in ("ENTRYPOINT", "CMD") for word in image.settings[key].exec_form() or ()]
    with log.open("w") as sink:
        outer = subprocess.Popen(  # noqa: S603
            [
                *("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"),
                *("sh", "-c", f'{_START} exec chroot "$root" "$@"', "sh", str(image.root), str(volumes)),
                *_as_user(image, variables, command),
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Container(image, variables, outer=outer, log=log)
    finally:
        outer.kill()
        outer.wait()


def _as_user(image: Image, environment: Mapping[str, str], command: Sequence[str]) -> list[str]:
    user, group = image.settings["USER"].value.split(":")
    settings = [f"{name}={value}" for name, value in environment.items()]
    identity = (f"--reuid={user}", f"--regid={group}")
    return ["/usr/bin/setpriv", *identity, *_LIMITS, "/usr/bin/env", "-i", *settings, *command]


def _child(outer: subprocess.Popen[str], seconds: float = 10.0) -> int:
    """The process that is number one inside."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + seconds
    while not (found := children.read_text().split() if children.exists() else []):
        if outer.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the container did not start")
        time.sleep(0.02)
    return int(found[0])


def make_volume(image: Image, folder: Path) -> None:
    """A folder for the image's VOLUME, owned as it is in the image: what Docker makes of a named volume at first."""
    inside = image.path(image.settings["VOLUME"].value)
    volume = folder / inside.name
    volume.mkdir(parents=True)
    found = inside.stat()
    os.chown(volume, found.st_uid, found.st_gid)
    volume.chmod(found.st_mode & 0o7777)
