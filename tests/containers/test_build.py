"""The build of the image: its requirements on the environment, and the content of the image."""

import json
import re
import tarfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.containers.engine import Engine
from tests.containers.images import MARK, Built
from tests.support.unpacking import unpack

SBOM = "/usr/share/doc/lensgate/sbom.cdx.json"
TARGETS = ("cpu", "gpu", "training")
# In the official base image pip is part of Python; compilers and Debian's package lists are not.
TOOLS = ("cc", "gcc", "g++", "clang", "ld", "as", "make", "git", "curl", "wget")


def printed(engine: Engine, *command: str, image: str = "lensgate:cpu") -> str:
    """Run a command in a container of an image as its own user, and return the output."""
    entry, *words = command
    return engine.output("run", "--rm", "--network=none", f"--entrypoint={entry}", image, *words)


@pytest.fixture(scope="module")
def layers(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every file and link of every layer above the base image, those that a later layer hides too."""
    folders = layer_folders(engine, tmp_path_factory.mktemp("layers"))
    paths = {f"/{path.relative_to(folder)}": path for folder in folders for path in folder.rglob("*")}
    assert {"/data", "/models", "/opt/lensgate", SBOM} <= paths.keys()
    return paths


def layer_folders(engine: Engine, folder: Path) -> list[Path]:
    image = engine.inspect("lensgate:cpu")
    count = len(image["RootFS"]["Layers"]) - len(engine.inspect("nowhere")["RootFS"]["Layers"])
    if places := image["GraphDriver"]["Data"]:
        return [Path(places["UpperDir"]), *map(Path, places["LowerDir"].split(":"))][:count]
    # The storage driver `vfs` does not separate layers: unpack the saved image.
    engine.output("save", f"--output={folder / 'image.tar'}", "lensgate:cpu")
    with tarfile.open(folder / "image.tar") as image_file:
        unpack(image_file, folder)
    names = json.loads((folder / "manifest.json").read_text())[0]["Layers"][-count:]
    for name in names:
        with tarfile.open(folder / name) as layer:
            unpack(layer, folder / "files" / Path(name).parent, rule="tar")
    return list((folder / "files").iterdir())


def test_legacy_builder_fails_at_the_first_run_step(built: Built) -> None:
    refusal = built.refusals["old builder"]
    assert refusal.returncode != 0
    assert "--mount option requires BuildKit" in refusal.stdout
    carried_out = re.findall(r"^Step \S+ : RUN (\S+)", refusal.stdout, re.MULTILINE)
    assert len(carried_out) == 1
    assert carried_out[0].startswith("--mount=")


def test_image_without_network_cannot_be_built_without_secrets(built: Built) -> None:
    """The images were built on it with them, so that all three secrets work, and none of them is required."""
    refusal = built.refusals["without secrets"]
    assert refusal.returncode != 0
    assert "no such secret" not in refusal.stdout
    assert "No matching distribution found" in refusal.stdout or "Could not find a version" in refusal.stdout


def test_a_base_image_can_be_named_by_its_digest(built: Built) -> None:
    """No registry answers at that address, but the name was understood and asked for."""
    refusal = built.refusals["digest"]
    assert refusal.returncode != 0
    assert f"127.0.0.1:9/python@sha256:{'0' * 64}" in refusal.stdout
    assert "connection refused" in refusal.stdout


def test_no_layer_holds_a_secret(layers: dict[str, Path]) -> None:
    files = [path for path in layers.values() if path.is_file() and not path.is_symlink()]
    assert [path for path in files if MARK.encode() in path.read_bytes()] == []


def test_no_layer_holds_unneeded_files(layers: dict[str, Path]) -> None:
    folders = {"/" + "/".join(name.split("/")[1:depth]) for name in layers for depth in (2, 3)}
    assert folders <= {
        "/",
        *("/data", "/models", "/models/glasses", "/opt", "/opt/lensgate"),
        *("/usr", "/usr/lib", "/usr/share"),  # The standard library's bytecode, and the bill of materials.
        *("/tmp", "/wheel"),  # noqa: S108 - Empty: mount points of the build.
    }
    ours = [name for name in layers if "/site-packages/" not in name]
    assert [name for name in ours if any(part in name for part in ("/tests/", "/.cache/", "/.git"))] == []
    installed = {name.partition("/site-packages/")[2].partition("/")[0] for name in layers}
    assert {"gate", "service"} <= installed
    assert not {"tests", "pip", "bench", "deploy"} & installed


def test_the_image_holds_no_compiler(engine: Engine) -> None:
    script = "import shutil, sys; print(*filter(shutil.which, sys.argv[1:]))"
    assert printed(engine, "python", "-c", script, *TOOLS).split() == []


def test_the_installed_package_holds_compiled_code(engine: Engine) -> None:
    script = "from importlib.resources import files; print(*files('gate').rglob('*.so'))"
    assert printed(engine, "python", "-c", script).strip().endswith("/gate/formats/png/scanlines.so")


def test_the_models_of_a_tight_checkout_can_be_read_and_not_written(engine: Engine) -> None:
    assert "\n* " in printed(engine, "lensgate", "models", "list")
    modes = printed(engine, "sh", "-c", "find /models -printf '%m %U\\n' | sort -u")
    assert modes.split("\n") == ["755 0", ""]


@pytest.mark.parametrize("target", TARGETS)
def test_the_configuration_of_an_image(engine: Engine, target: str) -> None:
    config = engine.inspect(f"lensgate:{target}")["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["lensgate"]
    assert config["Cmd"] == (["--help"] if target == "training" else ["serve"])
    assert (config["Healthcheck"]["Test"] == ["NONE"]) is (target == "training")
    assert ("LENSGATE_DEVICE=cuda" in config["Env"]) is (target == "gpu")
    assert list(config["Volumes"]) == ["/data"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "abcdef"
    assert labels["lensgate.sbom"] == SBOM


@pytest.mark.parametrize("target", TARGETS)
def test_the_bill_of_materials_of_an_image_lists_its_packages(engine: Engine, target: str) -> None:
    sbom = json.loads(printed(engine, "cat", SBOM, image=f"lensgate:{target}"))
    script = "from importlib.metadata import distributions as d; print(*{f'{x.name}=={x.version}' for x in d()})"
    installed = printed(engine, "/opt/lensgate/bin/python", "-c", script, image=f"lensgate:{target}").split()
    main = sbom["metadata"]["component"]
    listed = {f"{part['name']}=={part.get('version')}" for part in (main, *sbom["components"])}
    assert set(installed) <= listed
    assert len(installed) > 5


def test_a_bill_of_materials_is_valid(engine: Engine) -> None:
    """The small one: the build holds each against the schema, and that of the service takes many seconds."""
    text = printed(engine, "cat", SBOM, image="lensgate:gpu")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_bill_of_materials_lists_compiled_libraries(engine: Engine) -> None:
    text = printed(engine, "cat", SBOM)
    carried = {
        (component["name"].lower(), library["name"]): library.get("version")
        for component in json.loads(text)["components"]
        for library in component.get("components", ())
    }
    for carrier, library in (("pillow", "libwebp"), ("psycopg-binary", "openssl"), ("python", "sqlite")):
        assert carried[carrier, library], f"{carrier}: {library}"


def test_the_size_of_the_image_is_reported(engine: Engine, notes: list[str]) -> None:
    whole, base = (engine.inspect(image)["Size"] / 1e6 for image in ("lensgate:cpu", "nowhere"))
    columns = "--format={{.Size}} {{.CreatedBy}}"
    history = engine.output("history", "--no-trunc", "--human=false", columns, "lensgate:cpu")
    named = {"dependencies": "/opt/lensgate /opt/lensgate", "package": "/wheel/*.whl", "models": "models /models"}
    sizes = [
        f"{name} {int(line.split()[0]) / 1e6:.1f} MB"
        for name, text in named.items()
        for line in history.splitlines()
        if text in line
    ]
    assert len(sizes) == len(named)
    notes.append(f"lensgate:cpu: {whole:.0f} MB, {whole - base:.0f} MB above its base: {', '.join(sizes)}")
    assert whole - base < 500
