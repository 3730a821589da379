"""`lensgate tokens`."""

import errno
import os
import stat
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lensgate.cli import main
from service.access.tokens import hash_token, make_token, read_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def run(path: Path, *arguments: str) -> int:
    return main(["tokens", *arguments, "--file", str(path)])


def test_a_token_is_printed_once_and_only_its_hash_is_kept(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "add", "gen", "--scopes", "decide, review", "--requests-per-second", "5", "--days", "1") == 0
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert token.startswith("lensgate_")
    assert token not in path.read_text() + printed.err
    (entry,) = read_tokens(path)
    assert (entry.name, sorted(entry.scopes), entry.requests_per_second) == ("gen", ["decide", "review"], 5.0)
    assert entry.sha256 == hash_token(token)
    assert entry.expires is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_adding_a_token_keeps_the_rest_of_the_file(path: Path) -> None:
    before = f"# Ours.\n[[token]]\nname = 'eva'   # the reviewer\nsha256 = '{'a' * 64}'\nscopes = [\n  'review',\n]"
    path.write_text(before)
    path.chmod(0o640)
    assert run(path, "add", "gen") == 0
    assert path.read_text().startswith(before + "\n[[token]]")
    assert [entry.name for entry in read_tokens(path)] == ["eva", "gen"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("is_first", [True, False], ids=["the first token", "a further one"])
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", "standard output is closed"), ("", "Broken pipe"), (">/dev/full", "No space left")],
)
def test_token_that_cannot_be_printed_is_not_added(path: Path, redirection: str, reason: str, is_first: bool) -> None:
    if not is_first:
        assert run(path, "add", "eva") == 0
    before = None if is_first else path.read_text()
    reader, writer = os.pipe()
    os.close(reader)
    add = f"exec {sys.executable} -m lensgate tokens add gen --file {path} {redirection}"
    done = subprocess.run(["sh", "-c", add], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lensgate: gen was not added, because its token cannot be printed: {reason}")
    assert len(done.stderr.splitlines()) == 1
    assert (path.read_text() if path.exists() else None) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["add", "eva"], "there is a token 'eva' already"),
        (["add", "two words"], "name"),
        (["add", 'a"\nb'], "tokens.toml"),
        (["add", "gen", "--scopes", "everything"], "scopes"),
        (["add", "gen", "--scopes", 'decide"]\nname = "x'], "tokens.toml"),
        (["add", "gen", "--requests-per-second", "0"], "requests_per_second"),
        (["add", "gen", "--burst", "3"], "burst needs"),
        (["add", "gen", "--days", "0"], "--days"),
        (["add", "gen", "--days", "nan"], "--days"),
        (["revoke", "adam"], "no token 'adam'"),
    ],
)
def test_invalid_arguments_leave_the_file_unchanged(
    path: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path, "add", "eva", "--scopes", "review") == 0
    before = path.read_text()
    assert run(path, *arguments) == 1
    assert named in capsys.readouterr().err
    assert path.read_text() == before


def test_a_revoked_token_is_gone_and_the_rest_stays(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a", "b", "c")
    entries = [
        f"# About {name}.\n[[token]]\nname = '{name}'\nsha256 = '{name * 64}'\nscopes = []\n\n" for name in names
    ]
    for place, name in enumerate(names):
        path.write_text("".join(entries))
        assert run(path, "revoke", name) == 0
        left = path.read_text()
        assert [entry["name"] for entry in tomllib.loads(left)["token"]] == [*names[:place], *names[place + 1 :]]
        assert all(f"# About {other}." in left for other in names)
        assert "revoked" in capsys.readouterr().out
    path.write_text(entries[0])
    assert run(path, "revoke", "a") == 1
    assert "is the only token" in capsys.readouterr().err
    assert path.read_text() == entries[0]


def test_unknown_file_layout_is_left_unchanged(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(f"token = [{{name = 'eva', sha256 = '{'a' * 64}', scopes = []}}]\n")
    before = path.read_text()
    assert run(path, "revoke", "eva") == 1
    assert "by hand" in capsys.readouterr().err
    assert path.read_text() == before


def test_tokens_that_are_added_at_one_time_are_all_kept(path: Path) -> None:
    names = [f"token-{number}" for number in range(12)]
    with ThreadPoolExecutor(len(names)) as threads:
        assert set(threads.map(lambda name: run(path, "add", name), names)) == {0}
    assert sorted(entry.name for entry in read_tokens(path)) == sorted(names)


@pytest.mark.parametrize("action", ["add", "revoke"])
def test_binary_file_is_left_unchanged(path: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(b"\xff\xfe")
    assert run(path, action, "gen") == 1
    assert "cannot read" in capsys.readouterr().err
    assert path.read_bytes() == b"\xff\xfe"


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    assert run(path, "add", "eva") == 0
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert run(link, "add", "gen") == 0
    assert link.is_symlink()
    assert len(read_tokens(path)) == 2


def test_a_mount_that_fixes_the_owner_takes_another_token(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a share all files, also new ones, have the owner that it was mounted for."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    assert run(path, "add", "first", "--scopes", "decide") == 0
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(os, "chown", refuse)
    assert run(path, "add", "second", "--scopes", "decide") == 0


def test_the_list_says_everything_but_the_hash(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = f"[[token]]\nname = 'old'\nsha256 = '{'a' * 64}'\nscopes = []\nexpires = 2020-01-01T00:00:00Z\n"
    path.write_text(ended)
    path.chmod(0o600)
    assert run(path, "add", "gen", "--scopes", "decide", "--requests-per-second", "2.5") == 0
    capsys.readouterr()
    assert run(path, "list") == 0
    printed = capsys.readouterr().out
    _, old, gen = printed.splitlines()
    assert old.split() == ["old", "-", "2020-01-01", "00:00Z", "(expired)"]
    assert gen.split() == ["gen", "decide", "2.5", "never"]
    assert "a" * 64 not in printed


@pytest.mark.parametrize("flags", [("--file=~/tokens.toml",), ()], ids=["flag", "variable"])
def test_the_file_may_be_in_the_home_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("LENSGATE_TOKENS", '"~/tokens.toml"')
    assert main(["tokens", "add", "gen", *flags]) == 0
    assert len(read_tokens(path.with_name("tokens.toml"))) == 1


def test_the_environment_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENSGATE_TOKENS", str(path))
    assert main(["tokens", "add", "gen"]) == 0
    assert len(read_tokens(path)) == 1
    assert main(["tokens", "list", "--file", str(path.with_name("absent.toml"))]) == 1


def test_a_token_in_the_place_of_the_file_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = make_token()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENSGATE_TOKENS", token)
    assert main(["tokens", "add", "gen"]) == 1
    error = capsys.readouterr().err
    assert ("not its content" in error, token in error, list(tmp_path.iterdir())) == (True, False, [])
