"""Count the entries of SRC that are not judged, so that none is skipped silently."""

import re
from collections import Counter
from collections.abc import Mapping

# Limit on distinct suffixes: names such as `x.000001` would make one each.
_MAX_KINDS = 100
_ENDING = re.compile(r"(\.tar)?\.[a-z0-9_+-]{1,16}$")
_SHOWN = 8


class Ignored:
    """Counts ignored entries by kind, and collects the folders that could not be listed."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.unlisted: list[str] = []

    @property
    def counts(self) -> Mapping[str, int]:
        """The counts by kind: a suffix such as `.tiff`, or `hidden files`."""
        return dict(sorted(self._counts.items()))

    def add(self, kind: str) -> None:
        """Count one entry."""
        self._counts[kind if kind in self._counts or len(self._counts) < _MAX_KINDS else "others"] += 1

    def add_file(self, name: str) -> None:
        """Count a file by the suffix of its name."""
        ending = _ENDING.search(name.lower())
        self.add(ending[0] if ending else "no ending")


def describe_ignored(counts: Mapping[str, int]) -> str:
    """Return a text such as `3 files ignored: .jfif 2, .txt 1`, largest counts first; empty if there were none."""
    total = sum(counts.values())
    if not total:
        return ""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{kind} {count:,}" for kind, count in ranked[:_SHOWN])
    rest = f", and {len(ranked) - _SHOWN} more kinds" if len(ranked) > _SHOWN else ""
    return f"{total:,} {'file' if total == 1 else 'files'} ignored: {shown}{rest}"
