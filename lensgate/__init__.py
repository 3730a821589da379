"""Decide in this process whether the person in a picture wears glasses: `from lensgate import Gate`.

`Gate` and the types of its answers are imported at their first use, so `import lensgate` costs almost no time. The
commands are in `lensgate.cli`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gate.decision import Band, Label
    from gate.errors import DeviceError, GateError, ImageError, ModelError, ScoringError
    from lensgate.in_process import Decision, Gate, ImageFailed, ImageInput, UnreadableFile

__all__ = [
    "Band",
    "Decision",
    "DeviceError",
    "Gate",
    "GateError",
    "ImageError",
    "ImageFailed",
    "ImageInput",
    "Label",
    "ModelError",
    "ScoringError",
    "UnreadableFile",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        # `Gate` first: the others alone would not tell that onnxruntime is missing.
        modules = [importlib.import_module(each) for each in ("lensgate.in_process", "gate.decision", "gate.errors")]
        return next(getattr(module, name) for module in modules if hasattr(module, name))
    except ImportError as error:
        from lensgate.taken_names import describe_taken_name

        if (text := describe_taken_name(error)) is not None:
            raise ImportError(text, name=error.name) from None
        if error.name != "onnxruntime":
            raise
        from gate.extras import how_to_install

        raise ModuleNotFoundError(
            f"lensgate.{name} needs onnxruntime: {how_to_install('cpu')}", name=error.name
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
