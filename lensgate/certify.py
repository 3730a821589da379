"""`lensgate certify`: certify the band of the current model again, from the verdicts of the audit in the records."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from common.identity import ID_RULE, is_identity
from common.terminal import percent_exact, say
from gate import Label, Model, ModelStore
from service.errors import RecordsUnavailable, SettingsError
from service.settings import Settings

if TYPE_CHECKING:
    from service.records.store import Store
    from service.review.recertify import ClassRecertificate, Recertificate
    from service.review.served_version import ServedVersion


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--records-url", metavar="URL", help="store of decisions (default: that of `lensgate serve`)")
    add("--models", metavar="PATH", help="folder of models (default: that of `lensgate serve`)")
    add("--source", type=_source, metavar="NAME", help="certify from the images of this source alone (default: all)")
    title = "largest share of wrong labels, for both labels (default: that of the card, or 0.01)"
    add("--target-risk", type=_share, metavar="RISK", help=title)
    title = "confidence of the certificate of each label by itself (default: 0.95)"
    add("--confidence", type=_share, default=0.95, metavar="SHARE", help=title)
    add("--json", action="store_true", help="print the result as JSON")
    add(
        "--export",
        nargs="?",
        const="",
        metavar="VERSION",
        help="write a version of the model with the certified band, by default under the next number",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the result; the status is 1 unless both labels are certified, or a version was to be written and was."""
    from service.review.recertify import MIN_CONFIDENCE, recertify
    from service.review.served_version import ServedVersion

    if options.confidence < MIN_CONFIDENCE:
        raise SettingsError(f"--confidence must be from {MIN_CONFIDENCE:g} to below 1, not {options.confidence:g}")
    settings = Settings.load({"models": options.models, "records_url": options.records_url})
    models = ModelStore(settings.models)
    model = models.load()
    served = ServedVersion.of(model.card, settings.band(model.card.band))
    store = _open_records(settings.records_url)
    try:
        with store.begin() as connection:
            certificate = recertify(
                connection,
                served,
                target_risk=options.target_risk,
                confidence=options.confidence,
                source=options.source,
            )
    except RecordsUnavailable as error:
        raise SettingsError(f"{error} (the records of --records-url or LENSGATE_RECORDS_URL)") from error
    finally:
        store.close()
    if options.json:
        print(certificate.model_dump_json(indent=2))  # noqa: T201 - JSON is not escaped for people.
    else:
        say(*_describe(certificate))
    if options.export is not None:
        _export(options, settings, model, certificate, served)
        return 0
    return 0 if all(each.certified for each in certificate.classes.values()) else 1


def _open_records(url: str) -> "Store":
    """Return the store; a missing SQLite file would be created, and would look like records without verdicts."""
    if url == "off":
        raise SettingsError("the records are off (LENSGATE_RECORDS_URL): name the service's with --records-url")
    from service.records.store import Store

    store = Store(url)
    file = Path(str(store.engine.url.database))
    if store.is_sqlite and not file.is_file():
        raise SettingsError(f"there are no records in {file.absolute()}: name the service's with --records-url")
    return store


def _export(
    options: argparse.Namespace, settings: Settings, model: Model, certificate: "Recertificate", served: "ServedVersion"
) -> None:
    """Write the version, verified as `lensgate models promote` would, and say what brings it into force."""
    from lensgate.band_export import lost_promises, with_band
    from lensgate.models import verify_model

    models = ModelStore(settings.models)
    version = models.free_version(options.export or None)
    exported = with_band(model, certificate, served, version=version, command=options.command_line)
    verify_model(exported, settings.model_copy(update={"band_low": None, "band_high": None}))
    folder = models.add(exported)
    notes = [f"{folder} has this band and is not served yet: {models.promotion(version)}"]
    if lost := lost_promises(model.card, certificate):
        names = " and ".join(lost)
        notes.append(
            f"version {model.card.version} certifies {names} by its calibration images; version {version} does not"
        )
    if (settings.band_low, settings.band_high) != (None, None):
        notes.append("LENSGATE_BAND_LOW and LENSGATE_BAND_HIGH override the band of every card: unset them to use it")
    say(*notes, error=True)


def _describe(certificate: "Recertificate") -> list[str]:
    whose = f", source {certificate.source}" if certificate.source else ""
    lines = [f"model {certificate.version}{whose}, confidence {certificate.confidence} for each label"]
    lines += [f"{label.value:11} {_outcome(label, each)}" for label, each in certificate.classes.items()]
    lines.append(f"band: LENSGATE_BAND_LOW={certificate.band.low} LENSGATE_BAND_HIGH={certificate.band.high}")
    return [*lines, _next_step(certificate)]


def _next_step(certificate: "Recertificate") -> str:
    if certificate.source:
        return "not in force: a band holds for all images, so --export takes none of a single source"
    if not any(each.certified for each in certificate.classes.values()):
        return "not in force: no label is certified"
    return (
        "not in force: --export writes it into a version to promote, with this certificate; the two variables set it "
        "without one"
    )


def _outcome(label: Label, result: "ClassRecertificate") -> str:
    from service.review.recertify import MAX_LABELS

    side = ">" if label is Label.GLASSES else "<"
    counted = f"{result.errors} of {result.images} wrong at p {side} {result.edge:.10g}, evidence {result.evidence:.3g}"
    target = percent_exact(result.target_risk)
    if result.certified:
        return f"certified: at most {target} wrong ({counted}; keeps {100 * (result.kept or 0.0):.1f} %)"
    if result.labels_needed is None:
        most = f"{MAX_LABELS:,} more labels"
        why = f"too many errors for {most}" if result.errors else f"more than {most} needed"
        return f"not certified for {target}: {why} ({counted})"
    labels = "label" if result.labels_needed == 1 else "labels"
    return f"not certified for {target}: about {result.labels_needed:,} more {labels} needed ({counted})"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} does not lie between 0 and 1")
    return value


def _source(text: str) -> str:
    if not is_identity(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a source: it must be {ID_RULE}")
    return text
