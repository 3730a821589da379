"""The experiments with one kind of labels; finished parts are kept in files and not repeated."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.storage import write_atomically
from training.data.dataset import Split
from training.data.image_table import LabelTable
from training.data.records import Manifest, load_records, read_rows
from training.errors import SearchError
from training.evaluation.seeds import StudyRun
from training.model.preset import SIZES, Preset
from training.model.train import fit_network, read_history
from training.paper.results import (
    TARGETS,
    LabelResults,
    PaperPlan,
    Series,
    SeriesName,
    SplitLabels,
    Target,
    TuningOutcome,
    model_name,
)
from training.search.oracles import OBJECTIVE
from training.search.study import StudyResult, run_study
from training.search.trials import fingerprint, measure
from training.search.tune import TuningResult, tune

UNTUNED = Preset(size=32, epochs=20, patience=0)
"""The paper's first network: 20 epochs, of which the last one counts."""

SEARCH = UNTUNED.changed(epochs=10, patience=3)
"""The first trial of a random search; the others differ by what is tuned."""

MEASURED_FILE = "measured.json"


def final(preset: Preset) -> Preset:
    """Return the settings of a tuned network's own training: longer, with early stopping by the validation loss."""
    return preset.changed(epochs=30, patience=5)


@dataclass(frozen=True, slots=True)
class LabelExperiments:
    """The experiments on the records in `folder`; `truth` has the labels before some were flipped.

    `earlier` has experiments that were finished elsewhere; they are not repeated.
    """

    folder: Path
    plan: PaperPlan
    truth: LabelTable
    command: str
    earlier: LabelResults | None = None

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.folder / "records"

    def tune(self, trials: int) -> None:
        """Search the architecture and the learning rate, both from the untuned network; more trials extend a search.

        Raises:
            SearchError: Keras Tuner's variables make this process a worker.
        """
        for target in TARGETS:
            if trials in self._outcomes(target):
                continue
            out, seed = self.folder / target, self.plan.seed
            result = tune(self.records, out, target=target, start=SEARCH, trials=trials, seed=seed)
            if result is None:
                raise SearchError("these experiments run on one machine: unset Keras Tuner's variables")
            write_atomically(self._outcome_file(target, trials), _outcome(result).model_dump_json(indent=2).encode())

    def study_resolution(self, size: int, seeds: int) -> None:
        """Train the untuned network at one size; each size has a folder of its own, because large ones take long."""
        out, values = self.folder / f"resolution-{size}", [str(size)]
        if _seeds(self._resolution_runs(size)) < seeds:
            run_study(
                self.records, out, kind="resolution", preset=UNTUNED, seeds=seeds, values=values, truth=self.truth
            )

    def study_batch_size(self) -> None:
        """Train the paper's final network, with its tuned learning rate, with each batch size."""
        preset = self._final("learning-rate", self.plan.first_trials)
        out, seeds = self.folder / "batch-size", self.plan.seeds
        if _seeds(self._batch_size_runs()) < seeds:
            run_study(self.records, out, kind="batch-size", preset=preset, seeds=seeds, truth=self.truth)

    def compare(self) -> None:
        """Train the untuned network and the best of each finished search, and measure them on the test split."""
        # Seeds outermost, so that an interrupted comparison has complete comparisons of all models.
        for seed in range(self.plan.seeds):
            for preset in self._models().values():
                if self._measured(preset, seed) is None:
                    self._fit(preset, seed)

    def results(self) -> LabelResults:
        """Collect the finished parts."""
        runs: dict[SeriesName, list[StudyRun]] = {
            "resolution": [run for size in SIZES for run in self._resolution_runs(size)],
            "batch-size": self._batch_size_runs(),
            "models": list(self._compared()),
        }
        untuned = self._fit_folder(UNTUNED, 0)
        return LabelResults(
            splits=self._splits(),
            tuning={target: self._outcomes(target) for target in TARGETS},
            series={name: Series.of(some) for name, some in runs.items() if some},
            history=read_history(untuned) if (untuned / MEASURED_FILE).is_file() else self._earlier_history(),
        )

    def _resolution_runs(self, size: int) -> list[StudyRun]:
        runs = _study_runs(self.folder / f"resolution-{size}")
        return _longer(runs, [run for run in self._earlier_runs("resolution") if run.value == str(size)])

    def _batch_size_runs(self) -> list[StudyRun]:
        return _longer(_study_runs(self.folder / "batch-size"), self._earlier_runs("batch-size"))

    def _earlier_runs(self, name: SeriesName) -> list[StudyRun]:
        return list(self.earlier.series[name].runs) if self.earlier and name in self.earlier.series else []

    def _earlier_history(self) -> dict[str, list[float]]:
        return self.earlier.history if self.earlier else {}

    def _models(self) -> dict[str, Preset]:
        """Return the settings of every model whose search is finished."""
        tuned = {
            model_name(target, trials): self._final(target, trials)
            for trials in sorted(self.plan.trials)
            for target in TARGETS
            if trials in self._outcomes(target)
        }
        return {"untuned": UNTUNED, **tuned}

    def _final(self, target: Target, trials: int) -> Preset:
        return final(Preset.from_settings(self._outcomes(target)[trials].settings))

    def _fit(self, preset: Preset, seed: int) -> None:
        folder = self._fit_folder(preset, seed)
        fitted = fit_network(self.records, folder, preset=preset, seed=seed, command=self.command)
        test = load_records(self.records, Split.TEST, size=preset.size)
        metrics = measure(fitted.network, test, truth=self.truth)
        metrics |= {"epochs": fitted.run.epochs, "parameters": fitted.run.parameters}
        write_atomically(folder / MEASURED_FILE, json.dumps(metrics).encode())

    def _fit_folder(self, preset: Preset, seed: int) -> Path:
        """Two searches may find the same settings, which are then trained once."""
        return self.folder / "fits" / f"{fingerprint(preset.settings())[:12]}-{seed}"

    def _measured(self, preset: Preset, seed: int) -> StudyRun | None:
        """Return the run with these settings, here or elsewhere, whatever its model is called there."""
        path = self._fit_folder(preset, seed) / MEASURED_FILE
        if path.is_file():
            total = sum(shard.bytes for shard in Manifest.read(self.records).shards[preset.size])
            return StudyRun.from_metrics("", seed, metrics=json.loads(path.read_bytes()), size=total)
        names = {name for name, one in self._models().items() if one == preset}
        earlier = (run for run in self._earlier_runs("models") if run.value in names and run.seed == seed)
        return next(earlier, None)

    def _compared(self) -> Iterator[StudyRun]:
        for name, preset in self._models().items():
            for seed in range(self.plan.seeds):
                if run := self._measured(preset, seed):
                    yield run.model_copy(update={"value": name})

    def _outcome_file(self, target: Target, trials: int) -> Path:
        return self.folder / f"{target}-{trials}-trials.json"

    def _outcomes(self, target: Target) -> dict[int, TuningOutcome]:
        paths = {trials: self._outcome_file(target, trials) for trials in self.plan.trials}
        earlier = self.earlier.tuning.get(target, {}) if self.earlier else {}
        outcomes = {
            trials: TuningOutcome.model_validate_json(path.read_bytes()) if path.is_file() else earlier.get(trials)
            for trials, path in paths.items()
        }
        return {trials: one for trials, one in outcomes.items() if one}

    def _splits(self) -> dict[str, SplitLabels]:
        splits = {}
        for split in (Split.TRAIN, Split.VALIDATION, Split.TEST):
            rows = read_rows(self.records, split)
            splits[split.value] = SplitLabels(
                images=len(rows),
                glasses=sum(row.glasses for row in rows),
                flipped=sum(row.glasses != self.truth[row.data_set, row.name] for row in rows),
            )
        return splits


def _study_runs(folder: Path) -> list[StudyRun]:
    path = folder / "study.json"
    return list(StudyResult.model_validate_json(path.read_bytes()).runs) if path.is_file() else []


def _seeds(runs: Sequence[StudyRun]) -> int:
    return len({run.seed for run in runs})


def _longer(own: list[StudyRun], earlier: list[StudyRun]) -> list[StudyRun]:
    """Return the series with more seeds: a study repeats all seeds of a value, so that two machines never share one."""
    return own if _seeds(own) >= _seeds(earlier) else earlier


def _outcome(search: TuningResult) -> TuningOutcome:
    done = [trial for trial in search.trials if trial.metrics]
    return TuningOutcome(
        trials=len(search.trials),
        finished=len(done),
        best=search.best.name,
        accuracy=search.best.metrics["accuracy"],
        log_loss=search.best.metrics[OBJECTIVE],
        first_log_loss=done[0].metrics[OBJECTIVE],
        settings=search.settings,
    )
