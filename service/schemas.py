"""The JSON of one decision, as endpoints answer it and records show it."""

from pydantic import BaseModel, ConfigDict, Field

from gate import Action, Label, Reason

PROBABILITY = "Probability that the person wears glasses; from 0.5 on the label is `glasses`"
NOVELTY = (
    "How unlike the training portraits the image is, on a scale of the version's own; null if the version has no score"
)


class BandAnswer(BaseModel):
    """The band that the decision was made with: a probability in it, edges included, is uncertain."""

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
                    "glasses_probability": 0.99999976,
                    "label": "glasses",
                    "decision": "accept",
                    "reason": "confident",
                    "novelty": -5.569148,
                    "band": {"low": 0.0299, "high": 0.999581},
                    "model": {"name": "glasses", "version": "6"},
                }
            ]
        }
    )

    id: str = Field(description="The caller's name of the image, generated if missing")
    glasses_probability: float = Field(description=PROBABILITY)
    label: Label
    decision: Action
    reason: Reason
    novelty: float | None = Field(description=NOVELTY)
    band: BandAnswer
    model: ModelAnswer
