"""The figures of the operations page, from one reading of the metrics."""

from gate import Reason
from service.metrics.instruments import SECONDS
from service.metrics.reading import Reading
from service.metrics.snapshot import (
    BIN_EDGES,
    Counts,
    Distribution,
    LoadCounts,
    RecordCounts,
    ShadowCounts,
    Snapshot,
    Stage,
    bin_scores,
)
from service.paths import DECISIONS, INFER, INFER_VERSION

# The duration of an upload of many images depends on their number, so it says little about one image.
_SINGLE_IMAGE_ROUTES = {
    DECISIONS,
    INFER,
    INFER_VERSION,
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
}


def read_counts(reading: Reading) -> Counts:
    """Return the totals since the start."""
    reasons = {reason: round(reading.total("lensgate_decisions", reason=reason)) for reason in Reason}
    scores = reading.distributions("lensgate_glasses_probability").get((), Distribution.empty(BIN_EDGES))
    return Counts(
        reasons,
        bin_scores(scores),
        shed=round(reading.total("lensgate_shed")),
        errors=round(reading.total("lensgate_image_errors")),
    )


def read_stages(reading: Reading) -> dict[Stage, Distribution]:
    """Return the durations of each stage since the start, in seconds."""
    requests = reading.distributions("lensgate_request_duration_seconds")
    single = [distribution for (route,), distribution in requests.items() if route in _SINGLE_IMAGE_ROUTES]
    return {
        "decode": reading.distributions("lensgate_decode_seconds")[()],
        "queue": reading.distributions("lensgate_queue_wait_seconds")[()],
        "inference": reading.distributions("lensgate_inference_seconds")[()],
        "request": Distribution.merge(single, edges=SECONDS),
    }


def read_snapshot(reading: Reading) -> Snapshot:
    """Return everything that the operations page shows."""
    return Snapshot(
        counts=read_counts(reading),
        reject_ratio=reading.window.reject_ratio,
        drift=reading.window.drift(),
        shadow=_read_shadow(reading),
        records=RecordCounts(
            written=round(reading.total("lensgate_records", result="written")),
            dropped=round(reading.total("lensgate_records", result="dropped")),
            queued=round(reading.total("lensgate_queued_records")),
            is_failing=reading.total("lensgate_records_failing") > 0,
        ),
        load=LoadCounts(
            queued_images=round(reading.total("lensgate_queued_images")),
            inflight_images=round(reading.total("lensgate_inflight_images")),
            inflight_bytes=round(reading.total("lensgate_inflight_bytes")),
            batch_uploads=round(reading.total("lensgate_batch_uploads")),
        ),
    )


def _read_shadow(reading: Reading) -> ShadowCounts | None:
    shadow = next(iter(reading.labels("lensgate_shadow_info")), None)
    if shadow is None:
        return None

    def images(result: str) -> int:
        return round(reading.total("lensgate_shadow_images", result=result))

    def disagreements(kind: str) -> int:
        return round(reading.total("lensgate_shadow_disagreements", kind=kind))

    return ShadowCounts(
        version=shadow["version"],
        scored=images("scored"),
        dropped=images("dropped"),
        failed=images("failed"),
        label_disagreements=disagreements("label"),
        decision_disagreements=disagreements("decision"),
    )
