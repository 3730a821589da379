"""The measured servers: the service as shipped, and each peer with its usual decoder or the gate's."""

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bench.serving.environments import python_of, version_of
from bench.serving.posts import Post, encoded_post, image_post, read_tensors
from bench.serving.processes import Running, StartError, running

ROOT = Path(__file__).parents[2]
_FACES = ROOT.parent / "shared/faces/originals"
PICTURES = _FACES if _FACES.is_dir() else ROOT / "samples"
"""Real generator output if available, otherwise drawn faces."""
TOLERANCE = 0.02
"""Decoders that shrink differently change the probability by less; another model changes it by more."""


RECOVERY_SECONDS = 60.0


class WrongAnswerError(RuntimeError):
    """The answers of a contender differ from the others."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that classifies images; `command` takes a port."""

    name: str
    command: Callable[[int], Sequence[str]]
    post: Callable[[bytes], Post]
    probability: Callable[[bytes], float]
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, picture: bytes) -> Iterator[Running]:
        """Serve during the block, which starts once `picture` is answered.

        Raises:
            StartError: it is not answered.
        """
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
        with (
            tempfile.TemporaryDirectory() as folder,
            running(
                self.command,
                lambda port: self.answers(port, picture),
                environment=environment,
                folder=Path(folder),
            ) as server,
        ):
            yield server

    def answers(self, port: int, picture: bytes) -> bool:
        """Whether `picture` is answered."""
        try:
            self.classify(port, picture)
        except (OSError, ValueError, http.client.HTTPException):
            return False
        return True

    def wait(self, port: int, picture: bytes) -> None:
        """Wait until `picture` is answered, and so all requests before it.

        Raises:
            StartError: there is no answer for `RECOVERY_SECONDS`.
        """
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not self.answers(port, picture):
            if time.monotonic() > deadline:
                raise StartError(f"it does not recover within {RECOVERY_SECONDS:g} s")
            time.sleep(0.1)

    def classify(self, port: int, picture: bytes) -> float:
        """Return the probability in the answer.

        Raises:
            OSError, HTTPException, ValueError: there is no probability.
        """
        return self.probability(exchange(port, self.post(picture)).body)

    def check(self, port: int, expected: Mapping[bytes, float]) -> None:
        """Compare the answers with the `expected` probabilities.

        Raises:
            WrongAnswerError: one differs by more than `TOLERANCE`.
        """
        for number, (picture, probability) in enumerate(expected.items(), 1):
            answered = self.classify(port, picture)
            if abs(answered - probability) > TOLERANCE:
                raise WrongAnswerError(f"picture {number}: it answers {answered:.4f}, not {probability:.4f}")


@dataclass(frozen=True, slots=True)
class ContenderResponse:
    """A 200; `header_length` is the length of the JSON before binary tensors, if any."""

    body: bytes
    header_length: int | None


def exchange(port: int, post: Post) -> ContenderResponse:
    """Send one request on a new connection, and accept any HTTP framing of the answer.

    Raises:
        OSError, HTTPException: there is no answer.
        ValueError: the status is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", post.path, post.body, dict(post.headers))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ValueError(f"the answer is {answer.status}: {body[:200].decode(errors='replace')}")
        length = answer.getheader("Inference-Header-Content-Length")
        return ContenderResponse(body, int(length) if length else None)
    finally:
        connection.close()


def lensgate(name: str = "Lensgate", settings: Mapping[str, str] = MappingProxyType({})) -> Contender:
    """The service with default settings except `settings`; log and records are written to files."""
    return Contender(
        name,
        lambda port: [sys.executable, "-m", "lensgate", "serve", "--port", str(port)],
        lambda data: image_post("/v1/decisions", data),
        _probability,
        {"LENSGATE_MODELS": str(ROOT / "models"), **settings},
    )


def _probability(answer: bytes) -> float:
    return float(json.loads(answer)["glasses_probability"])


def _tensor_probability(answer: bytes) -> float:
    return float(read_tensors(answer)["glasses_probability"][0])


@dataclass(frozen=True, slots=True)
class _Peer:
    title: str
    distribution: str
    post: Callable[[bytes], Post]
    arguments: Callable[[int], Sequence[str]] | None = None
    """Arguments of the interpreter; None for the peer's server file."""
    probability: Callable[[bytes], float] = _probability
    decoder: str = "pillow"
    """Its usual decoder."""
    can_use_gate_decoder: bool = True
    """Whether it could call this project's decoder."""


_PEERS = {
    "triton": _Peer("Triton", "nvidia-pytriton", encoded_post, probability=_tensor_probability),
    "mosec": _Peer("mosec", "mosec", lambda data: image_post("/inference", data)),
    "bentoml": _Peer(
        "BentoML",
        "bentoml",
        lambda data: image_post("/classify", data),
        lambda port: [
            *("-m", "bentoml", "serve", "bench.serving.peers.bentoml_server:Glasses"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
    ),
    "ray": _Peer("Ray Serve", "ray", lambda data: image_post("/classify", data)),
    "litserve": _Peer("LitServe", "litserve", lambda data: image_post("/predict", data)),
    "opencv": _Peer(
        "OpenCV behind V2 (OVMS stand-in)",
        "opencv-python-headless",
        encoded_post,
        probability=_tensor_probability,
        decoder="opencv",
        can_use_gate_decoder=False,
    ),
}
PEERS = tuple(_PEERS)
WITH_GATE_DECODER = tuple(name for name, one in _PEERS.items() if one.can_use_gate_decoder)
"""Peers in Python, which can call this project's decoder."""
_ENVIRONMENT = {
    # Telemetry is off.
    "BENTOML_DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    # Ray Serve reads these on import.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
}


def peer_versions() -> str:
    """For the table header."""
    versions = (f"{one.distribution} {version_of(name, one.distribution)}" for name, one in _PEERS.items())
    return "peers: " + ", ".join(versions)


def peer(
    name: str, *, decoder: str, model: Path, folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Contender:
    """One of `PEERS` with `decoder` `usual` or, for `WITH_GATE_DECODER`, `gate`, installed into `folder` if missing.

    `settings` are environment variables that its server file names; its defaults are the best that `tuning` found.

    Raises:
        InstallError: it cannot be installed.
    """
    chosen = _PEERS[name]
    python = str(python_of(name, folder))
    script = [str(ROOT / f"bench/serving/peers/{name}_server.py")]
    arguments = chosen.arguments or (lambda _: script)
    environment = {
        "PEER_MODEL": str(model),
        "PEER_DECODER": chosen.decoder if decoder == "usual" else decoder,
        **_ENVIRONMENT,
        **settings,
    }
    return Contender(
        chosen.title,
        lambda port: [python, *arguments(port)],
        chosen.post,
        chosen.probability,
        environment,
    )
