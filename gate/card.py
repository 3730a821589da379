"""The model's card: what a model is, what it was trained on, how good it is and where it is unsure.

`card.json` lies beside `model.onnx`; the same text less the hash is in the graph's metadata under `METADATA_KEY`.
"""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gate.decision import Band, Label
from gate.errors import ModelError

METADATA_KEY = "lensgate.card"

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Version = Annotated[str, Field(pattern=VERSION_PATTERN)]


class _CardPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelInput(_CardPart):
    """The graph's one input: uint8 `[N, size, size, 3]`, RGB, shrunk by area averaging; N is free."""

    name: Literal["image"] = "image"
    size: Annotated[int, Field(ge=8, le=1024)]
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    colour: Literal["RGB"] = "RGB"
    resize: Literal["area"] = "area"
    normalisation: Literal["in the graph"] = "in the graph"


class CardBand(_CardPart):
    """The band of uncertainty and how it was chosen."""

    low: Probability = 0.4
    high: Probability = 0.6
    chosen_by: Literal["paper", "certified"] = "paper"
    target_risk: Probability | None = None
    confidence: Probability | None = None
    coverage: Probability | None = None
    accepted: int | None = None
    errors: int | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        Band(self.low, self.high)
        return self

    def is_kept_by(self, band: Band) -> bool:
        """Whether what decides is this band, and no operator's: only then holds what is promised of it."""
        return band == self.changed()

    def changed(self, low: float | None = None, high: float | None = None) -> Band:
        """This band, with the edges that are set instead.

        Raises:
            ValueError: with them it is none.
        """
        return Band(self.low if low is None else low, self.high if high is None else high)


class Calibration(_CardPart):
    """The logit is divided by `temperature` inside the graph; 1 leaves it alone."""

    temperature: Annotated[float, Field(gt=0.0)] = 1.0


class Interval(_CardPart):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class DiscardedShares(_CardPart):
    """Of `images` that are no portrait, made of test portraits: the share discarded, and that as unfamiliar."""

    images: int
    discarded: Interval
    unfamiliar: Interval


class NoveltyThreshold(_CardPart):
    """Novelty above `value` is unfamiliar; `kinds` says what became of images that are no portrait, kind by kind."""

    value: float
    chosen_by: str
    kinds: dict[str, DiscardedShares] = {}


class CardDataSet(_CardPart):
    """One data set that was learned from, with images per split and label."""

    name: str
    fingerprint: str
    source: str
    licence: str
    images: dict[str, dict[Label, int]]


class CardMetrics(_CardPart):
    """How the exported model did on one test split of `images` pictures.

    `coverage` is the share accepted, `unfamiliar` the share discarded for its novelty, where the model judges that.
    """

    images: int
    accuracy: Interval
    log_loss: Interval
    coverage: Interval
    selective_accuracy: Interval | None
    unfamiliar: Interval | None = None


class ReferenceHistogram(_CardPart):
    """Counts of scores between neighbouring `edges`; what live scores are held against."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError("a histogram has one edge more than counts")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("a histogram's edges increase")
        if min(self.counts) < 0 or sum(self.counts) == 0:
            raise ValueError("a histogram counts at least one score, and none below zero")
        return self


class CardTraining(_CardPart):
    """What repeats the run: its commands in order, the seeds of split and fit, the settings; and what it learned from.

    `records` is the SHA-256 of the manifest of the TFRecord shards.
    """

    commands: tuple[str, ...]
    records: str
    split_seed: int
    seed: int
    epochs: int
    parameters: int
    settings: dict[str, float | int | str | bool]


class GoldenSample(_CardPart):
    """One drawn portrait and what the exported graph said of it; a real face is in no card.

    `png` is the picture at the model's size, in JSON as base64; `novelty` is None where the graph has none.
    """

    name: str
    png: Base64Bytes
    glasses_probability: Probability
    novelty: float | None = None


class CardText(_CardPart):
    """All of a card but the hash of the graph, which cannot be inside the graph."""

    name: str
    version: Version
    created: datetime
    input: ModelInput
    outputs: tuple[str, ...]
    labels: tuple[Label, Label] = (Label.NO_GLASSES, Label.GLASSES)
    band: CardBand
    calibration: Calibration = Calibration()
    novelty_threshold: NoveltyThreshold | None = None
    data: tuple[CardDataSet, ...]
    training: CardTraining
    metrics: dict[str, CardMetrics]
    reference_histogram: ReferenceHistogram
    tools: dict[str, str]
    golden: tuple[GoldenSample, ...] = ()

    @property
    def novelty_limit(self) -> float | None:
        """Novelty above this is unfamiliar; None where the model does not judge it."""
        return self.novelty_threshold.value if self.novelty_threshold else None

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read a card from JSON.

        Raises:
            ModelError: it is no JSON, or not a card; the text says where.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors())
            raise ModelError(f"the model's card is not valid: {faults}") from error


class Card(CardText):
    """A whole card, with the SHA-256 of `model.onnx` in hexadecimal."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def text(self) -> CardText:
        """The card less its hash, as the graph's metadata holds it."""
        return CardText.model_validate(self.model_dump(exclude={"sha256"}))
