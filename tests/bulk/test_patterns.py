import re

import pytest

from bulk.sources.patterns import depth, expand_braces, fixed_folder, has_magic, matcher


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
    ("pattern", "folder", "levels"),
    [
        ("/a/b/*.png", "/a/b", 0),
        ("/a/*/c/*.png", "/a", 2),
        ("/a/**/*.png", "/a", None),
        ("/*.png", "/", 0),
        ("/a/x.tar", "/a", 0),
    ],
)
def test_a_pattern_says_where_to_look_and_how_deep(pattern: str, folder: str, levels: int | None) -> None:
    assert (fixed_folder(pattern), depth(pattern)) == (folder, levels)


def test_a_glob_matches_whole_paths() -> None:
    assert matcher("/a/**/*.png").match("/a/x.png")
    assert matcher("/a/**/*.png").match("/a/b/c/x.png")
    assert not matcher("/a/*.png").match("/a/b/x.png")
    assert isinstance(matcher("/a/[ab].png"), re.Pattern)
    assert has_magic("a?b")
    assert not has_magic("a{1..2}b")
