"""How to install an extra. Lensgate is not published on an index, so the hint starts from its checkout."""


def how_to_install(*extras: str) -> str:
    """Return the command that adds extras of Lensgate to this environment, as part of a sentence."""
    return f"run pip install '.[{','.join(extras)}]' in Lensgate's checkout"
