"""The check of plain English finds each construction in each kind of file, and passes plain text."""

import subprocess
from pathlib import Path

import pytest

from tests.plain_words.__main__ import WORDS_FILE, check, main
from tests.plain_words.rules import CONSTRUCTIONS, find_constructions, find_words, read_words
from tests.plain_words.texts import Text, texts_of

DIALECT = {
    "what": "Keep what is left of the queue.",
    "who": "Answer the client who waits longest.",
    "nobody": "Nobody reads this buffer.",
    "nothing": "Nothing follows the last row.",
}
PLAIN = "Return the rest of the queue; the caller owns the buffer. What is a batch? It is a list. Choose what to send."

FILES = {
    "module.py": '"""{}"""\n',
    "comment.py": "x = 1  # {}\n",
    "attribute.py": 'x = 1\n"""{}"""\n',
    "error.py": "def f(x: int) -> None:\n    raise ValueError(f'{{x}}: {}')\n",
    "options.py": "def f(add): add('--x', help='{}')\n",
    "page.js": 'const pattern = /"/;  // {}\n',
    "message.js": "show('{}');\n",
    "code.c": "/* {} */\nint x;\n",
    "style.css": "/* {} */\n",
    "script.sh": "#!/bin/sh\n# {}\ntrue\n",
    "alerts.yml": "rules:\n  - annotations:\n      summary: {}\n",
    "values.yaml": "x: 1  # {}\n",
    "Makefile": "all: x  # {}\n",
    "Dockerfile": "# {}\nFROM scratch\n",
    "README.md": "# Title\n\n```\ncode\n```\n\n{}\n",
    "index.html": "<p>{}</p>",
    "titles.html": '<p title="{}">x</p>',
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(FILES[name].format(text))
    return path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_each_construction_is_found_in_each_kind_of_file(tmp_path: Path, name: str, construction: str) -> None:
    path = write(tmp_path, name, DIALECT[construction])
    hits = list(find_constructions(name, texts_of(path)))
    assert [hit.name for hit in hits] == [construction]
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if DIALECT[construction] in text)
    assert hits[0].line == line


@pytest.mark.parametrize("name", FILES)
def test_plain_text_passes(tmp_path: Path, name: str) -> None:
    texts = texts_of(write(tmp_path, name, PLAIN))
    assert "Return the rest of the queue" in " ".join(text.words for text in texts)
    assert list(find_constructions(name, texts)) == []
    assert list(find_words(name, texts, read_words(WORDS_FILE))) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("code.py", "nobody = 'nothing that nobody sees'\n"),
        ("code.js", "const nobody = `${nothing}`; const url = 'nothing://nobody';\n"),
        ("README.md", "Run `nothing`.\n\n```sh\nnobody\n```\n"),
        ("index.html", "<script>nobody()</script><style>.nothing {}</style>"),
        ("values.yaml", "nobody: nothing\n"),
        ("model.onnx", "nobody"),
    ],
)
def test_code_is_not_prose(tmp_path: Path, name: str, source: str) -> None:
    path = tmp_path / name
    path.write_text(source)
    assert not any("nobody" in text.words or "nothing" in text.words for text in texts_of(path))


@pytest.mark.parametrize(
    "phrase",
    [
        "nobody",
        "whoever asks",
        "waits for ever",
        "the rest of what was sent",
        "this is no image",
        "somebody else",
        "has not to wait",
        "has not the scope",
        "the card less its hash",
        "none is to be had",
        "as fast as can be",
        "otherwise than on the CPU",
        "mended",
        "a rate of .46",
    ],
)
def test_a_listed_word_is_found_with_its_replacement(phrase: str) -> None:
    hits = list(find_words("x.py", [Text(3, f"First line.\nThen {phrase}.")], read_words(WORDS_FILE)))
    assert [hit.line for hit in hits] == [4]
    assert all(hit.advice for hit in hits)


@pytest.mark.parametrize("phrase", ["there is no image", "is no longer open", "forever", "0.46", "recommended", "1.5"])
def test_words_that_only_resemble_a_listed_one_pass(phrase: str) -> None:
    assert list(find_words("x.py", [Text(1, f"It says: {phrase}.")], read_words(WORDS_FILE))) == []


def test_a_listed_word_without_a_replacement_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# a comment\n\nnobody =\n")
    with pytest.raises(ValueError, match="without a replacement"):
        read_words(path)


def test_rates_are_counted_by_top_level_folder(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service/a.py").write_text("# Who asks?\n" + "# word word\n" * 999 + "# The one who asks.\n" * 2)
    (tmp_path / "service/b.py").write_text("# word\n" * 3)
    (tmp_path / "README.md").write_text("Plain text.\n")
    folders, forbidden = check(tmp_path, ["service/a.py", "service/b.py", "README.md"])
    assert {name: folder.words for name, folder in folders.items()} == {".": 2, "service": 2 + 1998 + 8 + 3}
    assert folders["service"].rate("who") == pytest.approx(2000 / 2011)
    assert folders["service"].excesses() == []
    (tmp_path / "service/b.py").write_text("# One who asks.\n")
    folders, _ = check(tmp_path, ["service/a.py", "service/b.py", "README.md"])
    assert folders["service"].excesses() == ["who"]
    assert forbidden == []


def test_the_report_names_the_worst_lines_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/a.py").write_text("# what is left\n# who asks, what is asked, what it takes, of what is left\n")
    run_git(tmp_path)
    assert main(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "gate: what, who at or above 1 per 1,000 words" in lines
    first = lines[lines.index("gate: what, who at or above 1 per 1,000 words") + 1]
    assert first.startswith("  gate/a.py:2: ")
    assert any(line.startswith("  gate/a.py:2: 'of what', better: ") for line in lines)
    (tmp_path / "gate/a.py").write_text("# Plain.\n")
    assert main(tmp_path) == 0


def run_git(folder: Path) -> None:
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=folder, check=True)
