"""The model's card: identity, training data, quality and uncertainty of a model.

`card.json` is stored beside `model.onnx`; the graph's metadata holds the same text without the hash, under
`METADATA_KEY`.
"""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from gate.decision import Band, Decision, Label, decide
from gate.errors import ModelError
from gate.validation import explain

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


class TrueClass(_CardPart):
    """Accepted calibration faces that truly belong to a class; `errors` of them are labelled wrongly.

    `bound` is the one-sided bound on their share, for this band taken as given.
    """

    accepted: Annotated[int, Field(ge=0)]
    errors: Annotated[int, Field(ge=0)]
    bound: Probability


class CardClass(_CardPart):
    """The certificate of one label: of the images accepted with it, at most `target_risk` are labelled wrongly.

    The promise holds only if `certified`. `errors` of the `accepted` calibration images are wrong, and `bound` is the
    one-sided bound on their share. `images_needed` estimates the further labelled faces of the class that a
    certificate takes; null if it is certified or no number suffices. With a certificate by verdicts, the images are the
    judged ones beyond the edge, and `true_class` is null.
    """

    certified: bool
    target_risk: Probability
    accepted: Annotated[int, Field(ge=0)]
    errors: Annotated[int, Field(ge=0)]
    bound: Probability
    images_needed: Annotated[int, Field(ge=0)] | None = None
    true_class: TrueClass | None = None


class CardVerdicts(_CardPart):
    """The verdicts that certify a band: on audited images of the same graph, served as `version` with this band.

    `evidence` is the e-value that the risk of a label is below its target. It certifies from 1 / (1 - confidence) on.
    """

    version: Version
    low: Probability
    high: Probability
    evidence: dict[Label, Annotated[float, Field(ge=0.0)]]


class CardBand(_CardPart):
    """The band of uncertain probabilities and how it was chosen.

    `chosen_by` is `certified` if at least one class is. `confidence` belongs to each class by itself; both promises
    hold together with at least 1 - 2 (1 - confidence). `target_risk` bounds the errors among all accepted images; it is
    null unless both classes are certified. `coverage` is the share of calibration images that are accepted, unfamiliar
    ones included. Cards of models 1 and 2 have no `classes`: their promise is about all accepted images together.
    `verdicts` is null unless `lensgate certify --export` chose the band.
    """

    low: Probability = 0.4
    high: Probability = 0.6
    chosen_by: Literal["paper", "certified"] = "paper"
    target_risk: Probability | None = None
    confidence: Probability | None = None
    coverage: Probability | None = None
    accepted: int | None = None
    errors: int | None = None
    folds: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Networks that scored the images: 1 for the served one alone, more if cross-fitted"
    )
    classes: dict[Label, CardClass] | None = None
    verdicts: CardVerdicts | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        Band(self.low, self.high)
        return self

    def is_kept_by(self, band: Band) -> bool:
        """Whether `band` is this one, not an operator's override: the card's guarantees hold for this band only."""
        return band == self.changed()

    def changed(self, low: float | None = None, high: float | None = None) -> Band:
        """Return this band with one or both edges replaced.

        Raises:
            ValueError: the edges are out of order or out of [0, 1].
        """
        return Band(self.low if low is None else low, self.high if high is None else high)


class Calibration(_CardPart):
    """The graph divides the logit by `temperature`; 1 leaves it unchanged."""

    temperature: Annotated[float, Field(gt=0.0)] = 1.0


class Interval(_CardPart):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class DiscardedShares(_CardPart):
    """Shares discarded, and discarded as unfamiliar, among `images` non-portraits derived from test portraits."""

    images: int
    discarded: Interval
    unfamiliar: Interval


class NoveltyThreshold(_CardPart):
    """Novelty above `value` is unfamiliar; `kinds` holds the discard rates of each kind of non-portrait."""

    value: float
    chosen_by: str
    kinds: dict[str, DiscardedShares] = {}


class CardDataSet(_CardPart):
    """One data set of the training, with the number of images per split and label."""

    name: str
    fingerprint: str
    source: str
    licence: str
    images: dict[str, dict[Label, int]]


class SplitMetrics(_CardPart):
    """Quality of the exported model on one test split of `images` images.

    `coverage` is the share accepted; it is null if the band was chosen after the test. `unfamiliar` is the share
    discarded for its novelty, if the model has that output.
    """

    images: int
    accuracy: Interval
    log_loss: Interval
    coverage: Interval | None
    selective_accuracy: Interval | None
    unfamiliar: Interval | None = None


class ReferenceHistogram(_CardPart):
    """Counts of scores between neighbouring `edges`: the reference distribution for drift metrics."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError("a histogram has one edge more than counts")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("a histogram's edges increase")
        # A score beyond the edges would not be counted, and one bin holds all scores, whatever they are.
        if len(self.counts) < 2 or (self.edges[0], self.edges[-1]) != (0.0, 1.0):
            raise ValueError("a histogram has at least two bins, from 0 to 1")
        if min(self.counts) < 0 or sum(self.counts) == 0:
            raise ValueError("a histogram counts at least one score, and no count is negative")
        return self


class CardTraining(_CardPart):
    """Everything needed to repeat the run: commands in order, seeds of split and fit, settings, and data.

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
    """One drawn portrait and the exported graph's scores for it; cards never contain real faces.

    `png` is the image at the model's size, base64 in JSON; `novelty` is null if the graph has no such output.
    """

    name: str
    png: Base64Bytes
    glasses_probability: Probability
    novelty: float | None = None


class CardText(_CardPart):
    """A card without the hash of the graph, which the graph itself cannot contain."""

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
    metrics: dict[str, SplitMetrics]
    reference_histogram: ReferenceHistogram
    tools: dict[str, str]
    golden: tuple[GoldenSample, ...] = ()

    @property
    def novelty_limit(self) -> float | None:
        """Novelty above this is unfamiliar; None if the model does not measure novelty."""
        return self.novelty_threshold.value if self.novelty_threshold else None

    def decide(
        self, probability: float, novelty: float | None, *, band: Band, expected: Label | None = None
    ) -> Decision:
        """Accept or discard an image by this model's scores of it; `band` is the one in force."""
        return decide(probability, band, novelty=novelty, novelty_threshold=self.novelty_limit, expected=expected)

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read a card from JSON.

        Raises:
            ModelError: the text is not JSON or not a card; the message names the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {_explain(e)}" for e in error.errors())
            raise ModelError(f"the model's card is not valid: {faults}") from error


class Card(CardText):
    """A complete card, with the SHA-256 of `model.onnx` in hexadecimal."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def text(self) -> CardText:
        """Return the card without its hash, as the graph's metadata holds it."""
        return CardText.model_validate(self.model_dump(exclude={"sha256"}))


def _explain(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return "this release does not know the field: use the release that wrote the card, or a later one"
    return explain(fault)
