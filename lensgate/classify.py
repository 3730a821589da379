"""`lensgate classify`: judge image files in this process, without a service."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from common.terminal import escape_controls, say
from common.webdataset import distinct_path
from gate import ImageError, Label
from service.errors import SettingsError
from service.settings import Settings

if TYPE_CHECKING:
    from lensgate.in_process import Gate


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    # As text: a `Path` would drop the `./` that `find` prints, and results could not be matched with names.
    parser.add_argument("files", nargs="+", metavar="FILE", help="PNG, JPEG or WebP")
    parser.add_argument("--models", metavar="PATH", help="folder of models (default: that of `lensgate serve`)")
    parser.add_argument("--version", help="model version (default: the current one)")
    labels = [label.value for label in Label]
    parser.add_argument("--expected", choices=labels, help="label that the generator was asked for")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of a table")
    parser.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    gate = _open_gate(Settings.load({"models": options.models}), options.version)
    failed = False
    for path in options.files:
        row = _judge(path, gate, options.expected)
        failed |= "error" in row
        say(json.dumps(row) if options.json else _line(row))
    return 1 if failed else 0


def _open_gate(settings: Settings, version: str | None) -> "Gate":
    from lensgate.in_process import Gate

    try:
        return Gate(
            settings.models, version=version, device="cpu", band_low=settings.band_low, band_high=settings.band_high
        )
    except ValueError as error:
        raise SettingsError(f"LENSGATE_BAND_LOW and LENSGATE_BAND_HIGH over the model's card: {error}") from error


def _judge(path: str, gate: "Gate", expected: str | None) -> dict[str, Any]:
    name = distinct_path(path)
    try:
        decision = gate.decide(path, expected)
    except ImageError as error:
        return {"file": name, "error": error.code, "detail": str(error)}
    return {
        "file": name,
        "glasses_probability": decision.glasses_probability,
        "label": decision.label,
        "decision": decision.decision,
        "reason": decision.reason,
    }


def _line(row: dict[str, Any]) -> str:
    file = escape_controls(row["file"])
    if "error" in row:
        return f"{file:40} {row['error']}: {escape_controls(row['detail'])}"
    return f"{file:40} {row['glasses_probability']:.4f}  {row['label']:10}  {row['decision']:7}  {row['reason']}"
