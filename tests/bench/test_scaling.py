"""Scaling: the simulation against queueing theory and the gate's own bounds, and the cost model's arithmetic."""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

import pytest

from bench.scaling.arrivals import Arrival, Mix, Work, work_of
from bench.scaling.balancers import BALANCERS, OUT, Balancer, LeastConnections, RoundRobin, TwoChoices
from bench.scaling.costs import Fleet, Monitoring, RouteCost, a_day, bulk_cores, bulk_dollars, record_rate, stored
from bench.scaling.inputs import Inputs
from bench.scaling.measured import Bulk, Database, Route
from bench.scaling.replica import ANSWERED, EXPIRED, LOST, REFUSED
from bench.scaling.scenarios import Scenario, ScenarioOutcome, percentile
from bench.scaling.simulation import Cluster, FailurePolicy, Outage, SimulatedAnswer
from bench.scaling.simulation import simulate as run
from service.settings import Settings

MEAN = 0.01
# No bound is ever reached, and no answer waits for others.
UNBOUNDED = Settings(max_inflight_images=10**9, max_inflight_bytes=10**15, timeout_ms=10**9, max_batch_delay_ms=0)
IMAGES = 40_000


def exponential(rng: random.Random) -> float:
    return rng.expovariate(1 / MEAN)


def constant(_: random.Random) -> float:
    return MEAN


