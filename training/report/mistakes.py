"""Section on mistakes: every wrongly labelled image of every split, with its file."""

from collections.abc import Iterator

import numpy as np

from common.terminal import count
from training.data.dataset import Split
from training.figures import ImageGroup
from training.report.evidence import Evidence
from training.report.formatting import percent, probability, words
from training.report.gate_scores import LabelledScores
from training.report.page import Html, Part, ReportImages, Section, code, element, folded, joined, paragraph
from training.report.results import picture

PICTURED = 60
LISTED = 2_000
ORDER = (Split.TEST, Split.CALIBRATION, Split.VALIDATION, Split.TRAIN)


def mistakes(evidence: Evidence) -> Section:
    """Show the wrongly labelled images of each split, most confident first."""
    splits = {split: evidence.splits[split] for split in ORDER if split in evidence.splits}
    parts: list[Part] = [
        paragraph(
            "Images whose predicted label differs from the label in the data set, whether the gate accepts or discards "
            "them; most confident first. A confident one may have a wrong label: then put the right one into "
            "corrections.csv. Links open the file if this page is opened from disk on the machine that wrote it; "
            "elsewhere copy the path."
        )
    ]
    if evidence.files.missing:
        names = ", ".join(evidence.files.missing)
        parts.append(
            paragraph(f"Without files on this machine: {names}. Name the folder with ", code("--data DIR"), ".")
        )
    parts += [part for split, scores in splits.items() for part in _split(evidence, split, scores)]
    return Section("mistakes", "Mistakes", tuple(parts))


def _split(evidence: Evidence, split: Split, scores: LabelledScores) -> Iterator[Part]:
    wrong = np.flatnonzero(scores.wrong)
    mistaken = scores.select(wrong[np.argsort(-np.abs(scores.probability[wrong] - 0.5), kind="stable")])
    said = f"{count(len(mistaken), 'mistake')} among {count(len(scores), 'image')}"
    yield element("h3", f"Split {split}: {said} ({percent(len(mistaken) / len(scores))})")
    details = [_details(evidence, split, mistaken, one) for one in range(min(len(mistaken), LISTED))]
    if details:
        names, chances, images = mistaken.records.names, mistaken.probability, mistaken.records.images
        shown = tuple(
            picture(images[one], chances[one], evidence.gate.band, word=_short(names[one]))
            for one in range(min(len(mistaken), PICTURED))
        )
        caption = f"The {len(shown)} most confident of {count(len(mistaken), 'mistake')} on the split {split}."
        yield ReportImages(f"mistakes-{split}", (ImageGroup(shown),), caption, tuple(details[:PICTURED]))
    if rest := details[PICTURED:]:
        more = f", the first {LISTED:,} of {len(mistaken):,}" if len(mistaken) > LISTED else ""
        yield folded(f"{count(len(rest), 'further mistake')} without pictures{more}", *rest)


def _details(evidence: Evidence, split: Split, mistakes: LabelledScores, index: int) -> Html:
    """Name the file of a mistake, its place in the data, its label and the decision."""
    records, decision = mistakes.records, mistakes.judged.decisions[index]
    data_set, source = records.data_sets[index], records.sources[index]
    file, path = evidence.files.link(data_set, records.names[index])
    place = " · ".join(filter(None, (data_set, split, source)))
    label = "glasses" if records.labels[index] == 1 else "no glasses"
    predicted = element("b", words(decision.label))
    said = joined("label ", label, ", predicted ", predicted)
    chance = probability(mistakes.probability[index], evidence.gate.band, decimals=4)
    fate = f"probability {chance}, {decision.action}: {decision.reason}"
    return element("div", *(element("div", line) for line in (file, place, said, fate, path)), class_="mistake")


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"…{name[-11:]}"
