"""Text for a terminal, a log, a page or a spreadsheet, whatever names a caller or a file system chose."""

import math
import re
import shlex
import sys
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# With the full-width forms that spreadsheets read alike in Japanese and Chinese.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def escape_controls(text: str) -> str:
    """Escape characters that a terminal would interpret, or that end a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def printable(text: str) -> str:
    """Return a text as valid Unicode: bytes that are not UTF-8, and lone surrogates from JSON, become escapes."""
    return _LONE_SURROGATE.sub(_escape, text)


def quoted(name: str) -> str:
    """Return a name as errors quote it."""
    return repr(printable(name[:128]))


def say(*texts: object, error: bool = False, end: str = "\n") -> None:
    """Print texts for people, at once; names in them cannot control the terminal.

    Args:
        texts: one or more lines each.
        error: print to standard error; what cannot be written there is lost, and the exit status remains.
        end: what follows each text.

    Raises:
        OSError: standard output cannot be written.
    """
    lines = ("\n".join(map(escape_controls, str(text).split("\n"))) for text in texts)
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write("".join(f"{line}{end}" for line in lines))
        stream.flush()
    except OSError as fault:
        if error:
            return
        if isinstance(fault, BrokenPipeError):
            raise
        raise OSError(fault.errno, fault.strerror, "standard output") from fault


def count(amount: int, noun: str) -> str:
    """Format as 1 image or 2,000 images."""
    return f"{amount:,} {noun if amount == 1 else noun + 's'}"


def command(*words: object) -> str:
    """Quote a command line of `lensgate` for a shell."""
    return shlex.join(["lensgate", *map(str, words)])


def percent_up(bound: float, *, decimals: int = 2) -> float:
    """Return an upper bound in per cent, rounded up: one that is shown must not promise more than was computed."""
    scale = 10.0**decimals
    # To a millionth first: 100 * 0.07 is a little more than 7.
    return math.ceil(round(100 * bound * scale, 6)) / scale


def percent_exact(share: float) -> str:
    """Format a target or a confidence in per cent with as many digits as it has: 99.99 % must not become 100 %."""
    return f"{100 * share:.10g} %"


def p_value(p: float) -> str:
    """Format as p 0.029, or p < 0.001: no difference is certain."""
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would evaluate a cell with this text."""
    return text.startswith(_FORMULA)


def escape_formula(value: Any) -> Any:
    """Return a cell of a table with a leading `'` if spreadsheets would evaluate it."""
    return f"'{value}" if isinstance(value, str) and is_formula(value) else value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Surrogates from DC80 to DCFF stand for bytes, as in `os.fsdecode`.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
