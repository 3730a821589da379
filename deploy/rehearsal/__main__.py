"""Build the image's steps in a clean Debian root and run what they made, without a container engine. Needs root.

    python -m deploy.rehearsal

What it does not rehearse: the base image (Debian's own Python stands for it), BuildKit, seccomp and cgroups.
"""

import argparse
import json
import os
import shutil
import subprocess
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

from deploy.rehearsal.build import Builder, Image
from deploy.rehearsal.container import Container, make_volume, running
from deploy.rehearsal.dockerfile import read_ignore, read_stages
from deploy.rehearsal.system import base_image, pip_configuration, pip_environment, run_step

ROOT = Path(__file__).resolve().parents[2]
# As compose has it: its port is published on the loopback address alone.
ENVIRONMENT = {"LENSGATE_ALLOW_UNAUTHENTICATED": "true"}
TOOLS = ("debootstrap", "unshare", "nsenter", "ip")
PROGRAM = "/opt/lensgate"
MODELS = "/models"
# Run by the image's own Python: it posts what comes in, and prints the answer.
POST = """
import sys, urllib.request as r
request = r.Request("http://127.0.0.1:8000/v1/decisions", sys.stdin.buffer.read())
print(r.build_opener(r.ProxyHandler({})).open(request, timeout=20).read().decode())
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.rehearsal", description=__doc__)
    parser.add_argument("--target", default="cpu", help="stage to build")
    parser.add_argument("--context", type=Path, default=ROOT, help="the checkout that is built")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/rehearsal", help="where the roots are made")
    parser.add_argument("--suite", default="bookworm", help="Debian's release; the base is kept between runs")
    parser.add_argument("--mirror", help="of Debian; that of this machine's apt if missing")
    options = parser.parse_args()
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        parser.error(f"install first, of debootstrap, util-linux and iproute2: {', '.join(missing)}")
    if os.geteuid() != 0:
        parser.error("mounts and another root need root")
    base = base_image(options.work / f"base-{options.suite}", options.suite, options.mirror)
    image = _build(options, base)
    _report_size(image, base)
    _run(image, options.work, sample=options.context / "samples/frames-1.png")
    _report_packages(image)


def _build(options: argparse.Namespace, base: Image) -> Image:
    environment = pip_environment()
    builder = Builder(
        read_stages(options.context / "deploy/Dockerfile"),
        context=options.context,
        base=base,
        work=options.work / "stages",
        run=partial(run_step, environment=environment, binds=pip_configuration(environment)),
        ignore=read_ignore(options.context / ".dockerignore"),
        note=lambda step: print(step if len(step) <= 120 else f"{step[:117]}...", flush=True),
    )
    return builder.build(options.target)


def _run(image: Image, work: Path, *, sample: Path) -> None:
    volumes = work / "volumes"
    shutil.rmtree(volumes, ignore_errors=True)
    make_volume(image, volumes)
    with running(image, ENVIRONMENT, volumes=volumes, log=work / "service.log") as container:
        container.wait_until_healthy()
        print("\nHEALTHCHECK: healthy")
        _check_limits(container)
        _check_decision(container, sample)
        print(f"most memory held: {container.status()['VmHWM']}, threads: {container.status()['Threads']}")
        status = container.stop()
    _demand(status == 0, f"SIGTERM: ended with {status}")
    _demand((volumes / "data/lensgate.db").stat().st_size > 0, "what it recorded is in the volume /data")


def _check_limits(container: Container) -> None:
    kernel = container.status()
    _demand(kernel["Uid"].split() == ["65532"] * 4, "runs as user 65532")
    _demand(not any(int(kernel[name], 16) for name in kernel if name.startswith("Cap")), "has no capability")
    _demand(kernel["NoNewPrivs"] == "1", "can gain no privilege")
    _demand(kernel["NSpid"].split()[-1] == "1", "is process one")
    _demand("Read-only" in container.execute("touch", "/models/x").output, "cannot write its root")
    _demand(container.execute("touch", "/data/x").status == 0, "can write /data")


def _check_decision(container: Container, sample: Path) -> None:
    posted = container.execute("python", "-c", POST, stdin=sample.read_bytes())
    _demand(posted.status == 0, f"{sample.name}: {posted.output.strip()}")
    answer = json.loads(posted.output)
    _demand((answer["label"], answer["decision"]) == ("glasses", "accept"), "that is the decision of the README")


def _demand(holds: bool, claim: str) -> None:
    if not holds:
        raise SystemExit(f"does not hold: {claim}")
    print(claim)


def _report_size(image: Image, base: Image) -> None:
    print("\nMB      what")
    print(f"{_megabytes(image.path(PROGRAM)):6.0f}  {PROGRAM}: the program and all that it needs")
    print(f"{_megabytes(image.path(MODELS)):6.0f}  {MODELS}")
    print(f"{_megabytes(image.root):6.0f}  the whole root, Debian and its Python in it")
    print(f"{_megabytes(base.root):6.0f}  Debian and its Python alone")


def _megabytes(folder: Path) -> float:
    """Blocks on disk, each file once however many names it has."""
    counted = subprocess.run(  # noqa: S603
        ["du", "--summarize", "--block-size=1", folder],  # noqa: S607
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(counted.stdout.split()[0]) / 1e6


def _report_packages(image: Image) -> None:
    (site,) = image.path(PROGRAM).glob("lib/python*/site-packages")
    found = sorted((found.metadata["Name"].lower(), found.version) for found in distributions(path=[str(site)]))
    print(f"\n{len(found)} packages: " + ", ".join(f"{name} {version}" for name, version in found))


if __name__ == "__main__":
    main()
