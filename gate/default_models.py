"""The folder of models to use if none is named."""

from pathlib import Path

MODEL_NAME = "glasses"

HERE = Path("models")
"""Below the working directory, where `lensgate train export` writes."""

# The build of a wheel puts the current model into the package; a checkout has its models beside the package.
_PACKAGE = Path(__file__).parent
_INSTALLED = (_PACKAGE / "models", _PACKAGE.parent / "models")


def default_models() -> Path:
    """Return `models` below the working directory if it holds a model, otherwise the models of the installation."""
    return next((folder for folder in (HERE, *_INSTALLED) if (folder / MODEL_NAME).is_dir()), HERE)
