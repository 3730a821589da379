"""Text for a terminal, a log or a page, whatever names a caller or a file system chose."""


def escape_controls(text: str) -> str:
    """Escape characters that a terminal would interpret, or that end a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def count(amount: int, one: str) -> str:
    """Format as 1 image or 2,000 images."""
    return f"{amount:,} {one if amount == 1 else one + 's'}"
