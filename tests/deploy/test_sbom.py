"""The bill of materials of this environment; `tests/containers` reads those of the images."""

import json
import subprocess
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.sbom.__main__ import add_libraries, environment_sbom
from deploy.sbom.libraries import PYTHON, Library

from .tools import ROOT


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    return environment_sbom(sys.executable, str(ROOT / "pyproject.toml"))


def bom(*names: str) -> dict[str, Any]:
    return {"components": [{"name": name, "bom-ref": f"{name}==1", "type": "library"} for name in names]}


def test_every_library_is_below_the_package_that_carries_it(sbom: dict[str, Any]) -> None:
    nested = {
        (component["name"].lower(), library["name"], library.get("version", ""))
        for component in sbom["components"]
        for library in component.get("components", ())
    }
    # Found in a process of its own: one that other tests ran in may have loaded another SQLite than Python's.
    code = (
        "import json; from deploy.sbom.libraries import installed_libraries as found; "
        "print(json.dumps([(one.carrier, one.name, one.version) for one in found()]))"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout
    assert nested == {tuple(library) for library in json.loads(listed)}
    carriers = {carrier for carrier, _, _ in nested}
    assert {"pillow", "numpy", "psycopg-binary", "simplejpeg", "uvloop", PYTHON} <= carriers


def test_bill_of_materials_is_valid_cyclonedx(sbom: dict[str, Any]) -> None:
    """Validate the packages with libraries only: all two hundred take half a minute."""
    kept = [component for component in sbom["components"] if "components" in component]
    refs = {"root-component", *(component["bom-ref"] for component in kept)}
    dependencies = [{"ref": ref} for ref in refs]
    text = json.dumps({**sbom, "components": kept, "dependencies": dependencies})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_project_is_its_subject_and_names_no_place_of_this_machine(sbom: dict[str, Any]) -> None:
    assert sbom["metadata"]["component"]["name"] == "lensgate"
    assert sys.prefix not in json.dumps([part for part in sbom["components"] if "components" in part])


def test_a_version_makes_a_purl_and_a_cpe_and_a_missing_one_does_not() -> None:
    found = [Library("a-b", "libpng", "1.6.58"), Library("a-b", "libfoo", "")]
    (carrier,) = add_libraries(bom("A_b"), found)["components"]
    png, foo = carrier["components"]
    assert png["purl"] == "pkg:generic/libpng@1.6.58"
    assert png["cpe"] == "cpe:2.3:a:libpng:libpng:1.6.58:*:*:*:*:*:*:*"
    assert foo.keys() == {"type", "name", "bom-ref"}


def test_a_library_of_an_unlisted_package_is_an_error() -> None:
    with pytest.raises(ValueError, match="psycopg-binary"):
        add_libraries(bom("pillow"), [Library("psycopg-binary", "libpq", "18.6")])
