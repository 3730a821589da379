"""The texts of `/docs`: groups and descriptions of all operations, in reading order."""

from collections.abc import Mapping
from typing import Any, NamedTuple

DECISIONS = "Decisions"
RECORDS = "Records"
MODEL = "Model and state"
REVIEW = "Review"
V2 = "Open Inference Protocol V2"
ACCESS = "Access"

GROUPS: Mapping[str, str] = {
    DECISIONS: "Send images and get a decision about each: accept or discard, with its reason.",
    RECORDS: "Read decisions back, with the small copies of discarded images.",
    MODEL: "The served model, the state of the service, probes for an orchestrator and metrics for Prometheus.",
    REVIEW: "People judge discarded and audited images; their verdicts become labels of the next training.",
    V2: "The protocol of KServe and Triton: pixels or files as tensors. `tritonclient` works unchanged.",
    ACCESS: "Sessions of the pages. Programs send their token as `Authorization: Bearer TOKEN` instead.",
}
"""Description of each group, in the order of the page."""


class Text(NamedTuple):
    """Group and description of one operation."""

    group: str
    description: str


OPERATIONS: Mapping[str, Text] = {
    "POST /v1/decisions": Text(
        DECISIONS,
        "The body is the bytes of one square PNG, JPEG or WebP, at least as large as the model's input; they determine "
        "the format, and the Content-Type is ignored. `reason` is the first that applies of `unfamiliar`, `uncertain`, "
        "`contradicted` and `confident`; only `confident` is accepted.",
    ),
    "POST /v1/trials": Text(
        DECISIONS,
        "The same body, parameters and answer as `POST /v1/decisions`, for trying an image by hand: the decision is "
        "neither recorded nor counted in the figures of production.",
    ),
    "POST /v1/decisions/batch": Text(
        DECISIONS,
        "Upload any number of images as the files of a form, or as a tar such as a WebDataset shard. Each image gets "
        "one line of JSON, in order, while the upload continues; a broken image gets an error in its line. The last "
        "line is the summary.",
    ),
    "GET /v1/decisions": Text(
        RECORDS,
        "Pages of recorded decisions. Filters combine; `next` of a page is the `cursor` of the following one. A "
        "decision appears a moment after its answer.",
    ),
    "GET /v1/decisions/{name}": Text(RECORDS, "The latest decision with this `record`, or with this caller's `id`."),
    "GET /v1/decisions/{record}/image": Text(
        RECORDS, "The small copy that is kept of discarded and audited images, 256 pixels at most; 404 without one."
    ),
    "GET /v1/failures": Text(
        RECORDS,
        "A few examples of each error code, newest first. A failed request leaves no decision; its log line has the "
        "same `request_id`.",
    ),
    "GET /v1/sources": Text(
        RECORDS,
        "Accepted, uncertain, contradicted and unfamiliar images of each source, by expected label and score bin, with "
        "intervals. A source is broken if significantly more of its images are discarded than of all others (Fisher's "
        "exact test, Holm's correction), by at least 5 percentage points.",
    ),
    "GET /v1/model": Text(
        MODEL,
        "The card of the served version: input, band and how it was chosen, certificate, calibration, training data "
        "and their licences, test metrics with 95 % intervals.",
    ),
    "GET /v1/operations": Text(
        MODEL, "Rates, latencies by stage, scores, drift and records of the last minutes, over all workers."
    ),
    "GET /v1/operations/history": Text(
        MODEL,
        "Decisions, failed requests by code, and versions of the last 15 minutes, hour or day, from the records.",
    ),
    "GET /livez": Text(MODEL, "Answers 200 until only a restart would help. Needs no token."),
    "GET /readyz": Text(MODEL, "Answers 200 once the model is loaded, until shutdown begins. Needs no token."),
    "GET /metrics": Text(
        MODEL, "Prometheus text, or OpenMetrics with exemplars for scrapers that accept it; the sum of all workers."
    ),
    "POST /v1/review/claims": Text(
        REVIEW, "Reserve images, so that two reviewers do not judge the same one. A reservation ends by itself."
    ),
    "DELETE /v1/review/claims": Text(REVIEW, "Release all images that this reviewer reserved and did not judge."),
    "PUT /v1/review/verdicts/{record}": Text(
        REVIEW, "Store the verdict `glasses`, `no_glasses` or `unclear`. 409 if another reviewer was first."
    ),
    "DELETE /v1/review/verdicts/{record}": Text(
        REVIEW, "Delete the verdict, and reserve the image for this reviewer again."
    ),
    "POST /v1/review/skips/{record}": Text(REVIEW, "Leave the image to another reviewer."),
    "DELETE /v1/review/skips/{record}": Text(REVIEW, "Delete the skip, and reserve the image for this reviewer."),
    "DELETE /v1/review/skips": Text(REVIEW, "Offer all skipped images to this reviewer again."),
    "GET /v1/review/progress": Text(
        REVIEW, "Numbers of open and judged images, and the error rate of the audit with its interval."
    ),
    "GET /v1/review/certificate": Text(
        REVIEW,
        "A band for each label that the audit's verdicts certify, or the number of labels that are still needed; for "
        "one `source` where it is given.",
    ),
    "GET /v1/review/corrections.csv": Text(
        REVIEW, "Id, label and reason of each verdict, as `lensgate train prepare --corrections` reads them."
    ),
    "GET /v1/review/dataset.tar": Text(
        REVIEW, "The kept copies with their verdicts as a data set for `lensgate train`, streamed."
    ),
    "POST /v2/models/{name}/infer": Text(
        V2,
        "Decide about N images, as pixels (`image`, UINT8 `[N, H, H, 3]`) or as files (`encoded_image`, BYTES, as "
        "binary data). The optional input or parameter `expected` gives the requested labels. One faulty image fails "
        "the request.",
    ),
    "GET /v2": Text(V2, "Name and version of the server, and the extensions of the protocol that it supports."),
    "GET /v2/models/{name}": Text(V2, "Names, types and shapes of the inputs and outputs, as clients read them."),
    "GET /v2/models/{name}/config": Text(V2, "Triton's configuration; the parameter `size` is the model's input size."),
    "GET /v2/models/{name}/ready": Text(V2, "Answers 200 while this model takes requests."),
    "GET /v2/models/stats": Text(V2, "Counts and times since the start, in Triton's form, of the worker that answers."),
    "POST /v2/repository/index": Text(V2, "The served model; promoting, not loading, changes its version."),
    "GET /v2/health/live": Text(V2, "As `/livez`. Needs no token."),
    "GET /v2/health/ready": Text(V2, "As `/readyz`. Needs no token."),
    "GET /v2/systemsharedmemory/status": Text(
        V2, "Regions with their object, offset and size. Needs `LENSGATE_SHARED_MEMORY`."
    ),
    "POST /v2/systemsharedmemory/region/{region}/register": Text(
        V2,
        "Give a range of a POSIX shared memory object a name for inputs and outputs. Needs `LENSGATE_SHARED_MEMORY`.",
    ),
    "POST /v2/systemsharedmemory/unregister": Text(V2, "The objects themselves stay. Needs `LENSGATE_SHARED_MEMORY`."),
    "GET /v1/session": Text(ACCESS, "The caller's name and scopes, and whether the service requires tokens."),
    "POST /v1/session": Text(ACCESS, "Exchange a token for a cookie, as the login page does."),
    "DELETE /v1/session": Text(ACCESS, "End the session of this cookie."),
}
"""Every documented operation by method and path, in the order of the page."""

