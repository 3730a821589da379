"""The JSON of one decision, as endpoints answer it and records show it."""

from pydantic import BaseModel

from gate import Action, Label, Reason


class BandAnswer(BaseModel):
    """The band that the decision was made with."""

    low: float
    high: float


class ModelAnswer(BaseModel):
    """The model that scored the image."""

    name: str
    version: str


class DecisionAnswer(BaseModel):
    """One decision."""

    id: str
    glasses_probability: float
    label: Label
    decision: Action
    reason: Reason
    novelty: float | None
    band: BandAnswer
    model: ModelAnswer
