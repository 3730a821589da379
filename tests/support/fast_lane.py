"""The fast lane: tests that need only pip packages and little time, on any machine and without root."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# Files and folders that only `make test` runs, by the resource they need. The others belong to both lanes.
FULL_LANE = {
    "Docker": ("containers",),
    "a browser": ("browser", "service/test_review_loop.py", "service/access/test_login.py"),
    "a fuzzing engine": ("fuzz",),
    "TensorFlow": (
        "client/test_shrink.py",
        "training/test_audit.py",
        "training/test_chain.py",
        "training/test_coordinator.py",
        "training/test_compare.py",
        "training/test_crash.py",
        "training/test_devices.py",
        "training/test_environment.py",
        "training/test_evaluate.py",
        "training/test_fit.py",
        "training/test_graph.py",
        "training/test_machines.py",
        "training/test_paper_run.py",
        "training/test_predict.py",
        "training/test_preset_options.py",
        "training/test_guarantees.py",
        "training/test_records.py",
        "training/test_remote_records.py",
        "training/test_report.py",
        "training/test_search.py",
        "training/test_towers.py",
    ),
    "Ray": ("bulk/test_ray.py", "bulk/test_ray_cluster.py", "bulk/test_ray_job.py"),
    "programs of Debian": (
        "bench",
        "deploy",
        "docs/test_readme.py",
        "gate/test_build.py",
        "gate/formats/test_scanlines.py",
        "service/access/test_tls.py",
        "service/access/test_validity.py",
        "service/grpc_server/test_tls.py",
        "test_telemetry.py",
    ),
    "more time": (
        "bulk/test_kill.py",
        "bulk/test_objects.py",
        "client/test_faulty_servers.py",
        "gate/formats/test_lossy_limits.py",
        "gate/formats/test_png_variants.py",
        "service/access/test_probes.py",
        "service/grpc_server/test_process.py",
        "service/records/test_kill.py",
        "service/records/test_several_processes.py",
        "service/records/test_wire.py",
        "service/streams/test_batch.py",
        "service/streams/test_process.py",
        "service/test_connections.py",
        "service/test_early_answers.py",
        "service/test_faults.py",
        "service/test_hanging_loads.py",
        "service/test_limits.py",
        "service/test_live.py",
        "service/test_process.py",
        "service/test_signals.py",
        "service/test_standard_streams.py",
        "service/test_tracing.py",
        "service/test_workers.py",
        "test_fast_collection.py",
        "test_installed_wheel.py",
        "training/test_draw.py",
    ),
}

# Programs that `make tools` installs.
PROGRAMS = frozenset(
    {
        "aarch64-linux-gnu-gcc",
        "cc",
        "chromium-headless-shell",
        "curl",
        "docker-compose",
        "initdb",
        "nginx",
        "node",
        "npm",
        "openssl",
        "prometheus",
        "prometheus-alertmanager",
        "promtool",
        "qemu-aarch64",
        "systemd-analyze",
        "wrk",
    }
)
# Fixtures that start such a program; the fast lane leaves out the tests that use one.
FIXTURES = frozenset({"postgres", "postgres_url"})
MODULES = frozenset({"atheris", "keras", "keras_tuner", "playwright", "ray", "tensorflow", "tf2onnx"})


def includes(path: Path) -> bool:
    """Return whether the fast lane runs the tests in a file or folder."""
    left_out = {TESTS / name for names in FULL_LANE.values() for name in names}
    return not left_out & {path, *path.parents}


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Fail the running test if it imports a large framework or starts a program that pip does not install.

    Passed to `sys.addaudithook`.
    """
    if event == "import" and (module := str(arguments[0])) in MODULES and not _is_blocked(module):
        pytest.fail(f"`make test-fast` runs without {module}: list this test in {__file__}")
    if event == "subprocess.Popen" and (program := Path(str(arguments[0])).name) in PROGRAMS:
        pytest.fail(f"`make test-fast` runs without {program}: list this test in {__file__}")


def _is_blocked(module: str) -> bool:
    """Return whether a test simulates that the module is not installed."""
    return module in sys.modules and sys.modules[module] is None
