"""The Dockerfile's steps as the rehearsal reads and orders them; `python -m deploy.rehearsal` carries them out."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.rehearsal.build import Bind, Builder, Image, Step
from deploy.rehearsal.dockerfile import Copy, Instruction, Mount, Stage, expand, ignored, read_stages
from deploy.rehearsal.system import pip_configuration, pip_environment

from .tools import ROOT


class Rehearsal:
    """A Dockerfile in a folder, built with steps that are noted down instead of run."""

    def __init__(self, folder: Path, text: str, *, ignore: tuple[str, ...] = ()) -> None:
        (folder / "base/etc").mkdir(parents=True)
        (folder / "context").mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(text)
        self.steps: list[Step] = []
        self.builder = Builder(
            read_stages(folder / "Dockerfile"),
            context=folder / "context",
            base=Image(folder / "base", {"PATH": "/bin"}),
            work=folder / "work",
            run=self.steps.append,
            ignore=ignore,
        )


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_reader_follows_docker_in_what_a_dockerignore_lets_through() -> None:
    patterns = ["*", "!a", "!b/keep.txt", "**/*.py[cod]"]
    through = [path for path in ("a/x.py", "a/d/x.pyc", "b/keep.txt", "b/other", "c") if not ignored(path, patterns)]
    assert through == ["a/x.py", "b/keep.txt"]


def test_the_reader_joins_lines_and_drops_comments(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("ARG X=1\nFROM a AS b\n# no\nRUN one \\\n    # not this\n    && two\nCOPY --from=c /x /y\n")
    (only,) = read_stages(file)
    assert only.instructions == (Instruction("RUN", "one  && two"), Instruction("COPY", "--from=c /x /y"))
    assert only.needs() == {"a", "c"}


def test_the_reader_tells_flags_from_what_they_are_about() -> None:
    run = Instruction("RUN", "--mount=type=bind,from=wheel,source=/wheel,target=/w pip install --no-deps /w/*.whl")
    assert run.mounts() == (Mount("wheel", "/wheel", "/w"),)
    assert run.command == "pip install --no-deps /w/*.whl"
    copy = Stage("s", "b", (Instruction("COPY", "--chmod=755 models /models"),))
    assert list(copy.copies()) == [Copy(("models",), "/models", None, 0o755)]


def test_variables_are_filled_in() -> None:
    assert expand("/opt/bin:$PATH:${PATH}$NONE", {"PATH": "/bin"}) == "/opt/bin:/bin:/bin"
    assert Instruction("ENV", 'A="x y"  B=$A').assignments({"A": "old"}) == {"A": "x y", "B": "old"}


def test_stages_are_built_before_those_that_need_them_and_no_other_is(tmp_path: Path) -> None:
    text = (
        "FROM debian AS one\nRUN one\nFROM debian AS other\nRUN other\nFROM debian AS two\nRUN two\n"
        "FROM one AS last\nCOPY --from=two /etc /x\nRUN last\n"
    )
    rehearsal = Rehearsal(tmp_path, text)
    rehearsal.builder.build("last")
    assert [step.command for step in rehearsal.steps] == ["one", "two", "last"]


def test_a_step_runs_in_its_stage_with_what_was_set_before_it(tmp_path: Path) -> None:
    text = (
        "FROM debian AS only\nARG VERSION=dev\nENV PATH=/opt:$PATH HOME=/x\nWORKDIR /src\nWORKDIR below\nRUN make\n"
        "ENV LATE=1\n"
    )
    rehearsal = Rehearsal(tmp_path, text)
    image = rehearsal.builder.build("only")
    (step,) = rehearsal.steps
    assert step.environment == {"PATH": "/opt:/bin", "HOME": "/x", "VERSION": "dev"}
    assert (step.root, step.workdir) == (tmp_path / "work/only", "/src/below")
    assert (image.root / "src/below").is_dir()
    assert image.environment == {"PATH": "/opt:/bin", "HOME": "/x", "LATE": "1"}, "an ARG is gone when it is built"


def test_a_mount_shows_another_stage(tmp_path: Path) -> None:
    text = "FROM debian AS wheel\nFROM debian AS last\nRUN --mount=type=bind,from=wheel,source=/etc,target=/w pip\n"
    rehearsal = Rehearsal(tmp_path, text)
    rehearsal.builder.build("last")
    assert rehearsal.steps[0].binds == [Bind(tmp_path / "work/wheel/etc", "/w")]


def test_a_stage_keeps_what_its_base_was_told_and_its_own_comes_last(tmp_path: Path) -> None:
    text = 'FROM debian AS base\nCMD ["old"]\nUSER 0:0\nFROM base AS last\nUSER 65532:65532\n'
    settings = Rehearsal(tmp_path, text).builder.build("last").settings
    assert settings["CMD"].exec_form() == ["old"]
    assert settings["USER"].value == "65532:65532"


def test_a_folder_is_copied_by_its_content_and_without_what_is_ignored(tmp_path: Path) -> None:
    write(tmp_path / "context", {"gate/a.py": "", "gate/deep/b.py": "", "gate/deep/b.pyc": ""})
    text = "FROM debian AS only\nCOPY gate /gate\n"
    image = Rehearsal(tmp_path, text, ignore=("**/*.pyc",)).builder.build("only")
    assert files_in(image.root / "gate") == ["a.py", "deep/b.py"]


def test_files_are_copied_into_a_folder_or_to_a_name(tmp_path: Path) -> None:
    write(tmp_path / "context", {"README.md": "r", "LICENSE": "l", "locks/cpu.txt": "c"})
    text = "FROM debian AS only\nCOPY locks/cpu.txt /tmp/lock.txt\nWORKDIR /src\nCOPY README.md LICENSE ./\n"
    image = Rehearsal(tmp_path, text).builder.build("only")
    assert files_in(image.root) == ["src/LICENSE", "src/README.md", "tmp/lock.txt"]


def test_a_mode_is_that_of_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path / "context", {"models/glasses/CURRENT": "1"})
    (tmp_path / "context/models/glasses").chmod(0o700)
    text = "FROM debian AS only\nCOPY --chmod=755 models /models\n"
    image = Rehearsal(tmp_path, text).builder.build("only")
    found = [image.root / "models", *(image.root / "models").rglob("*")]
    assert len(found) == 3
    assert {oct(path.stat().st_mode & 0o777) for path in found} == {"0o755"}


def test_what_a_dockerignore_keeps_out_cannot_be_copied(tmp_path: Path) -> None:
    write(tmp_path / "context", {"secret/key": ""})
    rehearsal = Rehearsal(tmp_path, "FROM debian AS only\nCOPY secret /x\n", ignore=("*", "!gate"))
    with pytest.raises(FileNotFoundError, match="COPY secret"):
        rehearsal.builder.build("only")


def test_another_stages_links_stay_links(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, "FROM debian AS one\nFROM debian AS last\nCOPY --from=one /etc /copied\n")
    (tmp_path / "base/etc/python").symlink_to("/usr/bin/python3")
    image = rehearsal.builder.build("last")
    assert str((image.root / "copied/python").readlink()) == "/usr/bin/python3"


def test_a_second_build_keeps_nothing_of_the_first(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, "FROM debian AS only\n")
    write(tmp_path / "work/only", {"left": "behind"})
    assert files_in(rehearsal.builder.build("only").root) == []


def test_every_instruction_of_the_dockerfile_is_understood() -> None:
    stages = read_stages(ROOT / "deploy/Dockerfile")
    found = {instruction.keyword for stage in stages for instruction in stage.instructions}
    carried_out = {"RUN", "COPY", "ARG", "ENV", "WORKDIR"}
    noted = {"LABEL", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD", "USER", "VOLUME"}
    assert found <= carried_out | noted


def test_a_build_is_told_how_packages_are_reached_and_nothing_else() -> None:
    given = {"PIP_CERT": "/c.pem", "https_proxy": "p", "HTTP_PROXY": "q", "HOME": "/home/x", "SECRET": "s"}
    assert pip_environment(given) == {"PIP_CERT": "/c.pem", "https_proxy": "p", "HTTP_PROXY": "q"}


def test_what_pips_configuration_names_on_this_disk_is_seen_by_a_build(tmp_path: Path) -> None:
    write(tmp_path, {"wheels/a.whl": "", "index/simple/a/index.html": "", "cert.pem": ""})
    lines = f"[global]\nfind-links = {tmp_path}/wheels\nextra-index-url = file://{tmp_path}/index/simple\n"
    write(tmp_path, {"home/.config/pip/pip.conf": lines})
    binds = pip_configuration({"PIP_CERT": f"{tmp_path}/cert.pem"}, home=tmp_path / "home")
    seen = {bind.target: bind.source for bind in binds}
    assert seen.pop("/.config/pip/pip.conf") == tmp_path / "home/.config/pip/pip.conf"
    wanted = [tmp_path / name for name in ("wheels", "index", "cert.pem")]
    assert {str(path): path for path in wanted}.items() <= seen.items()
