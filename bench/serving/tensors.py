"""Rows 5 and 6: tensors through the Open Inference Protocol, against the bare model and against a bare endpoint."""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.serving.bench import Bench
from bench.serving.contenders import TOLERANCE, Contender, WrongAnswerError, exchange, lensgate
from bench.serving.posts import Post, pixels_post, read_tensors
from bench.serving.report import ReportRow, RoundValues
from bench.serving.wrk import drive

BATCH = 32
_BATCH_CONNECTIONS = 4
"""Enough to keep a batch ready, and fewer images than the admission limit."""


def batches(bench: Bench, ours: Contender | None = None) -> ReportRow:
    """Row 5."""
    ours = ours or lensgate()
    chosen = list(islice(cycle(bench.pictures), BATCH))
    batch = np.concatenate([bench.limit.pixels(data) for data in chosen])
    post = pixels_post(batch, binary_answer=True)
    with ours.running(bench.pictures[0]) as server:
        _check(server.port, post, [bench.limit.probability(data) for data in chosen])
        drive(server.port, [post], seconds=bench.warm_seconds, connections=_BATCH_CONNECTIONS)
        rates = bench.alternate(
            {
                "bare": lambda: bench.limit.batches(batch, seconds=bench.seconds),
                "default": lambda: bench.limit.batches_by_default(batch, seconds=bench.seconds),
                "Lensgate": lambda: (
                    BATCH * drive(server.port, [post], seconds=bench.seconds, connections=_BATCH_CONNECTIONS).rate
                ),
            }
        )
    bare, default, served = (
        RoundValues("session.run, the service's options, one thread", "images/s", rates["bare"]),
        RoundValues("session.run, default options, every core", "images/s", rates["default"]),
        RoundValues(f"Lensgate, [{BATCH},S,S,3]", "images/s", rates["Lensgate"]),
    )
    share = served.median / bare.median
    notes = [f"{served.median / default.median:.2f} of session.run with default options"]
    return ReportRow(5, share, [bare, default, served], notes)


def single(bench: Bench, ours: Contender | None = None) -> ReportRow:
    """Row 6: the bare endpoint returns the bytes that the service returned."""
    ours = ours or lensgate()
    data = bench.pictures[0]
    post = pixels_post(bench.limit.pixels(data), binary_answer=False)
    with tempfile.TemporaryDirectory() as scratch, ours.running(data) as server:
        _check(server.port, post, [bench.limit.probability(data)])
        response = Path(scratch) / "response.json"
        response.write_bytes(exchange(server.port, post).body)
        with bare_endpoint(bench.limit.size, post, response).running(data) as bare:
            ports = {"bare": bare.port, "Lensgate": server.port}
            for port in ports.values():
                drive(port, [post], seconds=bench.warm_seconds)
            turns: dict[str, Callable[[], float]] = {
                name: partial(_rate, port, post, bench.seconds) for name, port in ports.items()
            }
            turns["model"] = partial(bench.limit.batches, bench.limit.pixels(data), seconds=bench.seconds)
            rates = bench.alternate(turns)
    endpoint, model, served = (
        RoundValues("bare Starlette endpoint, the same JSON", "requests/s", rates["bare"]),
        RoundValues("bare session.run [1,S,S,3], one thread", "requests/s", rates["model"]),
        RoundValues("Lensgate, [1,S,S,3]", "requests/s", rates["Lensgate"]),
    )
    notes = [f"{served.median / min(endpoint.median, model.median):.2f} of the slower of endpoint and model"]
    return ReportRow(6, served.median / endpoint.median, [endpoint, model, served], notes)


def bare_endpoint(size: int, post: Post, response: Path | None = None) -> Contender:
    """The bare endpoint; every request sends `post`."""
    arguments = [str(size), *([str(response)] if response else [])]
    return Contender(
        "bare endpoint",
        lambda port: [sys.executable, "-m", "bench.serving.bare_endpoint", str(port), *arguments],
        lambda _: post,
        lambda body: float(read_tensors(body)["glasses_probability"][0]),
    )


def _rate(port: int, post: Post, seconds: float) -> float:
    return drive(port, [post], seconds=seconds).rate


def _check(port: int, post: Post, expected: list[float]) -> None:
    response = exchange(port, post)
    outputs = read_tensors(response.body, response.header_length)
    for name in ("glasses_probability", "novelty", "decision", "reason"):
        if len(outputs.get(name, [])) != len(expected):
            raise WrongAnswerError(f"{name} is not {len(expected)} values")
    answered = np.array(outputs["glasses_probability"], np.float64)
    if np.abs(answered - expected).max() > TOLERANCE:
        raise WrongAnswerError("the probabilities are not those of the model")
