"""Prepare both kinds of labels, run the experiments in an order that gives complete tables early, collect results."""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import keras_tuner
import tensorflow as tf

from common.storage import write_atomically
from common.terminal import say
from gate.cores import usable_cores
from training.data.dataset import ImageDataSet, Split, read_dataset
from training.data.records import Manifest, read_rows, write_records
from training.errors import DataError
from training.model.preset import SIZES, Preset
from training.paper.experiments import SEARCH, UNTUNED, LabelExperiments, final
from training.paper.flips import write_flips
from training.paper.results import RESULTS_FILE, LabelKind, PaperPlan, PaperResults, PreparedFiles, Settings

FLIPS_FILE = "flips.csv"
DATA_FILE = "prepared.txt"
EARLIER_FILE = "earlier-results.json"
SECONDS_FILE = "preparing-seconds.txt"

Experiments = Mapping[LabelKind, LabelExperiments]


@dataclass(frozen=True, slots=True)
class PaperRun:
    """The data set, the folder for records and trials, and the plan; `hardware` is stated on the page.

    A new folder continues `earlier`, a results file from another machine, if it is about the same images and labels.
    """

    data: Path
    work: Path
    plan: PaperPlan
    command: str
    hardware: str | None = None
    earlier: Path | None = None

    def run(self) -> PaperResults:
        """Run the parts that are not finished; write the results after each one.

        Raises:
            DataError: the data set cannot be read, or the folder has results of other images, labels or flips.
        """
        experiments = self._prepared()
        results = self._collected(experiments)
        for step in self._steps(experiments):
            step()
            results = self._collected(experiments)
        return results

    def _hardware(self, before: PaperResults | None) -> str:
        """Return the machine that the page states, behind that of continued results."""
        here = self.hardware or f"{usable_cores()} CPU cores"
        kept = self.work / EARLIER_FILE
        there = PaperResults.read(kept).hardware if kept.is_file() else here
        if before and not self.hardware:
            return before.hardware
        return here if there == here else f"{there}; continued on {here}"

    def _prepared(self) -> Experiments:
        data, flips = read_dataset(self.data), self.work / "flipped" / FLIPS_FILE
        write_flips(data, flips, share=self.plan.share, seed=self.plan.seed)
        given = self._records("given", data)
        flipped = self._records("flipped", read_dataset(self.data, corrections=flips))
        prepared = f"{given.fingerprint()} {flipped.fingerprint()}"
        earlier = self._continued(prepared)
        self._refuse_other_data(prepared)
        if not (kept := self.work / SECONDS_FILE).is_file():
            write_atomically(kept, str(given.seconds).encode())
        truth = {(row.data_set, row.name): row.glasses for row in read_rows(self.work / "given/records", *Split)}
        kinds: tuple[LabelKind, LabelKind] = ("given", "flipped")
        return {
            kind: LabelExperiments(
                self.work / kind, self.plan, truth, self.command, earlier.labels[kind] if earlier else None
            )
            for kind in kinds
        }

    def _records(self, kind: LabelKind, data: ImageDataSet) -> Manifest:
        out = self.work / kind / "records"
        return write_records([data], out, sizes=SIZES, seed=self.plan.seed, command=self.command)

    def _continued(self, prepared: str) -> PaperResults | None:
        """Return the results that this folder was begun with; a copy stays in the folder, whatever happens to them."""
        kept = self.work / EARLIER_FILE
        if kept.is_file():
            found = PaperResults.read(kept)
            if not self._is_same(found, prepared):
                raise DataError(f"{kept} is about other data, settings or versions: choose another folder")
            return found
        if self.earlier is None or not self.earlier.is_file() or (self.work / DATA_FILE).is_file():
            return None
        found = PaperResults.read(self.earlier)
        if not self._is_same(found, prepared):
            say(f"{self.earlier} is about other data, settings or versions: all experiments run anew")
            return None
        say(f"continuing the experiments of {self.earlier}; with another --out, all of them would run anew")
        found.write(kept)
        return found

    def _is_same(self, results: PaperResults, prepared: str) -> bool:
        return (
            results.prepared == prepared
            and (results.plan.seed, results.plan.share) == (self.plan.seed, self.plan.share)
            and _presets(results.settings) == _presets(_settings())
            and all(results.tools.get(one.__name__) == one.__version__ for one in _TOOLS)
        )

    def _refuse_other_data(self, prepared: str) -> None:
        path = self.work / DATA_FILE
        if path.is_file() and path.read_text().strip() != prepared:
            raise DataError(f"{self.work} holds results of other images, labels or flips: choose another folder")
        write_atomically(path, f"{prepared}\n".encode())

    def _steps(self, experiments: Experiments) -> Iterator[Callable[[], object]]:
        """First the paper's own extent, with one seed at the largest size, then longer searches, then more seeds."""
        parts = experiments.values()
        # The untuned network needs no search, and shows the effect of flipped labels already.
        yield from (part.compare for part in parts)
        for part in parts:
            yield partial(part.tune, self.plan.first_trials)
            yield part.compare
            yield part.study_batch_size
        small, large = SIZES[:-1], SIZES[-1]
        yield from (partial(part.study_resolution, size, self.plan.seeds) for size in small for part in parts)
        yield from (partial(part.study_resolution, large, 1) for part in parts)
        for trials in sorted(self.plan.trials)[1:]:
            for part in parts:
                yield partial(part.tune, trials)
                yield part.compare
        for seeds in range(2, self.plan.seeds + 1):
            yield from (partial(part.study_resolution, large, seeds) for part in parts)

    def _collected(self, experiments: Experiments) -> PaperResults:
        path = self.work / RESULTS_FILE
        before = PaperResults.read(path) if path.is_file() else None
        shards = Manifest.read(self.work / "given/records").shards
        results = PaperResults(
            command=self.command,
            hardware=self._hardware(before),
            tools={"Python": platform.python_version(), **{one.__name__: one.__version__ for one in _TOOLS}},
            plan=self.plan,
            prepared=(self.work / DATA_FILE).read_text().strip(),
            settings=_settings(),
            preparing_seconds=float((self.work / SECONDS_FILE).read_text()),
            files={
                size: PreparedFiles(
                    images=files[0].images, bytes=files[0].bytes, total_bytes=sum(one.bytes for one in files)
                )
                for size, files in shards.items()
            },
            labels={kind: one.results() for kind, one in experiments.items()},
        )
        results.write(path)
        return results


def _settings() -> dict[str, Settings]:
    return {"untuned": UNTUNED.settings(), "search": SEARCH.settings(), "final": final(UNTUNED).settings()}


def _presets(settings: Mapping[str, Settings]) -> dict[str, Preset] | None:
    """Parse settings: one that is younger than the results had its default there. None if a setting is unknown."""
    try:
        return {name: Preset.from_settings(values) for name, values in settings.items()}
    except ValueError:
        return None


_TOOLS = (tf, keras, keras_tuner)
