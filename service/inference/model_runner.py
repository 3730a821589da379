"""One version of the model in service: its card, its band and its inference threads."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gate import Card, Decision, Label
from gate.scorer import CPU, Score
from service.inference.batcher import Batcher, BatchObserver, CanScore
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified and warmed model; `provider` is the execution provider that runs it."""

    card: Card
    scorer: CanScore
    provider: str


class ModelRunner:
    """Scores and decides with one version. A request keeps the runner it began with, even after a swap.

    Each request enters it with `with`; after `retire`, the last request to leave ends the inference threads.

    Args:
        loaded: the model.
        settings: batch sizes, and the operator's band, which overrides the card's.
        observer: receives waits and batches.
        backlog: seconds of decoding that are queued.
        threads: runs of the model at a time on the CPU; a GPU makes one.
        prepare: called in each inference thread, before its first run.

    Raises:
        SettingsError: the operator's edges and the card's do not form a band.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: Settings,
        *,
        observer: BatchObserver,
        threads: int = 1,
        backlog: Callable[[], float] = lambda: 0.0,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.card = loaded.card
        self.provider = loaded.provider
        self.band = settings.band(loaded.card.band)
        self.batcher = Batcher(
            loaded.scorer,
            observer,
            max_batch_size=settings.max_batch_size,
            threads=threads if loaded.provider == CPU else 1,
            max_batch_delay=settings.max_batch_delay_ms / 1000,
            backlog=backlog,
            prepare=prepare,
        )
        self._users = 0
        self._retired = False

    def start(self) -> None:
        """Start the inference threads."""
        self.batcher.start()

    @property
    def size(self) -> int:
        """Edge length of the model's input in pixels."""
        return self.card.input.size

    def decide(self, score: Score, expected: Label | None) -> Decision:
        """Accept or discard by this version's band and novelty threshold."""
        return self.card.decide(score.probability, score.novelty, band=self.band, expected=expected)

    def retire(self) -> None:
        """End the inference threads once no request uses them; another version is served from now on."""
        self._retired = True
        self._end_if_unused()

    def close(self, *, timeout: float) -> None:
        """End the inference threads; wait at most `timeout` seconds for that."""
        self.batcher.close(timeout=timeout)

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._retired and not self._users:
            self.close(timeout=0.0)
