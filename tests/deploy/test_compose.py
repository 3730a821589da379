import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

from .tools import ROOT, output, tool

FILE = "docker-compose.yml"
VARIANTS = {
    "cpu": (FILE,),
    "gpu": (FILE, "docker-compose.gpu.yml"),
    "postgres": (FILE, "docker-compose.postgres.yml"),
    "gpu-postgres": (FILE, "docker-compose.gpu.yml", "docker-compose.postgres.yml"),
}
VARIABLE = "LENSGATE_POSTGRES_PASSWORD"
OTHERS = ("prometheus", "alertmanager", "grafana")

# Required environment variables of some images, and forbidden ones of all.
ROOTLESS = {"postgres": "999:999"}
LOOSENED = {"privileged", "cap_add", "devices", "userns_mode", "pid", "ipc", "network_mode", "cgroup_parent", "sysctls"}

each_variant = pytest.mark.parametrize("variant", VARIANTS)


def command(variant: str) -> list[str]:
    return ["docker-compose", *(word for file in VARIANTS[variant] for word in ("-f", file)), "config"]


@cache
def merged(variant: str) -> dict[str, Any]:
    model: dict[str, Any] = yaml.safe_load(output(*command(variant), env={**os.environ, VARIABLE: "fr0mOpenSSL"}))
    return model


def services(variant: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = merged(variant)["services"]
    return found


def written(file: str) -> dict[str, Any]:
    model: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return model


def seconds(text: str) -> int:
    """A duration as docker-compose prints it."""
    match = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text)
    assert match, text
    return 60 * int(match[1] or 0) + int(match[2] or 0)


@each_variant
def test_a_variant_runs_its_command(variant: str) -> None:
    extra = {"postgres"} if "postgres" in variant else set()
    assert services(variant).keys() == {"gate", *OTHERS, *extra}


@each_variant
def test_every_service_is_hardened(variant: str) -> None:
    for name, service in services(variant).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"], name
        assert service["pids_limit"] > 0, name
        assert service["restart"] == "unless-stopped", name
        assert not LOOSENED & service.keys(), name


@each_variant
def test_dockers_seccomp_profile_stays_in_place(variant: str) -> None:
    assert {tuple(service["security_opt"]) for service in services(variant).values()} == {("no-new-privileges:true",)}


@each_variant
def test_only_an_image_that_starts_as_root_is_told_its_user(variant: str) -> None:
    told = {name: service["user"] for name, service in services(variant).items() if "user" in service}
    assert told == {name: user for name, user in ROOTLESS.items() if name in services(variant)}


@each_variant
def test_memory_that_is_written_to_runs_no_program(variant: str) -> None:
    for name, service in services(variant).items():
        for folder in service.get("tmpfs", []):
            options = set(folder.partition(":")[2].split(","))
            assert {"noexec", "nosuid", "nodev"} <= options, f"{name}: {folder}"
            assert any(option.startswith("size=") for option in options), f"{name}: {folder}"


@each_variant
def test_a_tmpfs_has_only_options_that_podman_knows_as_well(variant: str) -> None:
    known = {"size", "mode", "noexec", "nosuid", "nodev"}
    for service in services(variant).values():
        for folder in service.get("tmpfs", []):
            assert {option.partition("=")[0] for option in folder.partition(":")[2].split(",")} <= known, folder


@each_variant
def test_ports_are_published_only_on_this_machine(variant: str) -> None:
    ports = [port for service in services(variant).values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", [*OTHERS, "postgres"])
def test_images_of_others_are_pinned(name: str) -> None:
    image = services("postgres")[name]["image"]
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", image)


@pytest.mark.parametrize("name", [*OTHERS, "postgres", "python"])
def test_an_image_can_be_pinned_by_a_variable(name: str) -> None:
    """`make pin` reads the tags from images.env, and compose the digests from .env."""
    tags = dict(line.split("=") for line in (ROOT / "deploy/images.env").read_text().splitlines() if line[0] != "#")
    variable = f"{name.upper()}_IMAGE"
    pinned = f"{tags[variable]}@sha256:{64 * '0'}"
    text = output(*command("postgres"), env={**os.environ, VARIABLE: "x", variable: pinned})
    assert pinned in text
    assert tags[variable] in output(*command("postgres"), env={**os.environ, VARIABLE: "x"})


def test_pinning_replaces_digests_and_keeps_other_lines_of_an_env_file_without_a_last_newline(tmp_path: Path) -> None:
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    # As buildx, which ignores other formats of a manifest.
    docker.write_text("""#!/bin/sh
case "$5" in
'{{.Manifest'*) printf 'Name: %s\\nDigest: sha256:0123\\n' "$6" ;;
*) printf sha256:0123 ;;
esac
""")
    docker.chmod(0o755)
    # BSD's sed, as on macOS, has another -i.
    (tmp_path / "bin/sed").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/sed").chmod(0o755)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/images.env").write_text("# Tags.\nPYTHON_IMAGE=python:3\nGRAFANA_IMAGE=grafana:12\n")
    (tmp_path / ".env").write_text("GRAFANA_IMAGE=grafana:11@sha256:old\nTRACE_URL='http://h/${__value.raw}'")
    path = f"{docker.parent}:{os.environ['PATH']}"
    output("make", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "pin", env={**os.environ, "PATH": path})
    assert (tmp_path / ".env").read_text().splitlines() == [
        "TRACE_URL='http://h/${__value.raw}'",
        "PYTHON_IMAGE=python:3@sha256:0123",
        "GRAFANA_IMAGE=grafana:12@sha256:0123",
    ]


