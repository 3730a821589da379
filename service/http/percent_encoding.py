"""Percent-encoded text in URLs."""

from urllib.parse import unquote_to_bytes


def is_utf8(encoded: bytes) -> bool:
    """Return whether the text is UTF-8 once it is decoded; parsing would replace other bytes silently."""
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return True
