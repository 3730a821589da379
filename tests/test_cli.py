import base64
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.signals import Interrupted
from gate import Label
from gate.card import CardBand, CardClass, GoldenSample, TrueClass
from lensgate import cli
from lensgate.cli import main
from tests.conftest import ROOT
from tests.support.commands import TIMEOUT, lensgate_without
from tests.support.images import encode, flat, portrait
from tests.support.models import brightness_model, write_model


@pytest.fixture
def models(tmp_path: Path) -> str:
    for version in ("1", "2"):
        write_model(tmp_path / "models", brightness_model(version))
    return str(tmp_path / "models")


STEPS = [
    "draw",
    "prepare",
    "fit",
    "calibrate",
    "certify",
    "export",
    "evaluate",
    "predict",
    "all",
    "audit",
    "report",
    "study",
    "tune",
    "compare",
    "paper",
]
COMMANDS = ["", *cli.COMMANDS, "models list", "tokens add", *(f"train {step}" for step in STEPS)]

# `lensgate` in a process in which no extra is installed.
WITHOUT_EXTRAS = """
import contextlib, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from lensgate.cli import main
for command in sys.argv[2:]:
    with contextlib.suppress(SystemExit):
        sys.exit(main([*command.split(), "--help"]) or "no help")
"""


def test_every_command_explains_itself_without_extras() -> None:
    command = [sys.executable, "-c", WITHOUT_EXTRAS, ",".join(cli.EXTRAS), *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for name in COMMANDS:
        assert f"usage: lensgate {name}".rstrip() in done.stdout


# `lensgate` in a process whose parent closed these streams, as some schedulers do.
CLOSED = "exec {closed} {python} -m lensgate classify {image} --models {models}"


@pytest.mark.parametrize(
    ("closed", "is_printed"), [("<&-", True), (">&-", False), ("2>&-", True), ("<&- >&- 2>&-", False)]
)
def test_a_command_runs_without_the_streams_that_its_parent_closed(
    closed: str, is_printed: bool, models: str, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(encode(flat(250, 32), "PNG"))
    line = CLOSED.format(closed=closed, python=sys.executable, image=tmp_path / "x.png", models=models)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == is_printed


def test_files_do_not_get_the_numbers_of_closed_streams(tmp_path: Path) -> None:
    code = (
        "import sys; from lensgate.streams import open_closed; open_closed(); "
        "file = open(sys.argv[1], 'wb'); sys.exit(file.fileno())"
    )
    line = f'exec <&- >&- 2>&- {sys.executable} -c "{code}" {tmp_path / "file"}'
    assert subprocess.run(["sh", "-c", line], check=False).returncode > 2


@pytest.mark.parametrize(("stopped", "status"), [(KeyboardInterrupt(), 130), (Interrupted(15), 143)], ids=repr)
def test_a_signal_within_the_import_of_a_compiled_module_is_no_fault(
    stopped: KeyboardInterrupt, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> None:
        try:
            raise ImportError("initialization failed") from stopped  # As pybind11 does.
        except ImportError as error:
            raise ImportError("install a newer one") from error  # As packages do.

    monkeypatch.setattr("lensgate.in_process.Gate", run)
    assert main(["classify", "x.png"]) == status
    assert capsys.readouterr().err == ""


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"lensgate {importlib.metadata.version('lensgate')}\n")


def test_the_help_groups_settings_and_gives_choices_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    printed = capsys.readouterr().out
    assert "usage: lensgate serve [OPTION ...]\n" in printed
    assert printed.index("\nnetwork:\n") < printed.index("--port 0..65535") < printed.index("\naccess:\n")
    for text in ("--device auto|cpu|cuda", "--timeout-ms MS", "--workers auto|1..128", "--models PATH"):
        assert text in printed
    assert "(16777216, 16 MiB)" in printed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "lensgate: the following arguments are required: COMMAND (lensgate --help explains)"),
        ("--port 1", "lensgate: unknown option --port; options come after COMMAND (lensgate --help explains)"),
        ("-V", "lensgate: unknown option -V; options come after COMMAND (lensgate --help explains)"),
        ("--versoin", "lensgate: unknown option --versoin: did you mean --version? (lensgate --help explains)"),
        ("tokens --file=t list", "lensgate tokens: unknown option --file; options come after ACTION (lensgate tokens"),
        ("models --models m list", "lensgate models: unknown option --models; options come after ACTION ("),
        ("train --data=x prepare", "lensgate train: unknown option --data; options come after STEP ("),
        (
            "serve --prot=1",
            "lensgate serve: unknown option --prot: did you mean --port? (lensgate serve --help explains)",
        ),
        ("serve --max-batch 1", "unknown option --max-batch: did you mean --max-batch-size?"),
        (
            "serve --allow-unauthenticated --port 1",
            "argument --allow-unauthenticated: expected one argument: --allow-unauthenticated true|false (lensgate ",
        ),
        ("serve here", "lensgate serve: unknown argument here (lensgate serve --help explains)"),
        ("bulk a b --zzz", "lensgate bulk: unknown option --zzz (lensgate bulk --help explains)"),
        ("sevre", ": did you mean serve? (lensgate --help explains)"),
        ("models rolback", ": did you mean rollback? (lensgate models --help explains)"),
        ("classify --expected Glasses x.png", "argument --expected: invalid choice: 'Glasses' (choose from"),
        ("models list --model x", "lensgate models list: unknown option --model: did you mean --models?"),
        (
            "serve --sources a --sources=b",
            "lensgate serve: argument --sources: is given twice, and the last would replace",
        ),
        ("tokens add x --scopes decide --scopes review", "lensgate tokens add: argument --scopes: is given twice"),
        ("train", "lensgate train: the following arguments are required: STEP (lensgate train --help explains)"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(arguments: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert line in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_an_unknown_variable_is_warned_of_with_the_nearest_setting(
    models: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LENSGATE_BAND_LOWER", "0.1")
    monkeypatch.setenv("LENSGATE_PORT", "1")  # A setting of another command.
    assert main(["models", "list", "--models", models]) == 0
    warning = "lensgate: warning: LENSGATE_BAND_LOWER is not a setting and has no effect: did you mean"
    assert capsys.readouterr().err == f"{warning} LENSGATE_BAND_LOW?\n"


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (["serve"], "fastapi", "service"),
        (["classify", "x.png"], "onnxruntime", "cpu"),
        (["train", "fit"], "tensorflow", "training"),
        (["serve", "--port", "0", "--records-url", "off", "--grpc-port", "0"], "grpc", "grpc"),
    ],
)
def test_a_missing_extra_is_named(command: list[str], module: str, extra: str) -> None:
    ran = lensgate_without(module, *command)
    wanted = f"needs {module}: run pip install '.[{extra}]' in Lensgate's checkout"
    assert (ran.returncode, wanted in ran.stderr) == (1, True), ran.stderr


def test_files_are_decided_without_a_service(models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dark.png").write_bytes(encode(flat(51)))
    (tmp_path / "wide.png").write_bytes(encode(portrait(80)[:70]))
    files = [str(tmp_path / name) for name in ("dark.png", "wide.png", "absent.png")]
    assert main(["classify", "--json", "--models", models, "--expected", "glasses", *files]) == 1
    dark, wide, absent = map(json.loads, capsys.readouterr().out.splitlines())
    assert (dark["glasses_probability"], dark["decision"], dark["reason"]) == (0.2, "discard", "contradicted")
    assert wide["error"] == "not_square"
    assert absent["error"] == "unreadable_file"


def test_the_name_of_a_file_is_as_it_was_given(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dark.png").write_bytes(encode(flat(51)))
    names = ["./dark.png", f"{tmp_path}//dark.png", ""]
    assert main(["classify", "--json", "--models", models, *names]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == names
    assert "the path is empty" in rows[2]["detail"]


def test_the_table_has_one_line_per_file(models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "white.png").write_bytes(encode(flat(255)))
    (tmp_path / "text.png").write_bytes(b"text")
    assert main(["classify", "--models", models, str(tmp_path / "white.png")]) == 0
    assert main(["classify", "--models", models, str(tmp_path / "text.png")]) == 1
    white, text = capsys.readouterr().out.splitlines()
    assert white.split()[1:] == ["1.0000", "glasses", "accept", "confident"]
    assert "unsupported_image" in text


def test_a_name_that_no_terminal_shows_is_escaped(
    models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [b"\xff.png", b"a\n\x1b[2Jb.png", "caf\u00e9.png".encode()]
    files = [tmp_path / os.fsdecode(name) for name in names]
    for file in files:
        file.write_bytes(encode(flat(255)))
    assert main(["classify", "--models", models, *map(str, files)]) == 0
    shown = [line.split()[0].rpartition("/")[2] for line in capsys.readouterr().out.splitlines()]
    assert shown == [r"\xff.png", r"a\n\x1b[2Jb.png", "caf\u00e9.png"]
    assert main(["classify", "--models", models, str(tmp_path / "a\nb.png")]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert r"a\nb.png cannot be read" in line


def test_a_name_that_is_not_utf8_is_valid_unicode_in_json_and_differs_from_that_of_its_escape(
    models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / os.fsdecode(name) for name in (b"\xff.png", rb"\xff.png", b"gone-\xff.png")]
    for file in files[:2]:
        file.write_bytes(encode(flat(255)))
    assert main(["classify", "--json", "--models", models, *map(str, files)]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"].rpartition("/")[2] for row in rows] == [r"\xff.png", r"\\xff.png", r"gone-\xff.png"]
    assert [str(row).isprintable() for row in rows] == [True] * 3


@pytest.mark.parametrize("arguments", [["-x.png"], ["a.png", "-x.png"], ["-hello.png"], ["--json.png", "a.png"]])
def test_a_file_whose_name_is_taken_for_an_option_is_named_with_the_way_to_write_it(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (name,) = (text for text in arguments if text.startswith("-"))
    hint = f"; to name the file {name} write ./{name}, or -- before all names ("
    for is_there in (False, True):
        if is_there:
            (tmp_path / name).touch()
        with pytest.raises(SystemExit) as left:
            main(["classify", *arguments])
        assert (left.value.code, hint in capsys.readouterr().err) == (2, is_there)


def test_a_path_that_is_not_utf8_is_refused_by_bulk_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bulk", os.fsdecode(b"caf\xe9"), "out"]) == 2
    assert "SRC: the value is not UTF-8: rename the file or folder, or name a link to it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["models list --models models", "tokens list --file tokens.toml"])
def test_a_current_folder_that_was_removed_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(command.split()) == 1
    assert "lensgate: the current folder was removed: change to another one\n" in capsys.readouterr().err


def test_the_environment_counts_as_it_does_for_the_service(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dark.png").write_bytes(encode(flat(51)))
    monkeypatch.setenv("LENSGATE_MODELS", models)
    monkeypatch.setenv("LENSGATE_BAND_LOW", "0.1")
    assert main(["classify", "--json", str(tmp_path / "dark.png")]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "uncertain"
    assert main(["models", "list"]) == 0


def test_the_command_that_a_card_records_has_no_password() -> None:
    for url in (
        "postgresql://gate:hush@db/gate",
        "postgresql+psycopg://gate:1/hush@db/gate",
        "postgresql://gate@db/gate?user=gate&password=hush&sslpassword=hush",
    ):
        for words in (["--records-url", url], [f"--records-url={url}"]):
            line = cli.parse(["certify", *words, "--export", "5", "--source", "a b"]).command_line
            assert line.startswith("lensgate certify ")
            assert "--records-url" in line
            assert "db/gate" in line
            assert line.endswith("--export 5 --source 'a b'")
            assert "hush" not in line


def test_a_list_says_which_labels_are_certified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true_class = TrueClass(accepted=60, errors=0, bound=0.05)
    sure = CardClass(certified=True, target_risk=0.01, accepted=400, errors=0, bound=0.0075, true_class=true_class)
    classes = {Label.GLASSES: sure.model_copy(update={"certified": False}), Label.NO_GLASSES: sure}
    write_model(tmp_path, brightness_model(band=CardBand(chosen_by="certified", classes=classes)))
    assert main(["models", "list", "--models", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(", glasses not certified, no_glasses certified\n")


def test_models_are_listed_verified_and_promoted(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "promote", "1", "--models", models]) == 0
    (Path(models) / "glasses/2/model.onnx").write_bytes(b"")
    assert main(["models", "verify", "2", "--models", models]) == 1
    assert main(["models", "promote", "2", "--models", models]) == 1
    assert "hashes differ" in capsys.readouterr().err
    assert main(["models", "list", "--models", models]) == 0
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith("* 1 ")
    assert "unusable" in two


def test_a_rollback_reports_the_versions_it_skips(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path(models), brightness_model("3"), current=False)
    for version in "123":
        assert main(["models", "promote", version, "--models", models]) == 0
    shutil.rmtree(Path(models) / "glasses/2")
    capsys.readouterr()
    assert main(["models", "rollback", "--models", models]) == 0
    printed = capsys.readouterr()
    assert printed.out == "glasses 1 is current again\n"
    assert "version 2 is gone" in printed.err
    assert main(["models", "rollback", "--models", models]) == 1
    assert (
        "no version to go back to except deleted ones (2): promote one of 3: "
        f"lensgate models promote --models {models} 3" in capsys.readouterr().err
    )


def test_a_version_the_service_would_refuse_is_listed_as_unusable_and_not_promoted(
    models: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = GoldenSample(name="bare", png=base64.b64encode(encode(flat(51, 32))), glasses_probability=0.3)
    write_model(Path(models), brightness_model("3", golden=(sample,)), current=False)
    assert main(["models", "promote", "3", "--models", models]) == 1
    monkeypatch.setenv("LENSGATE_BAND_LOW", "0.7")
    assert main(["models", "promote", "1", "--models", models]) == 1
    err = capsys.readouterr().err
    assert "golden sample 'bare' scores differently" in err
    assert "LENSGATE_BAND_LOW" in err
    monkeypatch.delenv("LENSGATE_BAND_LOW")
    (Path(models) / "glasses/CURRENT").write_text("3")
    assert main(["models", "list", "--models", models]) == 1
    printed = capsys.readouterr()
    assert [line[0] for line in printed.out.splitlines()] == [" ", " ", "*"]
    assert "unusable: the golden sample" in printed.out
    assert "version 3 is promoted and cannot be served" in printed.err


@pytest.mark.parametrize(("current", "named"), [("9", "version 9 is promoted"), ("", "CURRENT is empty")])
def test_the_list_reports_errors_of_the_current_version(
    current: str, named: str, models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(models) / "glasses/CURRENT").write_text(current)
    assert main(["models", "list", "--models", models]) == 1
    printed = capsys.readouterr()
    assert named in printed.err
    assert len(printed.out.splitlines()) == (3 if current else 2)


@pytest.mark.parametrize(
    "command",
    [
        "tokens list --file {}",
        "tokens add operator --scopes decide --file {}/tokens.toml",
        "models list --models {}",
        "models promote 1 --models {}",
        "models rollback --models {}",
        "certify --models {}",
        "classify {} --models shipped",
        "bulk {} out --models shipped",
    ],
)
def test_a_name_with_an_escape_sequence_is_printed_escaped(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "shipped", brightness_model())
    monkeypatch.chdir(tmp_path)
    assert main([word.format("red\x1b[31m") for word in command.split()]) == 1
    printed = capfd.readouterr()
    assert "red\\x1b[31m" in printed.out + printed.err
    assert "\x1b[31m" not in printed.out + printed.err


def test_a_pattern_that_the_shell_has_replaced_is_told_to_be_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit):
        main(["bulk", *map(str, sorted(tmp_path.iterdir())), "decided"])
    assert "unknown argument decided; quote a pattern, such as '*.png'" in capsys.readouterr().err


# Interrupts the import of a module, which swallows the exception as compiled ones do.
IMPORTING = """
import contextlib, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell that runs the tests in the background ignores it.
from lensgate.cli import main
class Finder:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), int(sys.argv[2]))
sys.meta_path.insert(0, Finder())
sys.exit(main(["bulk", "no-such-folder", "out"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["bulk.settings", "bulk.command", "onnxruntime"])
def test_a_signal_that_an_import_swallows_ends_the_command(module: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", IMPORTING, module, str(int(number))]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (128 + number, "", "")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("common.py", ["--version"]),
        ("gate.py", ["models", "list"]),
        ("service/__init__.py", ["models", "list"]),
        ("bulk/__init__.py", ["bulk", "--help"]),
        ("training/__init__.py", ["train", "--help"]),
    ],
)
def test_a_module_of_the_caller_with_the_name_of_a_package_is_named(
    tmp_path: Path, name: str, command: list[str]
) -> None:
    module = tmp_path / name
    module.parent.mkdir(exist_ok=True)
    module.touch()
    ran = subprocess.run(
        [sys.executable, "-m", "lensgate", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    package = name.partition("/")[0].removesuffix(".py")
    assert ran.stderr.startswith(
        f"lensgate: {module} is imported in place of Lensgate's package {package!r}: rename it"
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