_PARAMETERS: Mapping[str, str] = {
    "ids": "Ids of the table: those of `dataset.tar`, or the callers' own",
    "name": "Name of the model",
    "record": "`record` of the decision",
    "region": "Name of the region",
    "window": "How far back",
}
"""Descriptions of parameters by name, unless their declaration has one."""


def order_and_describe(document: dict[str, Any]) -> None:
    """Put the operations of an OpenAPI document into groups and into order, and add their descriptions.

    An operation that is not in the table keeps its own texts and comes last.
    """
    place = {name: index for index, name in enumerate(OPERATIONS)}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if text := OPERATIONS.get(f"{method.upper()} {path}"):
                operation.update(tags=[text.group], description=text.description)
            for parameter in operation["parameters"]:
                if text_of_name := _PARAMETERS.get(parameter["name"]):
                    parameter.setdefault("description", text_of_name)

    def first(item: tuple[str, Mapping[str, Any]]) -> int:
        path, operations = item
        return min(place.get(f"{method.upper()} {path}", len(place)) for method in operations)

    document["paths"] = dict(sorted(document["paths"].items(), key=first))
    document["tags"] = [{"name": name, "description": text} for name, text in GROUPS.items()]


def name_schemas(document: dict[str, Any]) -> None:
    """Move schemas of objects that stand inside operations to the components, under their titles."""
    named: dict[str, Any] = document["components"]["schemas"]

    def move(part: Any) -> Any:
        if isinstance(part, list):
            return [move(each) for each in part]
        if not isinstance(part, dict):
            return part
        moved = {key: move(each) for key, each in part.items()}
        title = moved.get("title")
        if "properties" not in moved or not isinstance(title, str) or not title.isidentifier():
            return moved
        return {"$ref": f"#/components/schemas/{title}"} if named.setdefault(title, moved) == moved else moved

    document["paths"] = move(document["paths"])
