"""The rules: how often a construction may occur in a folder, and words that may not occur at all."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.plain_words.texts import Text

LIMIT = 1.0
"""Each construction must stay below this rate, per 1,000 words of a top-level folder."""

_VERBS = (
    "is are was were has had have can could may does did do came come goes went made stays would will should must no of"
)
_SUBJECTS = "it they he she the a an this that there one we others somebody nobody anybody each every all some any"

CONSTRUCTIONS = {
    "what": re.compile(rf"\bwhat (?:{'|'.join((_VERBS + ' ' + _SUBJECTS).split())}|\w+s)\b", re.IGNORECASE),
    "who": re.compile(r"\bwho(?:ever)?\b", re.IGNORECASE),
    "nobody": re.compile(r"\bnobody\b", re.IGNORECASE),
    "nothing": re.compile(r"\bnothing\b", re.IGNORECASE),
}
"""Name -> pattern. A direct question is not a noun clause: a sentence that ends with `?` may hold the first two."""

_QUESTIONS_ALLOWED = {"what", "who"}
_SENTENCE = re.compile(r"(?<=[.!?:;])[\"')\]*_]*(?:\s+|$)|\n\s*\n| \| ")


class Hit(NamedTuple):
    """An occurrence: where, which construction or word, and the plain way to write it, if the list has one."""

    path: str
    line: int
    name: str
    excerpt: str
    advice: str = ""


class Word(NamedTuple):
    """An entry of the list: a pattern that must not occur, and its plain replacement."""

    pattern: re.Pattern[str]
    name: str
    replacement: str


@dataclass
class Folder:
    """Words and hits of one top-level folder."""

    words: int = 0
    hits: list[Hit] = field(default_factory=list)

    def rate(self, name: str) -> float:
        """Occurrences of a construction per 1,000 words."""
        return 1000 * sum(hit.name == name for hit in self.hits) / max(self.words, 1)

    def excesses(self) -> list[str]:
        """Constructions whose rate is at or above the limit."""
        return [name for name in CONSTRUCTIONS if self.rate(name) >= LIMIT]


def read_words(path: Path) -> list[Word]:
    """Read a list of `pattern = replacement` lines; `#` begins a comment.

    Raises:
        ValueError: a line has no replacement.
    """
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, replacement = (part.strip() for part in line.partition(" = "))
        if not separator or not replacement:
            raise ValueError(f"{path} has a line without a replacement: {line!r}")
        words.append(Word(re.compile(rf"(?<![\w.\])])(?:{name})(?!\w)", re.IGNORECASE), name, replacement))
    return words


def find_constructions(path: str, texts: Iterable[Text]) -> Iterator[Hit]:
    """Every occurrence of a construction whose rate is limited."""
    for text in texts:
        for start, sentence in _sentences(text.words):
            for name, pattern in CONSTRUCTIONS.items():
                if name in _QUESTIONS_ALLOWED and sentence.rstrip(" \n\"')*_").endswith("?"):
                    continue
                for found in pattern.finditer(_flat(sentence)):
                    yield _hit(path, text, start + found.start(), name)


def find_words(path: str, texts: Iterable[Text], words: Iterable[Word]) -> Iterator[Hit]:
    """Every occurrence of a word of the list."""
    words = list(words)
    for text in texts:
        for word in words:
            for found in word.pattern.finditer(_flat(text.words)):
                yield _hit(path, text, found.start(), found[0], word.replacement)


def _sentences(words: str) -> Iterator[tuple[int, str]]:
    """Start and text of each sentence."""
    start = 0
    for found in _SENTENCE.finditer(words):
        yield start, words[start : found.start()]
        start = found.end()
    yield start, words[start:]


def _flat(words: str) -> str:
    """The same characters in one line, so that positions stay."""
    return re.sub(r"\s", " ", words)


def _hit(path: str, text: Text, position: int, name: str, advice: str = "") -> Hit:
    line = text.line + text.words.count("\n", 0, position)
    excerpt = " ".join(text.words[max(0, position - 30) : position + 60].split())
    return Hit(path, line, name, excerpt, advice)
