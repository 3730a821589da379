"""Another module that is imported in place of a package of Lensgate, such as the caller's own `gate.py`."""

import importlib.util
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("bulk", "common", "gate", "service", "training")


def describe_taken_name(error: Exception) -> str | None:
    """Return the text about the module at fault for an ImportError; None if no package of Lensgate is replaced."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    spec = importlib.util.find_spec(name) if name in _PACKAGES else None
    if spec is None:
        return None
    place = Path(spec.origin or next(iter(spec.submodule_search_locations or ()), ""))  # A folder may have no origin.
    if place.is_relative_to(_ROOT / name):
        return None
    return (
        f"{place} is imported in place of Lensgate's package {name!r}: rename it, leave its folder out of PYTHONPATH, "
        "or install Lensgate in an environment of its own"
    )
