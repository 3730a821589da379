"""Build the stand-ins for base images and the project's own images, in a checkout as a umask of 077 leaves it."""

import re
import shutil
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import environ
from pathlib import Path

import yaml

from tests.containers.engine import Engine, Ran, program, run
from tests.deploy.tools import ROOT, output

__all__ = ["MARK", "Built", "build_images", "debian_root", "tight_checkout"]

BASES = Path(__file__).parent / "bases"
SUITE = "bookworm"
PACKAGES = "ca-certificates,netbase,tzdata,python3,python3-pip,python3-venv"

MARK = "in-no-layer-of-an-image"
"""Stands in every secret of the builds."""

# Unreachable configuration in the base image: only the secrets hold a working one.
_NO_MIRROR = f"Types: deb\nURIs: http://127.0.0.1:9/\nSuites: {SUITE}\nComponents: main\n"
NOWHERE = {
    "etc/apt/sources.list.d/debian.sources": _NO_MIRROR,
    "etc/pip.conf": "[global]\nindex-url = https://127.0.0.1:9/simple\nretries = 0\n",
}

# What pydantic needs; all else that the wheel needs without an extra is in pyproject.toml.
_INDIRECT = ("annotated-types", "pydantic-core", "typing-extensions", "typing-inspection")

# How pip is told where packages come from, as far as it means something inside a container.
_PIP_OPTION = re.compile(
    r"^(?::env:|\w+)\.(index-url|extra-index-url|trusted-host|proxy|timeout)='(.*)'$", re.MULTILINE
)


@dataclass
class Built:
    """The images of one session, and what building them said."""

    checkout: Path
    logs: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, Ran] = field(default_factory=dict)


def tight_checkout(folder: Path) -> Path:
    """Copy what git knows or would add, readable by its owner alone: a clone under `umask 077`."""
    listed = output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source, copy = ROOT / name, folder / name
        if source.is_file():
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copy.chmod(0o700 if source.stat().st_mode & 0o100 else 0o600)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o700)
    return folder


def debian_root(archive: Path) -> Path:
    """Make a Debian root with debootstrap, unless a former run left one."""
    if archive.exists():
        return archive
    root = archive.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    archive.parent.mkdir(parents=True, exist_ok=True)
    made = run(
        *("nice", "-n", "10", program("debootstrap"), "--variant=minbase", f"--include={PACKAGES}"),
        *(SUITE, str(root), _debian_mirror()),
        timeout=600,
    )
    assert made.returncode == 0, made.stdout[-3000:]
    (root / "etc/apt/sources.list").unlink()
    (root / "etc/apt/sources.list.d/debian.sources").write_text(_debian_sources())
    left_out = ("./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*_dists_*")
    excluded = [f"--exclude={pattern}" for pattern in left_out]
    half = archive.with_suffix(".part")
    subprocess.run(["tar", "--create", f"--file={half}", f"--directory={root}", *excluded, "."], check=True)
    half.rename(archive)
    shutil.rmtree(root)
    return archive


def build_images(engine: Engine, archive: Path, folder: Path) -> Built:
    """Build everything, with the daemon in the machine's own network."""
    built = Built(tight_checkout(folder / "checkout"))
    engine.output("import", str(archive), "debian:bookworm-slim")
    tags = image_tags(built.checkout)
    engine.build(tags["python"], BASES, f"--file={BASES / 'python.Dockerfile'}")
    with ThreadPoolExecutor() as beside:
        servers = beside.submit(_build_servers, engine, tags)
        _build_targets(engine, built, folder, base=tags["python"])
        servers.result()
    return built


def _build_servers(engine: Engine, tags: Mapping[str, str]) -> None:
    for name in ("prometheus", "alertmanager", "postgres"):
        words = (f"--file={BASES / 'servers.Dockerfile'}", f"--target={name}", *_proxies())
        engine.build(tags[name], BASES, *words)


