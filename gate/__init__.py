"""The decision: image bytes -> pixels -> probability -> decision.

No HTTP, no settings, no TensorFlow. The service, the training and the bulk runs share these names.
`gate.scorer` needs the extra `cpu` or `gpu`; import it by its own name.
"""

from gate.card import Card
from gate.decision import Action, Band, Decision, Label, Reason, decide
from gate.decode_budget import MAX_DECODE_BYTES, Budget, DecodeBudget
from gate.errors import GateError, ImageError, ModelError, ScoringError
from gate.model_store import Model, ModelStore
from gate.pixels import MAX_PIXELS, area_average, read_pixels, read_pixels_at

__all__ = [
    "MAX_DECODE_BYTES",
    "MAX_PIXELS",
    "Action",
    "Band",
    "Budget",
    "Card",
    "Decision",
    "DecodeBudget",
    "GateError",
    "ImageError",
    "Label",
    "Model",
    "ModelError",
    "ModelStore",
    "Reason",
    "ScoringError",
    "area_average",
    "decide",
    "read_pixels",
    "read_pixels_at",
]
