"""`lensgate classify`: judge image files in this process, without a service."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gate import Band, Card, ImageError, Label, ModelStore, decide, read_pixels
from service.settings import Settings

if TYPE_CHECKING:
    from gate.scorer import Scorer


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="PNG, JPEG or WebP")
    parser.add_argument("--models", help="folder of models (default: LENSGATE_MODELS, or models)")
    parser.add_argument("--version", help="model version (default: the current one)")
    parser.add_argument("--expected", type=Label, choices=list(Label), help="label that the generator was asked for")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of a table")
    parser.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    from gate.scorer import Scorer

    settings = Settings.load({"models": options.models})
    model = ModelStore(settings.models).load(options.version)
    band = settings.band(model.card.band)
    scorer = Scorer(model, device="cpu")
    failed = False
    for path in options.files:
        row = _judge(path, scorer, model.card, band=band, expected=options.expected)
        failed |= "error" in row
        print(json.dumps(row) if options.json else _line(row), flush=True)
    return 1 if failed else 0


def _judge(path: Path, scorer: "Scorer", card: Card, *, band: Band, expected: Label | None) -> dict[str, Any]:
    try:
        pixels = read_pixels(path.read_bytes(), scorer.size)
    except (ImageError, OSError) as error:
        return {"file": str(path), "error": getattr(error, "code", "unreadable_file"), "detail": str(error)}
    (score,) = scorer.score(pixels[None]).each()
    decision = decide(
        score.probability,
        band,
        novelty=score.novelty,
        novelty_threshold=card.novelty_limit,
        expected=expected,
    )
    return {
        "file": str(path),
        "glasses_probability": score.probability,
        "label": decision.label,
        "decision": decision.action,
        "reason": decision.reason,
    }


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['file']:40} {row['error']}: {row['detail']}"
    return f"{row['file']:40} {row['glasses_probability']:.4f}  {row['label']:10}  {row['decision']:7}  {row['reason']}"
