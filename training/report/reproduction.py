"""How the network sees, and how all of this is had again."""

import keras
import numpy as np

from training.figures import feature_maps
from training.model.network import block_outputs
from training.report.evidence import Evidence
from training.report.page import MissingSection, ReportFigure, Section, code, element, facts, lines, paragraph, table


def maps(evidence: Evidence) -> Section:
    """Feature maps of every block for one image."""
    test = evidence.test
    # The surest glasses of a data set that something is promised of: there is something to see.
    own = np.isin(test.records.data_sets, evidence.own)
    one = int(np.argmax(np.where(own, test.logit, -np.inf)))
    image = test.records.images[one]
    network = keras.Model(evidence.network.input, block_outputs(evidence.network))
    outputs = network.predict(image[None].astype(np.float32), verbose=0)
    found = [np.asarray(output)[0] for output in (outputs if isinstance(outputs, list) else [outputs])]
    caption = (
        f"{test.records.names[one]} of {test.records.data_sets[one]}, probability {test.probability[one]:.3f}, and the "
        "feature maps at the end of each block that vary most over it: outlines first, then ever larger parts."
    )
    return Section("maps", "What the blocks see", (ReportFigure("feature-maps", feature_maps(image, found), caption),))


def repeat(evidence: Evidence) -> Section:
    """Commands, seeds, tools and fingerprints."""
    card = evidence.card
    seeds = [("Seed of the split", str(card.training.split_seed)), ("Seed of the fit", str(card.training.seed))]
    hashes = [
        ("model.onnx", card.sha256),
        ("table of the images", card.training.records),
        *((f"data set {data.name}", data.fingerprint) for data in card.data),
    ]
    return Section(
        "repeat",
        "How to repeat it",
        (
            paragraph("With the same data, these commands in this order give the same network."),
            lines([command for command in card.training.commands if command]),
            facts([*seeds, *card.tools.items()]),
            element("h3", "Fingerprints (SHA-256)"),
            table(("of", "value"), [(name, code(value)) for name, value in hashes], words=2),
        ),
    )


def absent(parts: list[MissingSection]) -> Section:
    """What the page would show as well, had it been made."""
    said = paragraph("Made by these commands, and then shown by another ", code("lensgate train report"), ":")
    rows = [(part.title, code(part.command)) for part in parts]
    return Section("absent", "Not on this page", (said, table(("part", "command"), rows, words=2)))
