"""What needs root: a clean Debian, and commands inside it that see nothing else of this machine than they must."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.rehearsal.build import Bind, Image, Step

__all__ = ["base_image", "pip_configuration", "pip_environment", "run_step"]

# What the official Python image sets; its interpreter is in /usr/local/bin, where Debian's is linked to.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")

_PIP = re.compile(r"PIP_\w+|(?:https?|no|all)_proxy|SSL_CERT_FILE|REQUESTS_CA_BUNDLE", re.IGNORECASE)
_MOUNT = """
set -eu
root=$1 folder=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
    shift 2
done
shift
exec env -i "$@"
"""


def base_image(root: Path, suite: str, mirror: str | None) -> Image:
    """Debian with its Python, made anew unless it is there and whole."""
    whole = root.with_suffix(".whole")
    if not whole.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        packages = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", packages, suite, str(root), mirror or _mirror(suite))
        local = root / "usr/local/bin"
        (local / "python").symlink_to("/usr/bin/python3")
        (local / "pip").symlink_to("/usr/bin/pip3")
        whole.touch()
    return Image(root, ENVIRONMENT)


def _mirror(suite: str) -> str:
    """The one that this machine's apt asks for the suite."""
    for line in _run("apt-get", "indextargets", "--format", "$(CODENAME) $(SITE)").splitlines():
        codename, _, site = line.partition(" ")
        if codename == suite:
            return site
    raise SystemExit(f"this machine's apt knows no mirror with {suite}: name one with --mirror")


def pip_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """How whoever runs the rehearsal reaches their package index: a build has no settings of its own."""
    return {name: value for name, value in environment.items() if _PIP.fullmatch(name)}


def pip_configuration(environment: Mapping[str, str], *, home: Path | None = None) -> list[Bind]:
    """pip's files, and what files and variables name on this disk, as a build may see it."""
    own = (home or Path.home()) / ".config/pip/pip.conf"
    files = {Path("/etc/pip.conf"): "/etc/pip.conf", own: "/.config/pip/pip.conf"}
    binds = [Bind(path, target) for path, target in files.items() if path.is_file()]
    texts = [*environment.values(), *(bind.source.read_text() for bind in binds)]
    return [*binds, *(Bind(path, str(path)) for path in sorted(_local_paths(texts)))]


def _local_paths(texts: Iterable[str]) -> Iterator[Path]:
    found = {match.groups() for text in texts for match in re.finditer(r"(?:^|[\s=])(file://)?(/[\w./-]+)", text)}
    # An index stands beside the files that it names by relative links.
    paths = {Path(path).parent if is_url else Path(path) for is_url, path in found}
    return (path for path in paths if path.exists() and path != Path("/"))


def run_step(step: Step, *, environment: Mapping[str, str], binds: Sequence[Bind]) -> None:
    """Carry out one RUN as root in the image, with the network, and leave no mount behind."""
    network = [Bind(Path(name), name) for name in ("/etc/resolv.conf", "/etc/hosts")]
    seen = [*network, *binds, *step.binds]
    with _mount_points(step.root, seen):
        variables = {"HOME": "/", **environment, **step.environment}
        command = ["chroot", str(step.root), "/bin/sh", "-c", f'cd "$0" && {step.command}', step.workdir]
        _run(
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", _MOUNT, "sh", str(step.root), step.workdir),
            *(word for bind in seen for word in (str(bind.source), bind.target)),
            *("--", *(f"{name}={value}" for name, value in variables.items()), *command),
        )


@contextmanager
def _mount_points(root: Path, binds: Iterable[Bind]) -> Iterator[None]:
    """Files and folders for others to be mounted on, for as long as that is needed."""
    made: list[Path] = []
    try:
        for bind in binds:
            target = root / bind.target.lstrip("/")
            made += _make(target, is_folder=bind.source.is_dir())
        yield
    finally:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()


def _make(path: Path, *, is_folder: bool) -> list[Path]:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()][::-1]
    for folder in missing:
        if folder == path and not is_folder:
            folder.touch()
        else:
            folder.mkdir()
    return missing


def _run(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}\n{command[0]} ended with {done.returncode}: {command[-2:]}")
    return done.stdout
