"""Write a CycloneDX software bill of materials for one Python environment.

    python -m deploy.sbom --python /opt/lensgate/bin/python --output sbom.cdx.json

cyclonedx-py lists the Python packages. The compiled libraries inside their wheels are added below each package.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.sbom import libraries
from deploy.sbom.libraries import PYTHON, Library

__all__ = ["add_libraries", "environment_sbom"]

# Vulnerability scanners look a C library up by the vendor and product of its CPE.
_CPE = {
    "cpython": "python:python",
    "expat": "libexpat_project:libexpat",
    "freetype": "freetype:freetype",
    "harfbuzz": "harfbuzz_project:harfbuzz",
    "libdeflate": "libdeflate_project:libdeflate",
    "libjpeg-turbo": "libjpeg-turbo:libjpeg-turbo",
    "libpng": "libpng:libpng",
    "libpq": "postgresql:postgresql",
    "libtiff": "libtiff:libtiff",
    "libwebp": "webmproject:libwebp",
    "openjpeg": "uclouvain:openjpeg",
    "openssl": "openssl:openssl",
    "sqlite": "sqlite:sqlite",
    "zlib": "zlib:zlib",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.sbom", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment to describe")
    parser.add_argument("--pyproject", default="pyproject.toml", help="describes the main component")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    text = json.dumps(environment_sbom(options.python, options.pyproject), indent=1, sort_keys=True)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"the result is not CycloneDX 1.6: {error}")
    options.output.write_text(text + "\n")


def environment_sbom(python: str, pyproject: str) -> dict[str, Any]:
    """Describe the packages of an interpreter's environment and the compiled libraries in their wheels."""
    # Validated once, with the libraries in it: that takes longer than all the rest.
    tool = ("environment", "--pyproject", pyproject, "--output-reproducible", "--no-validate", python)
    sbom: dict[str, Any] = json.loads(_output(sys.executable, "-m", "cyclonedx_py", *tool))
    listed = json.loads(_output(python, libraries.__file__))
    return add_libraries(sbom, [Library(**library) for library in listed])


def add_libraries(sbom: dict[str, Any], found: Iterable[Library]) -> dict[str, Any]:
    """Nest each library in the component that carries it.

    Raises:
        ValueError: no component of `sbom` is the carrier of a library.
    """
    components: list[dict[str, Any]] = sbom["components"]
    by_name = {_canonical(component["name"]): component for component in components}
    grouped: Mapping[str, list[Library]] = defaultdict(list)
    for library in found:
        grouped[library.carrier].append(library)
    if PYTHON in grouped:
        by_name[PYTHON] = {"type": "platform", "name": PYTHON, "bom-ref": PYTHON}
        components.append(by_name[PYTHON])
    if missing := grouped.keys() - by_name.keys():
        raise ValueError(f"libraries were found in packages that are not listed: {', '.join(sorted(missing))}")
    for carrier, carried in grouped.items():
        component = by_name[carrier]
        component["components"] = [_component(library, component["bom-ref"]) for library in carried]
    return sbom


def _component(library: Library, parent: str) -> dict[str, str]:
    component = {"type": "library", "name": library.name, "bom-ref": f"{parent}/{library.name}"}
    if library.version:
        component |= {"version": library.version, "purl": f"pkg:generic/{library.name}@{library.version}"}
    if library.version and library.name in _CPE:
        component["cpe"] = f"cpe:2.3:a:{_CPE[library.name]}:{library.version}:*:*:*:*:*:*:*"
    return component


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603


if __name__ == "__main__":
    main()
