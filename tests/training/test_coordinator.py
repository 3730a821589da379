"""The chief reassigns trials of dead workers, counts each trial once, and lets no worker wait forever."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from keras_tuner.engine.trial import Trial as TunerTrial
from keras_tuner.errors import FatalError
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_client

from bench.serving.processes import free_port
from common.errors import StorageError
from common.storage import AnyPath
from training.errors import RecordsError, SearchError
from training.search import coordinator as module
from training.search.coordinator import LEASE, PATIENCE, ChiefClient, ChiefService, serve
from training.search.oracles import ORACLE_FILE, SingleFileOracle, listed

# Keras Tuner's locks call two names that Python is about to retire.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning")

SERVICE = protos.get_service()


class RefusedError(grpc.RpcError):  # type: ignore[misc,unused-ignore]
    """The error that a worker gets instead of an answer."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


class Call:
    """A call as a server sees it."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise RefusedError(code, details)


class Machines:
    """A chief and its workers, and a clock that stands still."""

    def __init__(self, folder: AnyPath, trials: int = 2) -> None:
        self.folder, self.trials, self.now = folder, trials, 0.0
        self.start()

    def start(self) -> None:
        """The chief, restored from its saved state."""
        self.oracle = an_oracle(self.folder, self.trials)
        if (self.folder / ORACLE_FILE).is_file():
            self.oracle.reload()
        self.chief = ChiefService(self.oracle, clock=lambda: self.now)

    def ask(self, worker: str) -> str:
        """What `worker` is to run, or `IDLE` or `STOPPED`."""
        answer = self.chief.CreateTrial(SERVICE.CreateTrialRequest(tuner_id=worker), Call())
        trial = TunerTrial.from_proto(answer.trial)
        return str(trial.trial_id if trial.status == "RUNNING" else trial.status)

    def beat(self, trial: str) -> None:
        self.chief.GetTrial(SERVICE.GetTrialRequest(trial_id=trial), Call())

    def report(self, trial: str, loss: float) -> None:
        request = SERVICE.UpdateTrialRequest(trial_id=trial, metrics={"log_loss": loss}, step=0)
        self.chief.UpdateTrial(request, Call())

    def end(self, trial: str, loss: float = 0.5) -> None:
        self.report(trial, loss)
        self.end_as_reported(trial)

    def end_as_reported(self, trial: str) -> None:
        ended = TunerTrial(self.oracle.get_space(), trial_id=trial, status="COMPLETED")
        self.chief.EndTrial(SERVICE.EndTrialRequest(trial=ended.to_proto()), Call())

    @property
    def losses(self) -> dict[str, float]:
        """Return the ended trials, each once."""
        assert len(set(self.oracle.end_order)) == len(self.oracle.end_order)
        return {name: self.oracle.trials[name].score for name in self.oracle.end_order}


def an_oracle(folder: AnyPath, trials: int = 2) -> SingleFileOracle:
    oracle = listed([{"value": value} for value in range(trials)], key="one")
    oracle.folder = folder
    oracle.verbose = 0
    return oracle


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def test_all_trials_are_run_and_every_worker_is_told(machines: Machines) -> None:
    assert (machines.ask("a"), machines.ask("b")) == ("0", "1")
    machines.end("1", 0.1)
    assert machines.ask("b") == "IDLE", "the other may leave its trial"
    machines.end("0", 0.2)
    assert not machines.chief.is_done()
    assert machines.ask("a") == "STOPPED"
    assert not machines.chief.is_done(), "it would leave the other without an answer"
    assert machines.ask("b") == "STOPPED"
    assert machines.chief.is_done()
    assert machines.losses == {"1": 0.1, "0": 0.2}


def test_trial_of_a_silent_worker_is_reassigned_and_counted_once(
    machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.ask("a")
    machines.ask("b")
    for _ in range(3):
        machines.now += LEASE
        machines.beat("1")
    machines.end("1")
    assert machines.ask("b") == "0"
    assert "trial 0 is reassigned: a is silent" in capsys.readouterr().err
    machines.end("0", 0.3)
    # The first was not dead: its network was.
    machines.end("0", 0.4)
    assert machines.losses == {"1": 0.5, "0": pytest.approx(0.3)}
    assert (machines.ask("a"), machines.ask("b")) == ("STOPPED", "STOPPED")


def test_slow_save_of_the_chief_does_not_count_against_its_workers(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.ask("a")
    machines.ask("b")
    save = SingleFileOracle.save

    def slow_save(oracle: SingleFileOracle) -> None:
        machines.now += 2 * LEASE
        save(oracle)

    with monkeypatch.context() as patch:
        patch.setattr(SingleFileOracle, "save", slow_save)
        machines.end("0")
    assert machines.ask("a") == "IDLE", "the other was at work, and could not say so"
    machines.now += LEASE + 1
    assert machines.ask("a") == "1"


def test_late_result_of_a_reassigned_trial_is_counted_once(machines: Machines) -> None:
    machines.ask("a")
    machines.now += LEASE + 1
    assert machines.ask("b") == "0"
    machines.end("0", 0.3)
    machines.end("0", 0.4)
    assert machines.losses == {"0": pytest.approx(0.3)}
    assert (machines.ask("a"), machines.ask("b")) == ("1", "IDLE")


def test_a_trial_that_ends_before_another_takes_it_is_not_taken(machines: Machines) -> None:
    machines.ask("a")
    machines.ask("b")
    machines.now += LEASE + 1
    assert machines.ask("c") == "1"
    machines.end("0")
    machines.end("1")
    assert machines.ask("c") == "STOPPED"
    assert machines.losses.keys() == {"0", "1"}


def test_a_worker_that_is_started_again_goes_on_with_its_trial(machines: Machines) -> None:
    machines.ask("a")
    machines.report("0", 0.9)
    assert machines.ask("a") == "0"
    machines.end("0", 0.1)
    assert machines.losses == {"0": pytest.approx(0.1)}, "and not the mean of what the two reported"


def test_an_end_that_another_chief_is_told_counts(machines: Machines) -> None:
    machines.ask("a")
    machines.report("0", 0.1)
    machines.start()
    machines.end_as_reported("0")
    machines.end_as_reported("0")
    assert machines.losses == {"0": pytest.approx(0.1)}


def test_an_end_between_two_runs_of_a_trial_is_not_its_end(machines: Machines) -> None:
    """A worker is stopped just after it reported, for so long that another has the trial."""
    machines.ask("a")
    machines.report("0", 0.1)
    machines.now += LEASE + 1
    assert machines.ask("b") == "0"
    machines.end_as_reported("0")
    assert not machines.losses
    machines.end("0", 0.2)
    assert machines.losses == {"0": pytest.approx(0.2)}


def test_idle_worker_that_died_does_not_keep_the_chief_running(machines: Machines) -> None:
    machines.ask("a")
    machines.ask("b")
    machines.end("1")
    assert machines.ask("b") == "IDLE"
    machines.now += LEASE
    machines.end("0")
    assert machines.ask("a") == "STOPPED"
    assert not machines.chief.is_done()
    machines.now += 1
    assert machines.chief.is_done()


def test_restarted_chief_keeps_the_trials_of_its_workers(machines: Machines) -> None:
    machines.ask("a")
    machines.ask("b")
    machines.start()
    machines.now += LEASE
    assert machines.ask("b") == "1"
    machines.end("0", 0.2)
    assert machines.losses == {"0": pytest.approx(0.2)}
    machines.now += 1
    assert machines.ask("c") == "IDLE"
    machines.now += LEASE
    assert machines.ask("c") == "1"


def test_restarted_chief_of_a_finished_search_ends_after_the_lease(machines: Machines) -> None:
    for trial in ("0", "1"):
        machines.ask("a")
        machines.end(trial)
    assert machines.ask("a") == "STOPPED"
    machines.start()
    assert not machines.chief.is_done(), "a worker that was not told may still come"
    assert machines.ask("b") == "STOPPED"
    assert machines.chief.is_done()
    machines.start()
    machines.now += LEASE + 1
    assert machines.chief.is_done()


def test_more_trials_are_chosen_after_an_end(machines: Machines) -> None:
    for trial in ("0", "1"):
        machines.ask("a")
        machines.end(trial)
    machines.ask("a")
    machines.trials = 3
    machines.start()
    assert machines.ask("a") == "2"


def test_one_machine_takes_over_what_several_began(machines: Machines) -> None:
    machines.ask("a")
    machines.ask("b")
    machines.start()
    for worker in ("a", "b"):
        machines.oracle.release(worker)
    assert {machines.ask("tuner0")} <= {"0", "1"}


def test_a_trial_of_another_search_is_refused_and_the_others_go_on(machines: Machines) -> None:
    with pytest.raises(RefusedError) as refused:
        machines.end("7")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(RefusedError, match="unknown trial"):
        machines.beat("7")
    assert machines.ask("a") == "0"


def test_chief_that_cannot_save_refuses_every_worker_and_fails(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: SingleFileOracle) -> None:
        raise StorageError("no such bucket")

    with monkeypatch.context() as patch:
        patch.setattr(SingleFileOracle, "save", fail)
        with pytest.raises(RefusedError):
            machines.ask("a")
    with pytest.raises(RefusedError) as refused:
        machines.ask("b")
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(StorageError, match="no such bucket"):
        machines.chief.is_done()
    machines.start()
    assert machines.ask("a") == "0"


def test_a_chief_without_a_worker_gives_up(machines: Machines) -> None:
    machines.ask("a")
    machines.now += PATIENCE
    assert not machines.chief.is_done()
    machines.now += 1
    with pytest.raises(SearchError, match="no worker called"):
        machines.chief.is_done()


def test_the_folder_of_another_experiment_is_refused(machines: Machines) -> None:
    machines.ask("a")
    other = listed([{"value": 0}], key="two")
    other.folder = machines.folder
    with pytest.raises(RecordsError, match="another experiment"):
        other.reload()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "a")


@pytest.mark.usefixtures("address")
def test_an_address_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "192.0.2.1")
    with pytest.raises(SearchError, match=r"192\.0\.2\.1:1, check KERASTUNER_ORACLE_IP"):
        serve(an_oracle(tmp_path))


@pytest.mark.usefixtures("address")
def test_a_second_chief_at_the_address_of_the_first_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = grpc.server(ThreadPoolExecutor(1))
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(first.add_insecure_port("127.0.0.1:0")))
    first.start()
    monkeypatch.setattr(module, "PATIENCE", -1)
    with pytest.raises(SearchError, match="the chief cannot listen"):
        serve(an_oracle(tmp_path))
    first.stop(None).wait()


@pytest.mark.usefixtures("address")
def test_chief_and_worker_speak_over_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free_port()))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # Where one of the two fails, the other does not wait for an hour.
    monkeypatch.setattr(module, "PATIENCE", 60)
    monkeypatch.setattr(oracle_client, "TIMEOUT", 60)
    oracle = an_oracle(tmp_path, 1)
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, oracle)
        worker = ChiefClient(an_oracle(tmp_path))
        trial = worker.create_trial("a")
        assert trial.hyperparameters.values["value"] == 0
        with worker.beating(trial.trial_id):
            worker.update_trial(trial.trial_id, {"log_loss": 0.25})
        with pytest.raises(FatalError):
            worker.get_trial("7")
        trial.status = "COMPLETED"
        worker.end_trial(trial)
        worker.end_trial(trial)
        assert worker.create_trial("a").status == "STOPPED"
        served.result(300)
    assert oracle.trials["0"].score == 0.25


@pytest.fixture
def client(address: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ChiefClient]:
    """Connect a worker to a chief with scripted answers, error codes or return values, or with a function."""
    del address
    monkeypatch.setattr(module, "POLL", 0)

    def connected(*answers: Any, function: Callable[..., Any] | None = None) -> ChiefClient:
        given = iter(answers)

        def answer(*_: object, **__: object) -> Any:
            found = next(given)
            if isinstance(found, grpc.StatusCode):
                raise RefusedError(found, "unknown trial 0")
            return found

        stub = SimpleNamespace(GetTrial=function or answer)
        monkeypatch.setattr("training.search.coordinator.rpc.OracleStub", lambda _: stub)
        return ChiefClient(an_oracle(tmp_path))

    return connected


def an_answer() -> Any:
    trial = TunerTrial(listed([], key="one").get_space(), trial_id="0")
    return SERVICE.GetTrialResponse(trial=trial.to_proto())


def test_a_worker_asks_again_where_the_chief_went(client: Callable[..., ChiefClient]) -> None:
    gone = grpc.StatusCode.UNAVAILABLE
    assert client(gone, gone, an_answer()).get_trial("0").trial_id == "0"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "no chief has answered at 127.0.0.1:1"),
        (grpc.StatusCode.UNAVAILABLE, "no chief has answered at 127.0.0.1:1"),
        (grpc.StatusCode.NOT_FOUND, "unknown trial 0; start this worker again"),
    ],
)
def test_worker_that_gives_up_names_the_reason(
    client: Callable[..., ChiefClient], monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, text: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE", -1)
    with pytest.raises(FatalError) as error:
        client(code).get_trial("0")
    assert isinstance(error.value.__cause__, SearchError)
    assert text in str(error.value.__cause__)


def test_a_trial_that_is_run_is_heard_of_though_an_answer_fails(
    client: Callable[..., ChiefClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.001)
    answered = iter([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, an_answer()])
    heard = threading.Event()

    def answer(request: Any, *, timeout: float) -> None:
        assert (request.trial_id, timeout) == ("0", 0.001)
        found = next(answered, None)
        if isinstance(found, grpc.StatusCode):
            raise RefusedError(found)
        heard.set()

    with client(function=answer).beating("0"):
        assert heard.wait(300)
