"""Certify the band again from the verdicts on audited images: for each label an edge, or the labels that are missing.

Candidate edges are the one in use and more careful ones, in equal steps of the logit, fixed without looking at the
verdicts. They are tested from the most careful one that can pass towards the one in use, by the evidence that the risk
of the images beyond the edge is below the target; the first failure ends the sequence (P. Bauer, 1991; as in training).
All draws count by their weights. The evidence holds at any time, so certifying again after more verdicts is allowed.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from common.evidence import Side, log_evidence
from gate import Label
from service.review.draws import Draws, read_draws
from service.review.served_version import ServedVersion
from service.schemas import BandAnswer

STEP = 0.25
"""Difference of neighbouring candidates, in logits."""

CANDIDATES = 49
"""Number of candidates: the most careful one is 12 logits beyond the edge in use."""

MAX_LABELS = 20_000
"""Largest number of further labels that is estimated."""

DEFAULT_RISK = 0.01

MIN_CONFIDENCE = 0.5
"""Below it few or no verdicts would certify anything."""

_RISKS = [1 / (1 + math.exp(-step / 25)) for step in range(-230, 176)]
"""Risks that an upper bound is chosen from: 0.0001 to 0.999, each about 4 % above the one before."""


class ClassRecertificate(BaseModel):
    """The result for one label.

    `images`, `errors` and `evidence` belong to the accepted images beyond `edge`: the certified one, or the first one
    that was tested.
    """

    certified: bool
    target_risk: float
    edge: float = Field(description="Probability beyond which images are accepted with the label")
    images: int = Field(description="Judged audit images beyond the edge")
    errors: int = Field(description="Of these, labelled wrongly")
    evidence: float = Field(description="Evidence that their risk is below the target")
    bound: float = Field(description="Upper bound of their risk, one-sided at the confidence and valid at any time")
    kept: float | None = Field(description="Share of the images accepted with the label now that lie beyond the edge")
    labels_needed: int | None = Field(
        description="Estimate of the further verdicts that a certificate takes; null with one, or above 20,000"
    )


class Recertificate(BaseModel):
    """The band by the verdicts. The edge of a label that is not certified is the one in use."""

    version: str
    source: str | None
    confidence: float = Field(description="Of each label by itself")
    band: BandAnswer
    classes: dict[Label, ClassRecertificate]


class _Tested(NamedTuple):
    """A candidate edge, the images beyond it, and the evidence that their risk is below the target."""

    edge: float
    beyond: Draws
    evidence: float


def recertify(
    connection: Connection,
    served: ServedVersion,
    *,
    target_risk: float | None = None,
    confidence: float = 0.95,
    source: str | None = None,
) -> Recertificate:
    """Certify the band of the served version from the records.

    Args:
        connection: to the records.
        served: version and band in use.
        target_risk: for both labels; by default that of the card for each label, or 1 %.
        confidence: of each label by itself.
        source: only images of this source.
    """
    draws = read_draws(connection, served, source=source)
    present = {Label.NO_GLASSES: served.band.low, Label.GLASSES: served.band.high}
    classes = {
        label: certify_label(
            draws.of(label),
            label,
            present[label],
            target=target_risk or served.target(label) or DEFAULT_RISK,
            confidence=confidence,
        )
        for label in Label
    }
    edges = {label: result.edge if result.certified else present[label] for label, result in classes.items()}
    return Recertificate(
        version=served.version,
        source=source,
        confidence=confidence,
        band=BandAnswer(low=edges[Label.NO_GLASSES], high=edges[Label.GLASSES]),
        classes=classes,
    )


def certify_label(
    draws: Draws, label: Label, present: float, *, target: float, confidence: float
) -> ClassRecertificate:
    """Test the candidates of one label; `present` is the edge in use."""
    needed = 1 / (1 - confidence)
    tested: list[_Tested] = []
    for edge in _from_start(draws, label, present, target=target, needed=needed):
        beyond = _beyond(draws, label, edge)
        tested.append(_Tested(edge, beyond, beyond.below(target)))
        if tested[-1].evidence < needed:
            break
    passed = [candidate for candidate in tested if candidate.evidence >= needed]
    edge, beyond, evidence = (passed or tested)[-1]
    return ClassRecertificate(
        certified=bool(passed),
        target_risk=target,
        edge=edge,
        images=beyond.judged,
        errors=beyond.errors,
        evidence=evidence,
        bound=_bound(beyond, target, needed),
        kept=float(beyond.weights.sum() / draws.weights.sum()) if len(draws.weights) else None,
        labels_needed=None if passed else _labels_needed(beyond, target, needed),
    )


def candidates(label: Label, present: float) -> Iterator[float]:
    """Yield the edges from the most careful one to the one in use."""
    sign = 1 if label is Label.GLASSES else -1
    if not 0 < present < 1:
        yield present
        return
    logit = math.log(present / (1 - present))
    for step in reversed(range(1, CANDIDATES)):
        yield 1 / (1 + math.exp(-(logit + sign * step * STEP)))
    yield present


def _from_start(draws: Draws, label: Label, present: float, *, target: float, needed: float) -> list[float]:
    """Return the candidates from the first one that can afford an error, or can pass, or else the one in use.

    The choice uses the number and the weights of the verdicts alone.
    """
    edges = list(candidates(label, present))
    for errors in (1, 0):
        for at, edge in enumerate(edges):
            if _beyond(draws, label, edge).with_errors(errors).below(target) >= needed:
                return edges[at:]
    return edges[-1:]


def _beyond(draws: Draws, label: Label, edge: float) -> Draws:
    return draws.where(draws.probabilities > edge if label is Label.GLASSES else draws.probabilities < edge)


def _bound(beyond: Draws, target: float, needed: float) -> float:
    """Return the lowest of the tried risks that the evidence excludes; 1 if it excludes none.

    The target is among them, so that the bound of a certified label is at most its target.
    """
    risks = sorted({*_RISKS, target})
    at = bisect_left(risks, True, key=lambda risk: beyond.below(risk) >= needed)
    return risks[at] if at < len(risks) else 1.0


def _labels_needed(beyond: Draws, target: float, needed: float) -> int | None:
    """Return the further verdicts at the observed risk, its errors evenly spaced, by which the evidence is reached.

    They include the gaps, which count as errors until they are judged.
    """
    judged = ~np.isnan(beyond.outcomes)
    risk = beyond.wrong_weight / beyond.weight if judged.any() else 0.0
    further = np.diff(np.floor(risk * np.arange(MAX_LABELS + 1)))
    outcomes = np.concatenate([beyond.outcomes[judged], further])
    weights = np.concatenate([beyond.weights[judged], np.ones(MAX_LABELS)])
    evidence = log_evidence(outcomes, weights, target=target, side=Side.BELOW)[judged.sum() :]
    reached = np.flatnonzero(evidence >= math.log(needed))
    gaps = len(judged) - int(judged.sum())
    return max(1, gaps, int(reached[0])) if len(reached) else None
