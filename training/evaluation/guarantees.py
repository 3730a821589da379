"""Fit temperature, novelty threshold and certified band of a run on faces that it has held out."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import keras
import numpy as np
from pydantic import ValidationError

from common.storage import AnyPath
from gate import Band, Label
from gate.card import CardBand, CardClassRisk, NoveltyThreshold
from gate.files import write_atomically
from training.data.dataset import Split
from training.data.records import Manifest, load_records
from training.errors import RecordsError
from training.evaluation.calibrate import CalibrationFindings, Finding, calibrate
from training.evaluation.certify import (
    LogitBand,
    RiskCoverage,
    SelectiveRisk,
    probability_band,
    risk_coverage,
    selective_risk,
)
from training.evaluation.class_risk import BandCertificate, ClassRisk
from training.evaluation.cross_fit import HeldOutScores, held_out_by_fit, score_held_out, score_other_folds
from training.evaluation.novelty import (
    HEAD_FILE,
    NoveltyFindings,
    fit_head,
    load_head,
    novelty_output,
    score_novelty,
    set_threshold,
)
from training.model.train import NETWORK_FILE, FittedModel, load_fitted, predict_logits, save_keras

CALIBRATION_FILE = "calibration.json"
CERTIFICATE_FILE = "certificate.json"


class CalibrationRecord(Finding):
    """`calibration.json`: the results of `lensgate train calibrate`, and the fingerprint of their run."""

    run: str
    calibration: CalibrationFindings
    novelty: NoveltyFindings


class CertificateRecord(Finding):
    """`certificate.json`: the certificate, and the paper's band and risk by coverage on the same images.

    `own` measures the certified band on the faces that the exported network itself has held out.
    """

    run: str
    certificate: BandCertificate
    own: dict[Label, SelectiveRisk]
    paper: SelectiveRisk
    risk_coverage: RiskCoverage


@dataclass(frozen=True, slots=True)
class Guarantees:
    """The calibration results that an export adds to graph and card; defaults if the run is not calibrated."""

    temperature: float = 1.0
    head: keras.Model | None = None
    novelty: NoveltyFindings | None = None
    certificate: BandCertificate | None = None

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
        """Return the certified band, or the paper's if neither answer was certified."""
        found = self.certificate
        if found is None:
            return CardBand()
        classes = {one.label: _card_class(one) for one in found.classes}
        if not any(one.certified for one in classes.values()):
            return CardBand(classes=classes)
        band = probability_band(found.band)
        promise = found.classes[0].certificate
        return CardBand(
            low=band.low,
            high=band.high,
            chosen_by="certified" if found.certified else "certified for one answer",
            target_risk=promise.target_risk,
            confidence=promise.confidence,
            coverage=found.coverage.value,
            accepted=found.accepted,
            errors=found.errors,
            folds=found.folds,
            classes=classes,
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
    records: AnyPath, run: Path, *, target_risk: float, confidence: float, folds: int = 1
) -> CertificateRecord:
    """Certify the band for each answer; write the certificate to the folder of the run.

    Only images below the novelty threshold count, because the others are discarded before the band applies.

    Args:
        records: those of the fit.
        run: folder of the calibrated run.
        target_risk: largest share of wrong labels among the images accepted with one answer.
        confidence: of the promise for each answer.
        folds: networks that score the faces, see `training.evaluation.cross_fit`; with 1, only the exported one does.

    Raises:
        RecordsError: the run is not calibrated, or was fitted to other records.
        DataError: there are too few faces for the folds.
    """
    fitted = _fitted(records, run)
    calibrated = _read(run, CALIBRATION_FILE, CalibrationRecord)
    if calibrated is None:
        raise RecordsError(f"{run} is not calibrated: run `lensgate train calibrate` first")
    own = score_held_out(
        fitted.network,
        load_head(run),
        held_out_by_fit(records, run),
        temperature=calibrated.calibration.temperature,
        novelty=calibrated.novelty,
    )
    others = score_other_folds(records, run, folds=folds) if folds > 1 else ()
    every = HeldOutScores.join(own, *others)
    logits, glasses = every.logits[every.familiar], every.glasses[every.familiar]
    labels = glasses.astype(np.float64)
    certificate = BandCertificate.find(
        logits,
        glasses,
        unfamiliar=int((~every.familiar).sum()),
        folds=folds,
        target_risk=target_risk,
        confidence=confidence,
    )
    found = CertificateRecord(
        run=calibrated.run,
        certificate=certificate,
        own={label: _measured(own, label, certificate.band) for label in Label},
        paper=selective_risk(logits, labels, LogitBand.from_probability(Band())),
        risk_coverage=risk_coverage(logits, labels),
    )
    write_atomically(run / CERTIFICATE_FILE, found.model_dump_json(indent=2).encode())
    return found


def _measured(scores: HeldOutScores, label: Label, band: LogitBand) -> SelectiveRisk:
    """Measure the band on the familiar images with one answer."""
    chosen = scores.familiar & ((scores.logits >= 0) == (label is Label.GLASSES))
    return selective_risk(scores.logits[chosen], scores.glasses[chosen].astype(np.float64), band)


def _card_class(one: ClassRisk) -> CardClassRisk:
    found = one.certificate
    return CardClassRisk(
        certified=found.certified,
        accepted=found.accepted,
        errors=found.errors,
        risk_bound=found.risk_bound,
        images_needed=found.images_needed,
        faces=one.faces,
        missed=one.missed,
        missed_bound=one.missed_bound,
    )


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