def _build_targets(engine: Engine, built: Built, folder: Path, *, base: str) -> None:
    dead = folder / "nowhere"
    for name, text in NOWHERE.items():
        (dead / name).parent.mkdir(parents=True, exist_ok=True)
        (dead / name).write_text(text)
    (dead / "etc/ssl/certs").mkdir(parents=True)
    (dead / "etc/ssl/certs/ca-certificates.crt").touch()
    (dead / "Dockerfile").write_text(f"FROM {base}\nCOPY etc /etc\n")
    engine.build("nowhere", dead)
    file = f"--file={built.checkout / 'deploy/Dockerfile'}"
    behind = ("--build-arg=PYTHON_IMAGE=nowhere", *_proxies())
    secrets = [f"--secret=id={name},src={path}" for name, path in _secrets(folder / "secrets").items()]
    version = ("--build-arg=VERSION=1.2.3", "--build-arg=REVISION=abcdef")
    words = (file, *behind, *secrets, *version)
    small = _with_small_locks(built.checkout, folder / "small")
    contexts = {"cpu": built.checkout, "gpu": small, "training": small}
    with ThreadPoolExecutor() as beside:
        started = {
            target: beside.submit(engine.build, f"lensgate:{target}", context, *words, f"--target={target}")
            for target, context in contexts.items()
        }
        built.logs |= {target: build.result() for target, build in started.items()}
    refused = {
        "old builder": ({"DOCKER_BUILDKIT": "0"}, (file,)),
        "without secrets": ({}, (file, *behind, "--target=dependencies-gpu", "--network=host")),
        "digest": ({}, (file, f"--build-arg=PYTHON_IMAGE=127.0.0.1:9/python@sha256:{'0' * 64}")),
    }
    for name, (environment, said) in refused.items():
        built.refusals[name] = engine.docker("build", *said, str(built.checkout), env=environment)


def image_tags(checkout: Path) -> dict[str, str]:
    """Return the image of each service of the compose files, and the base of our own, without variables."""
    files = ("docker-compose.yml", "docker-compose.postgres.yml")
    services = {
        name: service["image"]
        for file in files
        for name, service in yaml.safe_load((checkout / file).read_text())["services"].items()
        if "image" in service
    }
    tags = {name: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", image) for name, image in services.items()}
    (tags["python"],) = re.findall(
        r"^ARG PYTHON_IMAGE=(\S+)$", (checkout / "deploy/Dockerfile").read_text(), re.MULTILINE
    )
    return tags


def _with_small_locks(checkout: Path, copy: Path) -> Path:
    """Copy a checkout with locks that fetch megabytes where its own fetch gigabytes."""
    shutil.copytree(checkout, copy)
    entries = re.split(r"^(?=[a-z])", (checkout / "locks/cpu.txt").read_text(), flags=re.MULTILINE)
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=!~\[ ;]", wanted, maxsplit=1)[0] for wanted in project["dependencies"]} | {*_INDIRECT}
    text = "".join(entry for entry in entries if entry.partition("==")[0] in needed)
    for name in ("gpu", "training"):
        (copy / f"locks/{name}.txt").write_text(text)
    return copy


def _secrets(folder: Path) -> dict[str, Path]:
    """Write how this machine reaches its mirrors: the secrets of a build."""
    folder.mkdir(mode=0o700)
    options = _PIP_OPTION.findall(run(sys.executable, "-m", "pip", "config", "list", stderr=None).stdout)
    lines = [f"{name} = {value}\n" for name, value in options if "file://" not in value]
    authorities = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    texts = {
        "pip.conf": "[global]\n" + "".join(lines),
        "apt.sources": _debian_sources(),
        "ca": Path(authorities).read_text(),
    }
    for name, text in texts.items():
        (folder / name).write_text(f"# {MARK}\n{text}")
    return {name: folder / name for name in texts}


def _debian_sources() -> str:
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return f"Types: deb\nURIs: {_debian_mirror()}\nSuites: {SUITE}\nComponents: main\nSigned-By: {keyring}\n"


def _debian_mirror() -> str:
    """Return the mirror that this machine's apt asks."""
    for line in output("apt-get", "indextargets", "--format", "$(CODENAME) $(SITE)").splitlines():
        suite, _, site = line.partition(" ")
        if suite == SUITE:
            return site
    raise AssertionError(f"apt of this machine knows no mirror that has {SUITE}")


def _proxies() -> Iterator[str]:
    """Hand a build the proxies of this machine, which Docker keeps out of the image."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            if spelled in environ:
                yield f"--build-arg={spelled}"
