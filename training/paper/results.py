"""The results of the experiments, in one file from which the page is written."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from common.storage import AnyPath, write_atomically
from training.errors import RecordsError
from training.evaluation.seeds import StudyRun, ValueDifference, ValueSummary, differences, summarise

RESULTS_FILE = "results.json"

LabelKind = Literal["given", "flipped"]
SeriesName = Literal["resolution", "batch-size", "models"]
Target = Literal["architecture", "learning-rate"]
Settings = dict[str, float | int | str | bool]


class _ResultModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PaperPlan(_ResultModel):
    """The choices behind all results; `share` of the labels is flipped."""

    seeds: int = 3
    trials: tuple[int, ...] = (5, 20)
    share: float = 0.116
    seed: int = 0

    @property
    def first_trials(self) -> int:
        """The smallest number of trials; the paper's."""
        return min(self.trials)


class SplitLabels(_ResultModel):
    """The images of one split: labels that say glasses, and labels that were flipped."""

    images: int
    glasses: int
    flipped: int


class PreparedFiles(_ResultModel):
    """The records at one size: images and bytes of the first file, and bytes of all files."""

    images: int
    bytes: int
    total_bytes: int


class TuningOutcome(_ResultModel):
    """A random search: its best trial on the validation split, and the first one, which has the untuned settings."""

    trials: int
    finished: int
    best: str
    accuracy: float
    log_loss: float
    first_log_loss: float
    settings: Settings


class Series(_ResultModel):
    """Training runs that differ by one value and by seed, with their statistics."""

    runs: tuple[StudyRun, ...]
    summaries: tuple[ValueSummary, ...]
    differences: tuple[ValueDifference, ...]

    @classmethod
    def of(cls, runs: Sequence[StudyRun]) -> Self:
        """Compute the statistics of `runs`."""
        return cls(runs=tuple(runs), summaries=summarise(runs), differences=differences(runs))


class LabelResults(_ResultModel):
    """All finished experiments with one kind of labels; `history` belongs to the untuned network with seed 0."""

    splits: dict[str, SplitLabels]
    tuning: dict[Target, dict[int, TuningOutcome]]
    series: dict[SeriesName, Series]
    history: dict[str, list[float]]


class PaperResults(_ResultModel):
    """Everything that the page states about this project's runs; `prepared` has the fingerprints of both records."""

    command: str
    hardware: str
    tools: dict[str, str]
    plan: PaperPlan
    prepared: str = ""
    settings: dict[str, Settings]
    preparing_seconds: float
    files: dict[int, PreparedFiles]
    labels: dict[LabelKind, LabelResults]

    @classmethod
    def read(cls, path: AnyPath) -> Self:
        """Read a results file.

        Raises:
            RecordsError: the file is missing or invalid.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise RecordsError(f"{path} holds no results: run `lensgate train paper --data DIR` first") from error

    def write(self, path: AnyPath) -> None:
        """Write the results file."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")

    def unfinished(self) -> tuple[str, ...]:
        """Name the parts that the plan demands and that are missing or have fewer seeds."""
        return tuple(
            f"{part} ({KINDS[kind]})" for kind, one in self.labels.items() for part in _lacking(self.plan, one)
        )


KINDS: Mapping[LabelKind, str] = {"given": "labels as they are", "flipped": "flipped labels"}


TARGETS: tuple[Target, ...] = ("architecture", "learning-rate")


def model_name(target: Target, trials: int) -> str:
    """Name the best model of a search."""
    return f"tuned {target.replace('-', ' ')}, {trials} trials"


def model_names(trials: Sequence[int]) -> list[str]:
    """Name the compared models, the untuned one first."""
    return ["untuned", *(model_name(target, count) for count in sorted(trials) for target in TARGETS)]


def _lacking(plan: PaperPlan, results: LabelResults) -> list[str]:
    values: dict[SeriesName, Sequence[str]] = {
        "resolution": ("32", "64", "128"),
        "batch-size": ("32", "64", "128"),
        "models": model_names(plan.trials),
    }
    lacking = []
    for name, expected in values.items():
        summaries = results.series[name].summaries if name in results.series else ()
        runs = {summary.value: summary.runs for summary in summaries}
        done = sum(runs.get(value, 0) >= plan.seeds for value in expected)
        if done < len(expected):
            lacking.append(f"{name.replace('-', ' ')}: {done} of {len(expected)} values have {plan.seeds} seeds")
    for target in TARGETS:
        missing = [count for count in plan.trials if count not in results.tuning.get(target, {})]
        lacking += [f"tuning of the {target.replace('-', ' ')}: {count} trials" for count in missing]
    return lacking
