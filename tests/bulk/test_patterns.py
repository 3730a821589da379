import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk.errors import UsageError
from bulk.sources import files
from bulk.sources.files import SourceFiles
from bulk.sources.ignored import Ignored
from bulk.sources.patterns import Glob, expand_braces, fixed_folder, has_magic, matcher
from bulk.sources.selection import SelectedFiles
from common.storage import locate


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("x-{08..11}.tar", ["x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"]),
        ("x-{8..10}.tar", ["x-8.tar", "x-9.tar", "x-10.tar"]),
        ("{2..1}", ["2", "1"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{x}-{1..2}", ["{x}-1", "{x}-2"]),
        ("{x}", ["{x}"]),
        ("plain", ["plain"]),
        ("a{,b}", ["a", "ab"]),
    ],
)
def test_braces_expand_as_in_a_shell(pattern: str, texts: list[str]) -> None:
    assert list(expand_braces(pattern)) == texts


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("x-{0..99999999}.tar", "100,000,000"),
        ("{0..999}/{0..1000}.png", "1,001,000"),
        ("{999999999999999999..0}{a,b}", "2,000,000,000,000,000,000"),
    ],
)
def test_braces_that_name_millions_of_paths_are_refused_at_once(pattern: str, count: str) -> None:
    with pytest.raises(UsageError, match=f"name {count} paths, at most 1,000,000 are allowed"):
        expand_braces(pattern)


def test_braces_are_not_expanded_again_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"{number}.parquet").touch()
    expand = Mock(wraps=expand_braces)
    monkeypatch.setattr(files, "expand_braces", expand)
    found = SourceFiles.under(*locate(f"{tmp_path}/{{0..19}}.parquet", {}))
    assert len(list(SelectedFiles(found, "parquet", (".parquet",), Ignored()))) == 20
    assert expand.call_count < 5


def test_a_range_of_endless_numbers_is_a_name() -> None:
    text = f"{{1..{'9' * 5000}}}"
    assert list(expand_braces(text)) == [text]


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [("/a/b/*.png", "/a/b"), ("/a/*/c/*.png", "/a"), ("/a/**/*.png", "/a"), ("/*.png", "/"), ("/a/x.tar", "/a")],
)
def test_a_pattern_has_a_fixed_folder(pattern: str, folder: str) -> None:
    assert fixed_folder(pattern) == folder == Glob(pattern).folder


COMPONENTS = st.sampled_from(["a", "b", "*", "?", "**", "a*", "[ab]", "*.png", "x.png"])
NAMES = st.lists(st.sampled_from(["a", "b", "ab", "x.png", "a.png"]), min_size=1, max_size=5)


@given(parts=st.lists(COMPONENTS, min_size=1, max_size=5), names=NAMES)
def test_a_glob_matches_the_same_paths_by_component_and_as_a_whole(parts: list[str], names: list[str]) -> None:
    pattern = "/".join(["/root", *parts])
    glob = Glob(pattern, "/root")
    states = glob.start
    for name in names[:-1]:
        states = glob.descend(glob.step(states, name))
    assert glob.is_match(glob.step(states, names[-1])) == bool(matcher(pattern).match("/".join(["/root", *names])))


@pytest.mark.parametrize("pattern", ["/a/b**/*.png", "/a/**b/x.png"])
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a valid pattern"):
        Glob(pattern)


def test_a_glob_matches_whole_paths() -> None:
    assert matcher("/a/**/*.png").match("/a/x.png")
    assert matcher("/a/**/*.png").match("/a/b/c/x.png")
    assert not matcher("/a/*.png").match("/a/b/x.png")
    assert isinstance(matcher("/a/[ab].png"), re.Pattern)
    assert [bool(matcher("/a/[^_]?.png").match(f"/a/{name}.png")) for name in ("x1", "_1", "^1")] == [True, False, True]
    assert [bool(matcher("/a/[[^].png").match(f"/a/{name}.png")) for name in ("[", "^", "x")] == [True, True, False]
    assert has_magic("a?b")
    assert not has_magic("a{1..2}b")
