"""Fit temperature, novelty threshold and certified band of a run, outside its training split."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import keras
from pydantic import ValidationError

from common.storage import AnyPath
from gate import Band
from gate.card import CardBand, CardClass, NoveltyThreshold
from gate.files import atomic_files, write_atomically
from training.data.dataset import Split
from training.data.records import Manifest, load_records
from training.errors import RecordsError
from training.evaluation.calibrate import CalibrationFindings, Finding, calibrate
from training.evaluation.candidate_edges import propose_edges, up_to
from training.evaluation.certificate import Certificate, ClassCertificate, Promise
from training.evaluation.certify import certify
from training.evaluation.class_shares import SHARES, ShareRisk, risks_at_shares
from training.evaluation.cross_fit import HeldOut, cross_fit, pool, score_held_out
from training.evaluation.novelty import (
    ALLOWED,
    HEAD_FILE,
    NoveltyFindings,
    fit_head,
    load_head,
    novelty_output,
    score_novelty,
    set_threshold,
)
from training.evaluation.raw_band import RawBand
from training.evaluation.selective_risk import RiskCoverage, SelectiveRisk, risk_coverage, selective_risk
from training.model.train import NETWORK_FILE, FittedModel, load_fitted, predict_logits

CALIBRATION_FILE = "calibration.json"
CERTIFICATE_FILE = "certificate.json"
NARROWEST = Band(0.2, 0.8)
"""A certified band contains this one: no image is accepted with a label that has one chance in five to be wrong."""


class CalibrationRecord(Finding):
    """`calibration.json`: the results of `lensgate train calibrate`, and the fingerprint of their run."""

    run: str
    calibration: CalibrationFindings
    novelty: NoveltyFindings


class CertificateRecord(Finding):
    """`certificate.json`: the certificate in use, and measurements of the same images.

    If it is cross-fitted, `held_out` is the certificate of the run's own network by its calibration split alone, and
    `own` the band in use on that split. `paper` is the paper's band, `shares` the risk at other shares of glasses.
    """

    run: str
    certificate: Certificate
    held_out: Certificate | None
    own: SelectiveRisk | None
    paper: SelectiveRisk
    risk_coverage: RiskCoverage
    shares: tuple[ShareRisk, ...]


@dataclass(frozen=True, slots=True)
class Guarantees:
    """The calibration results that an export adds to graph and card; defaults if the run is not calibrated."""

    temperature: float = 1.0
    head: keras.Model | None = None
    novelty: NoveltyFindings | None = None
    certificate: Certificate | None = None

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
        """Return the band in use with the certificate of each label; the paper's band if there is no certificate."""
        found = self.certificate
        if found is None:
            return CardBand()
        band = found.served_band(self.temperature)
        return CardBand(
            low=band.low,
            high=band.high,
            chosen_by="certified" if found.certified else "paper",
            target_risk=found.target_risk,
            confidence=found.confidence,
            coverage=found.coverage.value,
            accepted=found.accepted,
            errors=found.errors,
            folds=found.folds,
            classes={label: _card_class(one) for label, one in found.classes.items()},
        )

    def card_threshold(self) -> NoveltyThreshold | None:
        """Return the threshold and how it was chosen, or None."""
        if self.novelty is None:
            return None
        found = self.novelty
        counts = f"{found.above} of {found.images} calibration portraits lie above it"
        chosen = f"{counts}; the rule allows {100 * ALLOWED:g} %"
        return NoveltyThreshold(value=found.threshold, chosen_by=chosen)