@pytest.mark.parametrize(("variant", "target"), [("cpu", "cpu"), ("gpu", "gpu"), ("postgres", "cpu")])
def test_the_gate_is_built_from_a_stage_that_exists(variant: str, target: str) -> None:
    gate = services(variant)["gate"]
    context = Path(gate["build"]["context"])
    dockerfile = context / gate["build"]["dockerfile"]
    assert (context.resolve(), dockerfile) == (ROOT, ROOT / "deploy/Dockerfile")
    assert gate["build"]["target"] == target
    assert gate["image"] == f"lensgate:{target}"
    assert re.search(rf"^FROM \S+ AS {target}$", dockerfile.read_text(), flags=re.MULTILINE)


def test_the_gate_has_time_to_drain_and_to_write_its_records() -> None:
    drain = Settings().timeout_ms / 1000 + 1
    assert seconds(services("cpu")["gate"]["stop_grace_period"]) > drain + 5


def test_the_gate_keeps_the_health_check_of_its_image() -> None:
    assert "healthcheck" not in services("cpu")["gate"]


@each_variant
def test_the_gate_gets_only_settings(variant: str) -> None:
    names = {f"LENSGATE_{name.upper()}" for name in Settings.model_fields}
    assert services(variant)["gate"]["environment"].keys() <= names


def test_the_gate_starts_without_tokens_because_compose_says_so() -> None:
    assert services("cpu")["gate"]["environment"] == {
        "LENSGATE_ALLOW_UNAUTHENTICATED": "true",
        "LENSGATE_ALLOWED_HOSTS": "gate",
        "LENSGATE_GRAFANA_URL": "http://127.0.0.1:3000/d/lensgate",
        "LENSGATE_RUNBOOKS_URL": "http://127.0.0.1:3000/d/lensgate-runbooks",
    }
    assert "LENSGATE_ALLOW_UNAUTHENTICATED" not in (ROOT / "deploy/Dockerfile").read_text()


def test_the_commented_variables_are_settings() -> None:
    """Uncommented, it is the text that an operator pastes."""
    told = re.findall(r"^ +# +(LENSGATE_\w+): \S+$", (ROOT / FILE).read_text(), flags=re.MULTILINE)
    assert sorted(told) == ["LENSGATE_GRPC_PORT", "LENSGATE_METRICS_PORT", "LENSGATE_TOKENS"]
    assert {name.removeprefix("LENSGATE_").lower() for name in told} <= Settings.model_fields.keys()


def test_records_are_in_a_volume_that_outlives_the_container() -> None:
    assert services("cpu")["gate"]["volumes"] == ["records:/data:rw"]
    assert "VOLUME /data\n" in (ROOT / "deploy/Dockerfile").read_text()


def test_the_gpu_override_requires_a_gpu() -> None:
    gate = services("gpu")["gate"]
    assert gate["environment"]["LENSGATE_DEVICE"] == "cuda"
    (device,) = gate["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], int(device["count"]), device["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_without_the_override_no_gpu_is_asked_for() -> None:
    assert "deploy" not in services("cpu")["gate"]


def test_postgres_without_a_password_does_not_start_and_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    words = [tool("docker-compose"), "--env-file", str(tmp_path / "empty"), *command("postgres")[1:]]
    ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "see docker-compose.postgres.yml" in ran.stderr


def test_the_password_is_the_same_on_both_sides() -> None:
    gate, postgres = (services("postgres")[name]["environment"] for name in ("gate", "postgres"))
    user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert gate["LENSGATE_RECORDS_URL"] == f"postgresql://{user}:fr0mOpenSSL@postgres/{database}"
    assert f":{postgres['POSTGRES_PASSWORD']}@" in gate["LENSGATE_RECORDS_URL"]


def test_the_gate_waits_for_a_database_that_says_when_it_is_ready() -> None:
    assert services("postgres")["gate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services("postgres")["postgres"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]


def test_the_gate_alone_reaches_the_database() -> None:
    model = merged("postgres")
    assert model["networks"]["records"]["internal"] is True
    inside = {name for name, service in model["services"].items() if "records" in service.get("networks", {})}
    assert inside == {"gate", "postgres"}
    assert model["services"]["postgres"]["networks"].keys() == {"records"}
    assert "default" in model["services"]["gate"]["networks"]


def test_a_file_that_declares_networks_declares_all_of_its_own() -> None:
    """docker-compose adds `default`; podman-compose 1.0 ends with a KeyError."""
    file = written("docker-compose.postgres.yml")
    used = {name for service in file["services"].values() for name in service["networks"]}
    assert used == file["networks"].keys()


@each_variant
def test_mounted_files_exist_are_read_only_and_labelled_for_selinux(variant: str) -> None:
    volumes = {name: service["volumes"] for name, service in services(variant).items()}
    for name, mounted in volumes.items():
        for volume in mounted:
            source, target, mode = volume.split(":")
            if source.startswith("/"):
                assert Path(source).exists(), f"{name}: {source}"
                assert mode == "ro,z", f"{name}: {target}"
            else:
                assert source in merged(variant)["volumes"], f"{name}: {source}"


def test_prometheus_tells_the_alertmanager_that_compose_starts() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (manager,) = config["alerting"]["alertmanagers"]
    (target,) = manager["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert services("cpu")[name]["ports"] == [f"127.0.0.1:{port}:{port}/tcp"]
