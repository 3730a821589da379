"""The one module that uses private parts of Keras Tuner; pyproject.toml bounds its version.

Keras Tuner 1.4 exports neither the gRPC service nor the client of its distributed search, and subclasses of its oracle
and tuner have no public hook for retries, storage and roles. Test a new release with `tests/training/test_search.py`,
`test_coordinator.py` and `test_machines.py` before raising the bound.
"""

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from keras_tuner.src import config, protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.distribute.utils import is_chief_oracle

__all__ = ["AdaptedOracle", "AdaptedTuner", "OracleClient", "OracleServicer", "Trial", "is_chief", "messages", "rpc"]

# Without it, a failed trial prints its traceback.
config.DEBUG = False

messages = protos.get_service()
"""Messages of the protocol between chief and workers."""

rpc = protos.get_service_grpc()
"""Stub and registration function of that protocol."""


def is_chief() -> bool:
    """Whether Keras Tuner's environment variables make this process the chief."""
    return bool(is_chief_oracle())


class AdaptedOracle(keras_tuner.Oracle):  # type: ignore[misc,unused-ignore]
    """An oracle with access to its retry queue that does not write one file per trial."""

    ongoing_trials: dict[str, Trial]

    @property
    def retry_queue(self) -> list[str]:
        """Names of the trials that wait for another worker, oldest first."""
        queue: list[str] = self._retry_queue
        return queue

    def _save_trial(self, trial: Trial) -> None:
        """Skip: `save`, which always follows, stores all trials."""


class AdaptedTuner(BaseTuner):  # type: ignore[misc,unused-ignore]
    """A tuner that knows its role and has no state file of its own."""

    @property
    def is_worker(self) -> bool:
        """Whether a chief on another machine chooses the trials."""
        return bool(self._is_worker())

    def _get_tuner_fname(self) -> str:
        # BaseTuner.__init__ checks whether this file exists, with a call that cannot read object storage.
        return ""
