"""Minimum versions of the compiled libraries that decode untrusted images, in every wheel that bundles them."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.sbom.libraries import Library, installed_libraries

ROOT = Path(__file__).parents[1]

# Decoding modules and their wheels. Modules that the gate does not import have no minimum version.
MODULES = {"PIL": "pillow", "deflate": "deflate", "imagecodecs": "imagecodecs", "simplejpeg": "simplejpeg"}


def imported_by_the_gate() -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "gate").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in whole | parts}


DECODERS = sorted(MODULES[name] for name in MODULES.keys() & imported_by_the_gate())

FLOORS = {
    "libpng": "1.6.56",  # CVE-2026-33416, CVE-2026-33636
    "libwebp": "1.6.0",
    "libdeflate": "1.25",
    "libjpeg-turbo": "3.1.3",
}

# No release of simplejpeg carries a newer one. 3.1.3 fixes functions not called here (compression, YUV, Java, PPM).
# 3.1.4 fixes one that was reachable, the shrinking of lossless JPEGs: the gate hands those to Pillow
# (tests/gate/formats/test_lossless_jpeg.py).
EXCEPTIONS = {("simplejpeg", "libjpeg-turbo"): "3.1.2"}

LIBRARIES = installed_libraries()
DECODING = [library for library in LIBRARIES if library.carrier in DECODERS and library.name in FLOORS]


def number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


@pytest.mark.parametrize("library", DECODING, ids=lambda library: f"{library.carrier}: {library.name}")
def test_a_bundled_decoder_is_new_enough(library: Library) -> None:
    floor = EXCEPTIONS.get((library.carrier, library.name), FLOORS[library.name])
    assert number(library.version) >= number(floor), f"{library.version} on Python {sys.version_info[:2]}"


@pytest.mark.parametrize(("carrier", "name"), EXCEPTIONS)
def test_an_exception_is_dropped_as_soon_as_it_is_not_needed(carrier: str, name: str) -> None:
    found = [library.version for library in DECODING if (library.carrier, library.name) == (carrier, name)]
    assert all(number(version) < number(FLOORS[name]) for version in found), "remove it from EXCEPTIONS"


def test_every_wheel_with_decoders_tells_its_libraries() -> None:
    """A wheel that renames a library, or hides its version, must not fall out of the floors."""
    known = {"imagecodecs": {"libpng", "libwebp", "libdeflate"}, "pillow": {"libwebp", "libpng"}}
    known |= {"deflate": {"libdeflate"}, "simplejpeg": {"libjpeg-turbo"}}
    assert DECODERS
    for carrier in DECODERS:
        assert known[carrier] <= {found.name for found in DECODING if found.carrier == carrier and found.version}


def test_no_other_wheel_of_the_service_carries_a_decoder() -> None:
    """Bundled libraries are found by file name, even if no version reader knows them."""
    in_the_image = {
        name.lower() for name in re.findall(r"^([\w.-]+)==", (ROOT / "locks/cpu.txt").read_text(), re.MULTILINE)
    }
    carriers = {library.carrier for library in LIBRARIES if library.name in FLOORS and library.carrier in in_the_image}
    assert carriers <= set(DECODERS)


@pytest.mark.parametrize("lock", ["cpu", "gpu", "training", "dev"])
def test_a_lock_pins_one_release_of_pillow_for_every_python(lock: str) -> None:
    """The floors are read on the Python that runs the tests; other wheels of the same release are built alike."""
    pins = re.findall(r"^pillow==(\S+)(?: ; (.*?))? \\$", (ROOT / f"locks/{lock}.txt").read_text(), re.MULTILINE)
    assert [marker for _, marker in pins] == [""]


def test_older_releases_that_lack_what_the_service_uses_are_replaced() -> None:
    """With prometheus-client 0.22 it does not start; orjson 3.11 does not name a byte order mark."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"orjson>=3.12", "prometheus-client>=0.23"} <= set(extras["service"])
