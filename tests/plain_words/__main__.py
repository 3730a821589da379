"""python -m tests.plain_words: print the rate of each construction by folder and fail where one is too high."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.plain_words.rules import CONSTRUCTIONS, LIMIT, Folder, Hit, find_constructions, find_words, read_words
from tests.plain_words.texts import texts_of

WORDS_FILE = Path(__file__).with_name("words.txt")
SHOWN = 20


def tracked_files(root: Path) -> list[str]:
    """Paths of all tracked files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def check(root: Path, files: Iterable[str]) -> tuple[dict[str, Folder], list[Hit]]:
    """Read every file; return the folders with their rates, and the words that are not allowed."""
    listed = read_words(WORDS_FILE)
    folders: dict[str, Folder] = defaultdict(Folder)
    forbidden: list[Hit] = []
    for name in files:
        texts = texts_of(root / name)
        folder = folders[name.partition("/")[0] if "/" in name else "."]
        folder.words += sum(len(text.words.split()) for text in texts)
        folder.hits += find_constructions(name, texts)
        forbidden += find_words(name, texts, listed)
    return {name: folder for name, folder in sorted(folders.items()) if folder.words}, forbidden


def worst_first(hits: Iterable[Hit]) -> list[Hit]:
    """Hits on the lines with the most hits first."""
    hits = list(hits)
    by_line = Counter((hit.path, hit.line) for hit in hits)
    return sorted(hits, key=lambda hit: (-by_line[hit.path, hit.line], hit.path, hit.line))


def main(root: Path) -> int:
    """Print the report; 1 if a rate is at or above the limit or a forbidden word occurs."""
    folders, forbidden = check(root, tracked_files(root))
    print(f"{'folder':10} {'words':>7}", *(f"{name:>8}" for name in CONSTRUCTIONS))
    for name, folder in folders.items():
        print(f"{name:10} {folder.words:7}", *(f"{folder.rate(each):8.2f}" for each in CONSTRUCTIONS))
    excesses = {name: folder.excesses() for name, folder in folders.items() if folder.excesses()}
    for name, constructions in excesses.items():
        print(f"\n{name}: {', '.join(constructions)} at or above {LIMIT:g} per 1,000 words")
        hits = worst_first(hit for hit in folders[name].hits if hit.name in constructions)
        print(*(f"  {hit.path}:{hit.line}: {hit.name}: ...{hit.excerpt}..." for hit in hits[:SHOWN]), sep="\n")
    if forbidden:
        print(f"\n{len(forbidden)} words that {WORDS_FILE.name} does not allow")
        print(
            *(f"  {hit.path}:{hit.line}: {hit.name!r}, better: {hit.advice}" for hit in worst_first(forbidden)),
            sep="\n",
        )
    return 1 if excesses or forbidden else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[2]))