def calibrate_run(records: AnyPath, run: Path, *, seed: int) -> CalibrationRecord:
    """Fit temperature, novelty head and threshold; write them to the folder of the run.

    Raises:
        RecordsError: the run is unfinished, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    size = fitted.run.preset.size
    head = fit_head(fitted.network, load_records(records, Split.TRAIN, size=size).images, seed=seed)
    held = load_records(records, Split.CALIBRATION, size=size)
    found = CalibrationRecord(
        run=fingerprint(run),
        calibration=calibrate(predict_logits(fitted.network, held.images), held.labels),
        novelty=set_threshold(score_novelty(fitted.network, head, held.images)),
    )
    # An old threshold must not meet a new head, nor an old certificate either of them.
    with atomic_files(run / HEAD_FILE, run / CALIBRATION_FILE, outdated=[run / CERTIFICATE_FILE]) as (
        head_file,
        found_file,
    ):
        head.save(head_file)
        found_file.write_text(found.model_dump_json(indent=2), encoding="utf-8")
    return found


def certify_run(
    records: AnyPath,
    run: Path,
    *,
    promise: Promise,
    folds: int = 1,
    shares: Sequence[float] = SHARES,
    say: Callable[[str], None] = print,
) -> CertificateRecord:
    """Certify the band on faces that no network was trained on; write the certificate to the folder of the run.

    The validation split proposes the edges, and those of `NARROWEST` are the last ones; as raw logits these depend on
    the labels through the temperature alone. Only images below the novelty threshold count, because the others are
    discarded before the band applies.

    Args:
        records: those of the run.
        run: folder of the calibrated run.
        promise: the risks to certify.
        folds: 1 uses the calibration split alone; more fit further networks, see `cross_fit`.
        shares: shares of glasses to compute risks for.
        say: receives one line before each further network.

    Raises:
        DataError: a label has too few distinct faces for the folds.
        RecordsError: the run is not calibrated, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    calibrated = _read(run, CALIBRATION_FILE, CalibrationRecord)
    if calibrated is None:
        raise RecordsError(f"{run} is not calibrated: run `lensgate train calibrate` first")
    size = fitted.run.preset.size
    proposing, held = (load_records(records, split, size=size) for split in (Split.VALIDATION, Split.CALIBRATION))
    own = score_held_out(fitted.network, load_head(run), held, threshold=calibrated.novelty)
    paper = RawBand.from_probability(Band(), calibrated.calibration.temperature)
    last = RawBand.from_probability(NARROWEST, calibrated.calibration.temperature)
    edges = up_to(propose_edges(predict_logits(fitted.network, proposing.images)), last)

    def certified(faces: HeldOut, networks: int) -> Certificate:
        kept = faces.counted()
        return certify(
            kept.logits, kept.labels, edges, promise=promise, fallback=paper, images=len(faces), folds=networks
        )

    alone = certified(own, 1)
    faces = pool([own, *cross_fit(records, run, fitted, folds=folds, say=say)]) if folds > 1 else own
    found = certified(faces, folds) if folds > 1 else alone
    kept, its = faces.counted(), own.counted()
    record = CertificateRecord(
        run=calibrated.run,
        certificate=found,
        held_out=alone if folds > 1 else None,
        own=selective_risk(its.logits, its.labels, found.band) if folds > 1 else None,
        paper=selective_risk(kept.logits, kept.labels, paper),
        risk_coverage=risk_coverage(kept.logits, kept.labels),
        shares=risks_at_shares(kept.logits, kept.labels, found.band, confidence=promise.confidence, shares=shares),
    )
    write_atomically(run / CERTIFICATE_FILE, record.model_dump_json(indent=2).encode())
    return record


def fingerprint(run: Path) -> str:
    """Compute the SHA-256 of the network's file, which ties results to one fit."""
    return hashlib.sha256((run / NETWORK_FILE).read_bytes()).hexdigest()


def _card_class(found: ClassCertificate) -> CardClass:
    return CardClass(
        certified=found.certified,
        target_risk=found.target_risk,
        accepted=found.accepted,
        errors=found.errors,
        bound=found.risk_bound,
        images_needed=found.images_needed,
        true_class=found.true_class,
    )


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
        step = "calibrate" if kind is CalibrationRecord else "certify"
        raise RecordsError(f"{path} cannot be read: run `lensgate train {step}` again") from error
    if found.run != fingerprint(run):
        raise RecordsError(f"{path} belongs to another fit: run `lensgate train calibrate` again")
    return found
