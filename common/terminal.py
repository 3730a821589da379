"""Text for a terminal or a log, whatever names a caller or a file system chose."""


def escape_controls(text: str) -> str:
    """Escape characters that a terminal would interpret, or that end a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
