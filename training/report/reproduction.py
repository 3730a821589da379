"""Sections on feature maps, reproduction and missing parts."""

import keras
import numpy as np

from training.figures import CaptionedImage, feature_maps
from training.model.network import block_outputs
from training.report.evidence import Evidence
from training.report.page import MissingSection, ReportImages, Section, code, element, facts, lines, paragraph, table


def maps(evidence: Evidence) -> Section:
    """Show feature maps of every block for one image."""
    test = evidence.test
    # The most confident glasses of a data set that the guarantee covers make instructive maps.
    own = np.isin(test.records.data_sets, evidence.own)
    index = int(np.argmax(np.where(own, test.logit, -np.inf)))
    image = test.records.images[index]
    network = keras.Model(evidence.network.input, block_outputs(evidence.network))
    outputs = network.predict(image[None].astype(np.float32), verbose=0)
    blocks = [np.asarray(output)[0] for output in (outputs if isinstance(outputs, list) else [outputs])]
    title = f"{test.records.names[index]} of {test.records.data_sets[index]}\nprobability {test.probability[index]:.3f}"
    caption = (
        "A test image, and the feature maps of each block with the largest variance: outlines first, then increasingly "
        "larger parts. Each map is scaled to its own range, blue is its lowest value and yellow its highest."
    )
    return Section(
        "maps",
        "Feature maps",
        (ReportImages("feature-maps", feature_maps(CaptionedImage(image, title), blocks), caption),),
    )


def repeat(evidence: Evidence) -> Section:
    """Show commands, seeds, tool versions and fingerprints."""
    card = evidence.card
    seeds = [("Seed of the split", str(card.training.split_seed)), ("Seed of the fit", str(card.training.seed))]
    hashes = [
        ("model.onnx", card.sha256),
        ("table of the images", card.training.records),
        *((f"data set {data.name}", data.fingerprint) for data in card.data),
    ]
    return Section(
        "repeat",
        "Reproduction",
        (
            paragraph(
                "With the same data, these commands in this order reproduce the network on the same kind of processor "
                "with as many cores; others round otherwise."
            ),
            lines([command for command in card.training.commands if command]),
            facts([*seeds, *card.tools.items()]),
            element("h3", "Fingerprints (SHA-256)"),
            table(("item", "value"), [(name, code(value)) for name, value in hashes], words=2),
        ),
    )


def absent(parts: list[MissingSection]) -> Section:
    """List the sections without data and the commands that produce it."""
    said = paragraph(
        "Run these commands, after calibrate or certify also ",
        code("lensgate train export"),
        ", then ",
        code("lensgate train report"),
        " again, to add these sections:",
    )
    rows = [(part.title, code(part.command)) for part in parts]
    return Section("absent", "Not on this page", (said, table(("part", "command"), rows, words=2)))
