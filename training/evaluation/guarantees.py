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
from training.evaluation.candidate_edges import Edges, propose_edges, up_to
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
NARROWEST = Band(0.03, 0.97)
"""A certified band contains this one: no label that is wrong with a probability above 3 % is accepted."""


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
        certificate = self.certificate
        if certificate is None:
            return CardBand()
        band = certificate.served_band(self.temperature)
        return CardBand(
            low=band.low,
            high=band.high,
            chosen_by="certified" if certificate.certified else "paper",
            target_risk=certificate.target_risk,
            confidence=certificate.confidence,
            coverage=certificate.coverage.value,
            accepted=certificate.accepted,
            errors=certificate.errors,
            folds=certificate.folds,
            classes={label: _card_class(part) for label, part in certificate.classes.items()},
        )

    def card_threshold(self) -> NoveltyThreshold | None:
        """Return the threshold and how it was chosen, or None."""
        if self.novelty is None:
            return None
        counts = f"{self.novelty.above} of {self.novelty.images} calibration portraits lie above it"
        chosen = f"{counts}; the rule allows {100 * ALLOWED:g} %"
        return NoveltyThreshold(value=self.novelty.threshold, chosen_by=chosen)


def calibrate_run(records: AnyPath, run: Path, *, seed: int) -> CalibrationRecord:
    """Fit temperature, novelty head and threshold; write them to the folder of the run.

    Raises:
        RecordsError: the run is unfinished, or was fitted to other records.
    """
    fitted = _fitted(records, run)
    size = fitted.run.preset.size
    head = fit_head(fitted.network, load_records(records, Split.TRAIN, size=size).images, seed=seed)
    split = load_records(records, Split.CALIBRATION, size=size)
    record = CalibrationRecord(
        run=fingerprint(run),
        calibration=calibrate(predict_logits(fitted.network, split.images), split.labels),
        novelty=set_threshold(score_novelty(fitted.network, head, split.images)),
    )
    # An old threshold must not meet a new head, nor an old certificate either of them.
    with atomic_files(run / HEAD_FILE, run / CALIBRATION_FILE, outdated=[run / CERTIFICATE_FILE]) as (
        head_file,
        calibration_file,
    ):
        head.save(head_file)
        calibration_file.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    return record


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

    Only images below the novelty threshold count, because the others are discarded before the band applies.

    Args:
        records: those of the run.
        run: folder of the calibrated run.
        promise: the risks to certify.
        folds: 1 uses the calibration split alone; 3 or more fit further networks, see `cross_fit`.
        shares: shares of glasses to compute risks for.
        say: receives one line before each further network.

    Raises:
        DataError: a label has too few distinct faces for the folds.
        RecordsError: the run is not calibrated, or was fitted to other records.
    """
    fitted, calibrated = _fitted(records, run), _calibrated(run)
    terms = _terms(records, fitted, calibrated, promise=promise, shares=shares)
    calibration = load_records(records, Split.CALIBRATION, size=fitted.run.preset.size)
    own = score_held_out(fitted.network, load_head(run), calibration, threshold=calibrated.novelty)
    record = terms.certify(own, folds=1)
    if folds > 1:
        alone, faces = record.certificate, pool([own, *cross_fit(records, run, fitted, folds=folds, say=say)])
        record = terms.certify(faces, folds=folds)
        record = record.model_copy(update={"held_out": alone, "own": _risk(own.counted(), record.certificate.band)})
    write_atomically(run / CERTIFICATE_FILE, record.model_dump_json(indent=2).encode())
    return record


@dataclass(frozen=True, slots=True)
class _CertificateTerms:
    """The fingerprint and the edges of a run, the paper's band in its raw logits, and the guarantee wanted."""

    run: str
    edges: Edges
    paper: RawBand
    promise: Promise
    shares: Sequence[float]

    def certify(self, faces: HeldOut, *, folds: int) -> CertificateRecord:
        """Certify on faces that `folds` networks scored, and measure bands on the familiar ones."""
        familiar = faces.counted()
        logits, labels = familiar.logits, familiar.labels
        certificate = certify(
            logits, labels, self.edges, promise=self.promise, fallback=self.paper, images=len(faces), folds=folds
        )
        confidence = self.promise.confidence
        return CertificateRecord(
            run=self.run,
            certificate=certificate,
            held_out=None,
            own=None,
            paper=_risk(familiar, self.paper),
            risk_coverage=risk_coverage(logits, labels),
            shares=risks_at_shares(logits, labels, certificate.band, confidence=confidence, shares=self.shares),
        )


def _terms(
    records: AnyPath, fitted: FittedModel, calibrated: CalibrationRecord, *, promise: Promise, shares: Sequence[float]
) -> _CertificateTerms:
    """Let the validation split propose the edges; the last ones are those of `NARROWEST`.

    As raw logits these depend on the calibration labels through the temperature alone.
    """
    temperature = calibrated.calibration.temperature
    paper, last = (RawBand.from_probability(band, temperature) for band in (Band(), NARROWEST))
    validation = load_records(records, Split.VALIDATION, size=fitted.run.preset.size)
    proposed = propose_edges(predict_logits(fitted.network, validation.images))
    return _CertificateTerms(calibrated.run, up_to(proposed, last), paper, promise, shares)


def _risk(faces: HeldOut, band: RawBand) -> SelectiveRisk:
    return selective_risk(faces.logits, faces.labels, band)


def fingerprint(run: Path) -> str:
    """Compute the SHA-256 of the network's file, which ties results to one fit."""
    return hashlib.sha256((run / NETWORK_FILE).read_bytes()).hexdigest()


def _card_class(part: ClassCertificate) -> CardClass:
    return CardClass(
        certified=part.certified,
        target_risk=part.target_risk,
        accepted=part.accepted,
        errors=part.errors,
        bound=part.risk_bound,
        images_needed=part.images_needed,
        true_class=part.true_class,
    )


def _fitted(records: AnyPath, run: Path) -> FittedModel:
    fitted = load_fitted(run)
    if fitted.run.records != Manifest.read(records).fingerprint():
        raise RecordsError(f"{run} was fitted to other records than {records}: run `lensgate train fit` again")
    return fitted


def _calibrated(run: Path) -> CalibrationRecord:
    calibrated = _read(run, CALIBRATION_FILE, CalibrationRecord)
    if calibrated is None:
        raise RecordsError(f"{run} is not calibrated: run `lensgate train calibrate` first")
    return calibrated


_Record = TypeVar("_Record", CalibrationRecord, CertificateRecord)


def _read(run: Path, name: str, kind: type[_Record]) -> _Record | None:
    """Read the results of a step, None if it has not run.

    Raises:
        RecordsError: the file is damaged, or belongs to another fit.
    """
    path = run / name
    if not path.is_file():
        return None
    try:
        record = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        step = "calibrate" if kind is CalibrationRecord else "certify"
        raise RecordsError(f"{path} cannot be read: run `lensgate train {step}` again") from error
    if record.run != fingerprint(run):
        raise RecordsError(f"{path} belongs to another fit: run `lensgate train calibrate` again")
    return record
