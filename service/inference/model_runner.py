"""One version of the model at work: its card, its band and its inference thread."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gate import Card, Decision, Label, decide
from gate.scorer import Score
from service.inference.batcher import Batcher, BatchObserver, CanScore
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that was verified and warmed; `provider` runs it."""

    card: Card
    scorer: CanScore
    provider: str


class ModelRunner:
    """Scores and decides with one version. A request that began with it ends with it, whatever is served by then.

    Entered once for each request; after `retire` the last one to leave ends the inference thread.

    Args:
        loaded: the model.
        settings: batch sizes, and the operator's band over the card's.
        observer: is told of waits and batches.
        backlog: seconds of decoding that wait for a thread.
        prepare: is called once in the inference thread before anything else.

    Raises:
        SettingsError: the operator's band and the card's together are none.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: Settings,
        *,
        observer: BatchObserver,
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
            max_batch_delay=settings.max_batch_delay_ms / 1000,
            backlog=backlog,
            prepare=prepare,
        )
        self._users = 0
        self._retired = False

    def start(self) -> None:
        """Start the inference thread."""
        self.batcher.start()

    @property
    def size(self) -> int:
        """Edge of the model's input in pixels."""
        return self.card.input.size

    def decide(self, score: Score, expected: Label | None) -> Decision:
        """Accept or discard by this version's band and novelty threshold."""
        return decide(
            score.probability,
            self.band,
            novelty=score.novelty,
            novelty_threshold=self.card.novelty_limit,
            expected=expected,
        )

    def retire(self) -> None:
        """Another version is served from now on."""
        self._retired = True
        self._end_if_unused()

    def close(self, *, timeout: float) -> None:
        """End the inference thread; wait for that so many seconds at most."""
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
