"""What a fitted network may promise: temperature, novelty threshold and band, all from the calibration split alone."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import keras
from pydantic import ValidationError
from scipy.stats import binom

from common.storage import AnyPath
from gate import Band
from gate.card import CardBand, NoveltyThreshold
from gate.files import write_atomically
from training.data.dataset import Split
from training.data.records import Manifest, load_records
from training.errors import RecordsError
from training.evaluation.calibrate import CalibrationFindings, Finding, calibrate
from training.evaluation.certify import (
    COVERAGES,
    Certificate,
    RawBand,
    RiskCoverage,
    SelectiveRisk,
    certify,
    probability_band,
    propose_bands,
    risk_coverage,
    selective_risk,
)
from training.evaluation.novelty import (
    HEAD_FILE,
    NoveltyFindings,
    below,
    fit_head,
    load_head,
    novelty_output,
    score_novelty,
    set_threshold,
)
from training.model.train import NETWORK_FILE, Fitted, load_fitted, predict_logits, save_keras

CALIBRATION_FILE = "calibration.json"
CERTIFICATE_FILE = "certificate.json"
ROOM = 1.03  # How many more images than it needs the first band should leave on the calibration split.


class Calibrated(Finding):
    """`calibration.json`: what `lensgate train calibrate` found, and which run it belongs to."""

    run: str
    calibration: CalibrationFindings
    novelty: NoveltyFindings


class Certified(Finding):
    """`certificate.json`: the certificate, what the paper's band does on the same images, and risk by coverage."""

    run: str
    certificate: Certificate
    paper: SelectiveRisk
    risk_coverage: RiskCoverage


@dataclass(frozen=True, slots=True)
class Promised:
    """What an export puts into the graph and the card; empty where nothing was calibrated."""

    temperature: float = 1.0
    head: keras.Model | None = None
    novelty: NoveltyFindings | None = None
    certificate: Certificate | None = None

    @classmethod
    def read(cls, run: Path) -> Self:
        """What was found of the run in this folder, as far as it was looked for.

        Raises:
            RecordsError: what is there was found of another fit.
        """
        calibrated = _read(run, CALIBRATION_FILE, Calibrated)
        if calibrated is None:
            return cls()
        certified = _read(run, CERTIFICATE_FILE, Certified)
        return cls(
            temperature=calibrated.calibration.temperature,
            head=load_head(run),
            novelty=calibrated.novelty,
            certificate=certified.certificate if certified else None,
        )

    def novelty_output(self, network: keras.Model) -> Any:
        """The novelty as a symbolic tensor of the network's graph, or None."""
        return None if self.head is None else novelty_output(network, self.head)

    def card_band(self) -> CardBand:
        """The certified band, or the paper's where nothing could be certified."""
        found = self.certificate
        if found is None or found.band is None:
            return CardBand()
        band = probability_band(found.band, self.temperature)
        return CardBand(
            low=band.low,
            high=band.high,
            chosen_by="certified",
            target_risk=found.target_risk,
            confidence=found.confidence,
            coverage=found.coverage.value,
            accepted=found.accepted,
            errors=found.errors,
        )

    def card_threshold(self) -> NoveltyThreshold | None:
        """The threshold with a word on how it was chosen, or None."""
        if self.novelty is None:
            return None
        found = self.novelty
        chosen = f"{found.above} of {found.images} calibration portraits lie above it; the rule allows 1 %"
        return NoveltyThreshold(value=found.threshold, chosen_by=chosen)


def calibrate_run(records: AnyPath, run: Path, *, seed: int) -> Calibrated:
    """Fit temperature and novelty head to the run, set the threshold; write both into the run's folder.

    Raises:
        RecordsError: the run is not finished, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    (run / CERTIFICATE_FILE).unlink(missing_ok=True)
    size = int(fitted.run.settings["size"])
    head = fit_head(fitted.network, load_records(records, Split.TRAIN, size=size).images, seed=seed)
    held = load_records(records, Split.CALIBRATION, size=size)
    found = Calibrated(
        run=fingerprint(run),
        calibration=calibrate(predict_logits(fitted.network, held.images), held.labels),
        novelty=set_threshold(score_novelty(fitted.network, head, held.images)),
    )
    save_keras(head, run / HEAD_FILE)
    write_atomically(run / CALIBRATION_FILE, found.model_dump_json(indent=2).encode())
    return found


def certify_run(records: AnyPath, run: Path, *, target_risk: float, confidence: float, cost_ratio: float) -> Certified:
    """Find the band that keeps the promise on the calibration split; write it into the run's folder.

    Bands are proposed by the validation split. Of the calibration split only those below the novelty threshold count:
    the others never reach the band.

    Raises:
        RecordsError: the run is not calibrated, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    calibrated = _read(run, CALIBRATION_FILE, Calibrated)
    if calibrated is None:
        raise RecordsError(f"{run} is not calibrated: run `lensgate train calibrate` first")
    size = int(fitted.run.settings["size"])
    proposing, held = (load_records(records, split, size=size) for split in (Split.VALIDATION, Split.CALIBRATION))
    kept = held.select(below(score_novelty(fitted.network, load_head(run), held.images), calibrated.novelty))
    logits = predict_logits(fitted.network, kept.images)
    start = first_coverage(len(kept), target_risk=target_risk, confidence=confidence)
    bands = propose_bands(
        predict_logits(fitted.network, proposing.images),
        cost_ratio=cost_ratio,
        coverages=[coverage for coverage in COVERAGES if coverage >= start],
    )
    found = Certified(
        run=calibrated.run,
        certificate=certify(
            logits, kept.labels, bands, target_risk=target_risk, confidence=confidence, cost_ratio=cost_ratio
        ),
        paper=selective_risk(logits, kept.labels, RawBand.from_probability(Band(), calibrated.calibration.temperature)),
        risk_coverage=risk_coverage(logits, kept.labels),
    )
    write_atomically(run / CERTIFICATE_FILE, found.model_dump_json(indent=2).encode())
    return found


def first_coverage(images: int, *, target_risk: float, confidence: float) -> float:
    """The share that the first band tested should accept, from the number of calibration images alone.

    The sequence ends at its first failure, so that it should begin where one mistake is affordable if that can be;
    between .8 and .95.
    """
    needed = next(
        (count for count in range(1, images + 1) if binom.cdf(1, count, target_risk) <= 1 - confidence), images
    )
    return min(0.95, max(COVERAGES[0], ROOM * needed / max(1, images)))


def fingerprint(run: Path) -> str:
    """SHA-256 of the network's file: what was found of one fit is not taken for another's."""
    return hashlib.sha256((run / NETWORK_FILE).read_bytes()).hexdigest()


def _fitted(records: AnyPath, run: Path) -> Fitted:
    fitted = load_fitted(run)
    if fitted.run.records != Manifest.read(records).fingerprint():
        raise RecordsError(f"{run} was fitted to other records than {records}: run `lensgate train fit` again")
    return fitted


_F = TypeVar("_F", Calibrated, Certified)


def _read(run: Path, name: str, kind: type[_F]) -> _F | None:
    path = run / name
    if not path.is_file():
        return None
    try:
        found = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordsError(f"{path} cannot be read: run `lensgate train calibrate` again") from error
    if found.run != fingerprint(run):
        raise RecordsError(f"{path} was found of another fit: run `lensgate train calibrate` again")
    return found