def seconds_in_system(
    balancer: Balancer,
    *,
    load: float,
    draw: Callable[[random.Random], float] = exponential,
    replicas: int = 1,
    cores: int = 1,
) -> float:
    """The mean from arrival to answer, in mean service times, after a warm-up."""
    mix = Mix([(1.0, Work(1, draw, MEAN))])
    rate = load * replicas * cores / MEAN
    arrivals = mix.arrivals(random.Random(7), rate=rate, seconds=IMAGES / rate)
    answers = run(Cluster([1.0] * replicas, cores, UNBOUNDED), balancer, arrivals)
    assert {answer.status for answer in answers} == {ANSWERED}
    return fmean(answer.seconds for answer in answers[IMAGES // 20 :]) / MEAN


def erlang_c(servers: int, load: float) -> float:
    """The probability that all of M/M/c are busy."""
    offered = servers * load
    busy = offered**servers / math.factorial(servers) / (1 - load)
    return busy / (sum(offered**number / math.factorial(number) for number in range(servers)) + busy)


def root_of_gi_m_1(phases: int, load: float) -> float:
    """The sigma of GI/M/1 whose arrivals are each `phases`-th of a Poisson process."""
    sigma = load
    for _ in range(200):
        rate = phases * load
        sigma = (rate / (rate + 1 - sigma)) ** phases
    return sigma


def test_one_core_waits_as_m_m_1_does() -> None:
    assert seconds_in_system(RoundRobin(), load=0.6) == pytest.approx(1 / (1 - 0.6), rel=0.04)


def test_one_core_with_equal_images_waits_as_m_d_1_does() -> None:
    wanted = 1 + 0.7 / (2 * (1 - 0.7))
    assert seconds_in_system(RoundRobin(), load=0.7, draw=constant) == pytest.approx(wanted, rel=0.04)


def test_several_cores_wait_as_m_m_c_does() -> None:
    wanted = 1 + erlang_c(4, 0.8) / (4 * (1 - 0.8))
    assert seconds_in_system(RoundRobin(), load=0.8, cores=4) == pytest.approx(wanted, rel=0.04)


def test_each_of_those_in_turn_waits_as_gi_m_1_does() -> None:
    wanted = 1 / (1 - root_of_gi_m_1(4, 0.8))
    assert seconds_in_system(RoundRobin(), load=0.8, replicas=4) == pytest.approx(wanted, rel=0.04)


def test_two_choices_wait_as_mitzenmacher_says_of_many() -> None:
    wanted = sum(0.7 ** (2**place - 2) for place in range(1, 12))
    assert seconds_in_system(TwoChoices(), load=0.7, replicas=100) == pytest.approx(wanted, rel=0.04)


def test_least_connections_are_better_than_all_others_but_one_queue() -> None:
    one_queue = 1 + erlang_c(4, 0.9) / (4 * (1 - 0.9))
    least, two, turns = (
        seconds_in_system(make(), load=0.9, replicas=4) for make in (LeastConnections, TwoChoices, RoundRobin)
    )
    assert one_queue < least < two < turns


class Watcher:
    """Sends everything to the first, and notes how many it had when another one came."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def pick(self, connections: Sequence[int]) -> int:
        self.seen.append(connections[0])
        return 0


def test_an_arrival_sees_the_queue_of_little_s_law() -> None:
    watcher = Watcher()
    seconds = seconds_in_system(watcher, load=0.7, cores=2)
    assert fmean(watcher.seen) == pytest.approx(0.7 * 2 * seconds, rel=0.03)


def at(*times: float, seconds: float = 0.1, size: int = 1) -> list[Arrival]:
    return [Arrival(time, size, seconds) for time in times]


def alone(settings: Settings, arrivals: Sequence[Arrival], cores: int = 1) -> list[SimulatedAnswer]:
    return run(Cluster([1.0], cores, settings), RoundRobin(), arrivals)


def test_bytes_in_flight_are_bounded_as_the_gate_bounds_them() -> None:
    settings = Settings(max_batch_delay_ms=0)
    room = settings.max_inflight_bytes // 2**20
    answers = alone(settings, at(*[0.0] * (room + 5), seconds=0.001, size=2**20))
    assert Counter(answer.status for answer in answers) == {ANSWERED: room, REFUSED: 5}


def test_late_images_are_refused_once_the_service_time_is_known() -> None:
    settings = Settings(timeout_ms=350, max_batch_delay_ms=0)
    answers = alone(settings, at(0.0, *[0.2] * 10))
    # A wait of 0.3 s is in time, and the image's own 0.1 s is not counted: the last arrival is too late.
    assert Counter(answer.status for answer in answers) == {ANSWERED: 4, EXPIRED: 1, REFUSED: 6}


def test_expired_images_in_the_queue_take_no_core() -> None:
    answers = alone(Settings(timeout_ms=350, max_batch_delay_ms=0), [*at(*[0.0] * 6), *at(0.41)])
    found = sorted((round(answer.sent + answer.seconds, 3), answer.status) for answer in answers)
    assert found == [(0.1, 200), (0.2, 200), (0.3, 200), (0.4, 504), (0.4, 504), (0.4, 504), (0.51, 200)]


def test_answers_wait_for_a_fuller_batch_while_images_wait_for_a_core() -> None:
    ended = [answer.seconds for answer in alone(Settings(), at(*[0.0] * 8, seconds=0.006))]
    # The first waits for 20 ms; from 0.042 s on no image waits for a core.
    assert ended == pytest.approx([0.026] * 4 + [0.042] * 3 + [0.048])


def test_work_is_drawn_as_it_was_measured() -> None:
    work = work_of(ROUTE)
    rng = random.Random(3)
    drawn = [work.draw(rng) for _ in range(20_000)]
    # 10 ms in all: from 4 to 8 ms of decoding with a mean of 5.5, and 4.5 of all else.
    assert work.mean == pytest.approx(0.01)
    assert fmean(drawn) == pytest.approx(0.01, rel=0.005)
    assert 0.0085 <= min(drawn) < 0.0086
    assert 0.0124 < max(drawn) <= 0.0125
    assert work.size == 1_000_000


def test_images_are_mixed_and_come_in_bursts() -> None:
    mix = Mix([(0.75, Work(1, constant, 0.01)), (0.25, Work(2, constant, 0.03))])
    assert mix.mean == pytest.approx(0.015)
    found = list(mix.arrivals(random.Random(1), rate=100, seconds=100, burst=10))
    assert len(found) == pytest.approx(10_000, rel=0.1)
    assert fmean(arrival.size == 1 for arrival in found) == pytest.approx(0.75, rel=0.05)
    assert set(Counter(arrival.time for arrival in found).values()) == {10}


def test_a_simulation_is_the_same_each_time() -> None:
    scenario = Scenario(Cluster([1.0, 0.5]), 0.8, burst=4, window=(1.0, 5.0))
    for make in BALANCERS.values():
        assert scenario.run(make(), MIX) == scenario.run(make(), MIX)


def test_balancers_pick_by_their_method() -> None:
    turns, least = RoundRobin(), LeastConnections()
    assert [turns.pick([5, 0, OUT]) for _ in range(4)] == [0, 1, 0, 1]
    assert [least.pick([2, 1, 1]) for _ in range(4)] == [1, 2, 1, 2]
    assert least.pick([0, 1 + OUT, 3]) == 0
    two = TwoChoices()
    picked = Counter(two.pick([3, 2, 1]) for _ in range(3_000))
    # Of two different ones the worst is never the better.
    assert picked[0] == 0
    assert picked[2] == pytest.approx(2_000, rel=0.1)
    assert {two.pick([OUT, OUT, 7]) for _ in range(50)} == {2}
    assert two.pick([9]) == 0


def stopping(balancer: Balancer, policy: FailurePolicy) -> ScenarioOutcome:
    outages = [Outage(0, start=1.0, seconds=4.0)]
    return Scenario(Cluster([1.0] * 4, outages=outages, policy=policy), 0.4, window=(1.0, 5.0)).run(balancer, MIX)


def test_requests_of_a_dead_replica_are_retried_on_others() -> None:
    for make in BALANCERS.values():
        assert stopping(make(), FailurePolicy()).share(ANSWERED) == 1.0


def test_a_dead_replica_attracts_images_without_health_checks() -> None:
    no_policy = FailurePolicy(retries=False, max_fails=math.inf)
    turns, least = (stopping(make(), no_policy).share(LOST) for make in (RoundRobin, LeastConnections))
    assert turns == pytest.approx(0.25, abs=0.01)
    assert least > 1.3 * turns


def test_after_some_failures_a_replica_is_left_out_for_a_while() -> None:
    outages = [Outage(0, start=0.0, seconds=100.0)]
    cluster = Cluster([1.0, 1.0], 1, UNBOUNDED, outages, FailurePolicy(retries=False, max_fails=3, fail_timeout=2.05))
    answers = run(cluster, RoundRobin(), at(*(number / 10 for number in range(1, 60)), seconds=0.001))
    lost = [answer.sent for answer in answers if answer.status == LOST]
    # Every second image, until three are lost; again once 2.05 s are over.
    assert lost == pytest.approx([0.1, 0.3, 0.5, 2.6, 2.8, 3.0, 5.1, 5.3, 5.5])


def test_images_are_lost_without_replicas() -> None:
    outages = [Outage(number, start=0.5, seconds=1.0) for number in (0, 1)]
    answers = run(Cluster([1.0, 1.0], outages=outages), LeastConnections(), at(0.4, 0.9, 1.0, 4.0, seconds=0.2))
    assert [answer.status for answer in answers] == [LOST, LOST, LOST, ANSWERED]


def test_a_slow_replica_delays_images_under_round_robin() -> None:
    scenario = Scenario(Cluster([0.5, 1.0, 1.0, 1.0]), 0.7)
    turns, least = (scenario.run(make(), MIX) for make in (RoundRobin, LeastConnections))
    assert turns.share(REFUSED) > 0
    assert least.share(REFUSED) == 0
    assert turns.milliseconds(0.99) > 5 * least.milliseconds(0.99)


def test_an_empty_outcome_is_nan() -> None:
    outcome = ScenarioOutcome.of([])
    assert math.isnan(outcome.share(ANSWERED))
    assert math.isnan(outcome.milliseconds(0.5))
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0


INPUTS = Inputs(load=0.5)
ROUTE = Route(
    title="PNG file",
    images_per_request=1,
    cpu_ms=10.0,
    loop_ms=2.0,
    decode_ms=(4.0, 5.0, 8.0),
    request_bytes=1e6,
    answer_bytes=500.0,
    balancer_ms=0.5,
)
WAY = RouteCost(ROUTE, 0.25, INPUTS)
MIX = Mix([(1.0, work_of(ROUTE))])


def test_replicas_follow_from_the_peak() -> None:
    fleet = Fleet(WAY, 8_640_000)
    assert fleet.peak == 300.0
    assert WAY.replica_rate == 200.0
    # 300 of 200 a replica at one half: three, and one to spare.
    assert (fleet.replicas, fleet.cores) == (4, 8)
    assert fleet.standing == pytest.approx(8 * 24 * 0.04)
    assert fleet.following == pytest.approx(8_640_000 * 0.01 / 0.5 / 3600 * 0.04)
    assert fleet.gigabytes == pytest.approx(8_640_000 * 1_000_500 / 1e9)
    assert fleet.moved == pytest.approx(fleet.gigabytes * 0.01)
    assert fleet.inflow == pytest.approx(0.3)
    assert fleet.links == 1
    assert Fleet(WAY, 86_400_000).links == 6
    assert fleet.proxy_cores == pytest.approx(300 * 0.5e-3 / 0.5)
    assert Fleet(RouteCost(ROUTE.model_copy(update={"balancer_ms": None}), 0.25, INPUTS), 1.0).proxy_cores is None


def test_each_worker_has_one_event_loop() -> None:
    way = RouteCost(ROUTE.model_copy(update={"cpu_ms": 0.5, "loop_ms": 0.2}), 0.2, INPUTS)
    assert way.replica_rate == pytest.approx(4_000)  # Two cores, each 2,000.
    assert way.machine_rate(8) == pytest.approx(5_000)  # The one event loop.
    assert way.machine_rate(9) == pytest.approx(10_000)  # Two workers.
    assert way.machine_rate(16) == pytest.approx(10_000)
    assert WAY.machine_rate(5) == pytest.approx(500)


def test_a_gpu_is_worth_as_many_cores_as_it_costs() -> None:
    assert WAY.gpu_rate == pytest.approx(2.5 / 0.04 / 0.00025)
    assert WAY.gpu_cores == pytest.approx(250_000 * 0.00975)
    assert WAY.gpu_inflow == pytest.approx(250.0)


def test_the_rest_of_the_plan_counts_too() -> None:
    one = Bulk(title="bulk", bulk_ms=9.0)
    assert bulk_cores(one, 8_640_000, INPUTS) == pytest.approx(100 * 0.009 / 0.9)
    assert bulk_dollars(one, 8_640_000, INPUTS) == pytest.approx(24 * 0.04)
    assert a_day(100.0, INPUTS) == pytest.approx(100 * 0.5 / 3 * 86_400)
    assert stored(1000.0, INPUTS) == pytest.approx(23 * 12 / 365)
    monitoring = Monitoring(10, 1_500, INPUTS)
    assert (monitoring.series, monitoring.samples) == (15_000, 1_000)
    assert monitoring.gigabytes == pytest.approx(1_000 * 2 * 15 * 86_400 / 1e9)
    database = Database(
        title="d", rows=100, row_bytes=1, insert_ms=0.1, count_seconds=0.2, prune_rows=1_000, prune_seconds=0.3
    )
    # Ten times as many take ten times as long to count: 1.8 s more for each 1,000.
    assert record_rate(database, 1_000) == pytest.approx(1 / (0.0001 + 2.1 / 1_000))
