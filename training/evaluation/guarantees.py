"""Fit temperature, novelty threshold and certified band of a run, all on the calibration split."""

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
    RawBand,
    RiskCertificate,
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
    familiar,
    fit_head,
    load_head,
    novelty_output,
    score_novelty,
    set_threshold,
)
from training.model.train import NETWORK_FILE, FittedModel, load_fitted, predict_logits, save_keras

CALIBRATION_FILE = "calibration.json"
CERTIFICATE_FILE = "certificate.json"
ROOM = 1.03  # Safety factor for the number of calibration images that the first band accepts.


class CalibrationRecord(Finding):
    """`calibration.json`: the results of `lensgate train calibrate`, and the fingerprint of their run."""

    run: str
    calibration: CalibrationFindings
    novelty: NoveltyFindings


class CertificateRecord(Finding):
    """`certificate.json`: the certificate, the paper's band on the same images, and risk by coverage."""

    run: str
    certificate: RiskCertificate
    paper: SelectiveRisk
    risk_coverage: RiskCoverage


@dataclass(frozen=True, slots=True)
class Guarantees:
    """The calibration results that an export adds to graph and card; defaults if the run is not calibrated."""

    temperature: float = 1.0
    head: keras.Model | None = None
    novelty: NoveltyFindings | None = None
    certificate: RiskCertificate | None = None

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read the results in the folder of a run, as far as they exist.

        Raises:
            RecordsError: the results belong to another fit.
        """
        calibrated = _read(run, CALIBRATION_FILE, CalibrationRecord)
        if calibrated is None:
            return cls()
        certified = _read(run, CERTIFICATE_FILE, CertificateRecord)
        return cls(
            temperature=calibrated.calibration.temperature,
            head=load_head(run),
            novelty=calibrated.novelty,
            certificate=certified.certificate if certified else None,
        )

    def novelty_output(self, network: keras.Model) -> Any:
        """Return novelty as a symbolic tensor of the network's graph, or None."""
        return None if self.head is None else novelty_output(network, self.head)

    def card_band(self) -> CardBand:
        """Return the certified band, or the paper's if none was certified."""
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
        """Return the threshold and how it was chosen, or None."""
        if self.novelty is None:
            return None
        found = self.novelty
        chosen = f"{found.above} of {found.images} calibration portraits lie above it; the rule allows 1 %"
        return NoveltyThreshold(value=found.threshold, chosen_by=chosen)


def calibrate_run(records: AnyPath, run: Path, *, seed: int) -> CalibrationRecord:
    """Fit temperature, novelty head and threshold; write them to the folder of the run.

    Raises:
        RecordsError: the run is unfinished, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    (run / CERTIFICATE_FILE).unlink(missing_ok=True)
    size = int(fitted.run.settings["size"])
    head = fit_head(fitted.network, load_records(records, Split.TRAIN, size=size).images, seed=seed)
    held = load_records(records, Split.CALIBRATION, size=size)
    found = CalibrationRecord(
        run=fingerprint(run),
        calibration=calibrate(predict_logits(fitted.network, held.images), held.labels),
        novelty=set_threshold(score_novelty(fitted.network, head, held.images)),
    )
    save_keras(head, run / HEAD_FILE)
    write_atomically(run / CALIBRATION_FILE, found.model_dump_json(indent=2).encode())
    return found


def certify_run(
    records: AnyPath, run: Path, *, target_risk: float, confidence: float, cost_ratio: float
) -> CertificateRecord:
    """Certify the band on the calibration split; write the certificate to the folder of the run.

    The validation split proposes the bands. Only calibration images below the novelty threshold count, because the
    others are discarded before the band applies.

    Raises:
        RecordsError: the run is not calibrated, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    calibrated = _read(run, CALIBRATION_FILE, CalibrationRecord)
    if calibrated is None:
        raise RecordsError(f"{run} is not calibrated: run `lensgate train calibrate` first")
    size = int(fitted.run.settings["size"])
    proposing, held = (load_records(records, split, size=size) for split in (Split.VALIDATION, Split.CALIBRATION))
    kept = held.select(familiar(score_novelty(fitted.network, load_head(run), held.images), calibrated.novelty))
    logits = predict_logits(fitted.network, kept.images)
    start = first_coverage(len(kept), target_risk=target_risk, confidence=confidence)
    bands = propose_bands(
        predict_logits(fitted.network, proposing.images),
        cost_ratio=cost_ratio,
        coverages=[coverage for coverage in COVERAGES if coverage >= start],
    )
    found = CertificateRecord(
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
    """Compute the coverage of the first tested band from the number of calibration images alone.

    The sequence ends at its first failure, so it should start where one error is still allowed, if possible; the result
    lies between 0.8 and 0.95.
    """
    needed = next(
        (count for count in range(1, images + 1) if binom.cdf(1, count, target_risk) <= 1 - confidence), images
    )
    return min(0.95, max(COVERAGES[0], ROOM * needed / max(1, images)))


def fingerprint(run: Path) -> str:
    """Compute the SHA-256 of the network's file, which ties results to one fit."""
    return hashlib.sha256((run / NETWORK_FILE).read_bytes()).hexdigest()


def _fitted(records: AnyPath, run: Path) -> FittedModel:
    fitted = load_fitted(run)
    if fitted.run.records != Manifest.read(records).fingerprint():
        raise RecordsError(f"{run} was fitted to other records than {records}: run `lensgate train fit` again")
    return fitted


_F = TypeVar("_F", CalibrationRecord, CertificateRecord)


def _read(run: Path, name: str, kind: type[_F]) -> _F | None:
    path = run / name
    if not path.is_file():
        return None
    try:
        found = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordsError(f"{path} cannot be read: run `lensgate train calibrate` again") from error
    if found.run != fingerprint(run):
        raise RecordsError(f"{path} belongs to another fit: run `lensgate train calibrate` again")
    return found
