"""Read image files from a path or from bytes; reject text that represents an image and suggest the conversion."""

import os
import re
import stat
from pathlib import Path

from lensgate_client.errors import BadImage, quoted, truncated

MAX_FILE_BYTES = 256 * 2**20
"""Largest file that the client reads: 16 times the default body limit of a gate."""

_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/[0-9A-Za-z+/]{4}|UklGR[0-9A-Za-z+/]{4})[0-9A-Za-z+/\s]*={0,2}\s*")
"""Beginning of a base64-encoded PNG, JPEG or WebP file."""

_HEAD_CHARACTERS = 64
_AROUND = " \t\r\n\"'"
"""Blanks and quotation marks that files of text and JSON put around it."""
_ALTERNATIVES = "pass the bytes of a PNG, JPEG or WebP file, or its path"


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        BadImage: the file cannot be read, is not regular or is too large; or the text is an image or a URL.
    """
    text = str.__str__(os.fsdecode(path))  # A subclass may override __str__.
    if isinstance(path, str):
        _check_text(path)
    try:
        return _read(text)
    except (OSError, ValueError) as error:  # A null character in the path raises ValueError.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else truncated(str(error), 200)
        raise _unreadable(f"{quoted(text)} cannot be read: {reason}") from error


def check_bytes(data: bytes) -> bytes:
    """Return the bytes unless they are text that represents an image.

    Raises:
        BadImage: the bytes are base64, a data URI or a URL.
    """
    head = data[:_HEAD_CHARACTERS]
    if head.isascii():
        _check_text(head.decode(), len(data))
    return data


def _check_text(text: str, length: int | None = None) -> None:
    length = len(text) if length is None else length
    head = text[:_HEAD_CHARACTERS].lstrip(_AROUND)
    if head[:5].lower() == "data:":
        raise _unreadable(
            f"{quoted(head)} is a data URI of {length:,} characters, not an image file: pass "
            "base64.b64decode(text.partition(',')[2])"
        )
    if length >= _HEAD_CHARACTERS and _BASE64.fullmatch(head):
        raise _unreadable(
            f"{quoted(head)} is base64 of {length:,} characters, not an image file: pass base64.b64decode(text)"
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://", head):
        raise _unreadable(f"{quoted(head)} is a URL, and the client does not download images: {_ALTERNATIVES}")


def _read(path: str) -> bytes:
    if not path:
        raise OSError(0, f"the path is empty: {_ALTERNATIVES}")
    file = Path(path)
    status = file.stat()
    if stat.S_ISDIR(status.st_mode):
        raise OSError(0, f"it is a directory: {_ALTERNATIVES}")
    if not stat.S_ISREG(status.st_mode):
        # Opening a FIFO or a terminal would block, and a device may be endless.
        raise OSError(0, f"it is not a regular file: {_ALTERNATIVES}")
    if status.st_size > MAX_FILE_BYTES:
        raise BadImage(
            f"{quoted(path)} has {status.st_size:,} bytes, which exceeds the limit of {MAX_FILE_BYTES:,}",
            code="body_too_large",
        )
    return file.read_bytes()


def _unreadable(detail: str) -> BadImage:
    return BadImage(detail, code="unreadable_file")
