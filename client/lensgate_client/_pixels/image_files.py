"""The bytes of image files: read from a path, or as a caller has them; what is neither is told how to become one."""

import os
import re
import stat
from pathlib import Path

from lensgate_client._protocol.texts import cut, shown
from lensgate_client.errors import BadImage

MAX_FILE_BYTES = 256 * 2**20
"""Largest file that is read: sixteen times what a gate takes by default."""

_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/[0-9A-Za-z+/]{4}|UklGR[0-9A-Za-z+/]{4})[0-9A-Za-z+/\s]*={0,2}\s*")
"""How base64 begins of a PNG, a JPEG and a WebP file."""

_HEAD = 64
_WAYS = "pass the bytes of a PNG, JPEG or WebP file, or its path"


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file.

    Raises:
        BadImage: it cannot be read, is none, or is too large; or it is no path but the image itself, or its URL.
    """
    text = str.__str__(os.fsdecode(path))  # A subclass may write itself in another way.
    if isinstance(path, str):
        _check_text(path)
    try:
        return _read(text)
    except (OSError, ValueError) as error:  # A path with a null character is a ValueError.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else cut(str(error), 200)
        raise _unreadable(f"{shown(text)} cannot be read: {reason}") from error


def check_bytes(data: bytes) -> bytes:
    """The bytes, unless they are text that stands for an image.

    Raises:
        BadImage: they are base64, a data URI, or a URL.
    """
    head = data[:_HEAD]
    if (head.isascii() and head[:1].isalpha()) or head.startswith(b"/9j/"):
        _check_text(head.decode(errors="replace"), len(data))
    return data


def _check_text(text: str, length: int | None = None) -> None:
    head = text[:_HEAD]
    length = len(text) if length is None else length
    if head[:5].lower() == "data:":
        raise _unreadable(
            f"{shown(head)}, a data URI of {length:,} characters, is no image file: pass "
            "base64.b64decode(text.partition(',')[2])"
        )
    if length >= _HEAD and _BASE64.fullmatch(head):
        raise _unreadable(
            f"{shown(head)}, base64 of {length:,} characters, is no image file: pass base64.b64decode(text)"
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://", head):
        raise _unreadable(f"{shown(head)} is a URL, and nothing is fetched here: {_WAYS}")


def _read(path: str) -> bytes:
    file = Path(path)
    found = file.stat()
    if stat.S_ISDIR(found.st_mode):
        raise OSError(0, f"it is a folder: {_WAYS}")
    if not stat.S_ISREG(found.st_mode):
        # Opening a FIFO or a terminal would block, and a device may be read without end.
        raise OSError(0, f"it is no regular file: {_WAYS}")
    if found.st_size > MAX_FILE_BYTES:
        raise BadImage(f"{shown(path)} has {found.st_size:,} bytes: no gate takes so many", code="body_too_large")
    return file.read_bytes()


def _unreadable(detail: str) -> BadImage:
    return BadImage(detail, code="unreadable_file")
