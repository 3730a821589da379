"""The JSON of one decision, as endpoints answer it and records show it."""

from pydantic import BaseModel, ConfigDict

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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "frames-1",
                    "glasses_probability": 0.9999976,
                    "label": "glasses",
                    "decision": "accept",
                    "reason": "confident",
                    "novelty": -9.342716,
                    "band": {"low": 0.1999, "high": 0.9999551},
                    "model": {"name": "glasses", "version": "4"},
                }
            ]
        }
    )

    id: str
    glasses_probability: float
    label: Label
    decision: Action
    reason: Reason
    novelty: float | None
    band: BandAnswer
    model: ModelAnswer
