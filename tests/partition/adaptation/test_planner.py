"""The choice for each request, and the estimates that it rests on, on made-up links with known figures."""

import numpy as np
import pytest

from partition.adaptation.conditions import Conditions
from partition.adaptation.estimators import ConditionEstimator, LinkEstimator, Observation, SlowdownEstimator
from partition.adaptation.planner import MESSAGE_BYTES, Planner
from partition.plan_records import PlanChoice, PlanMessage, PlanStage

PLANNED = Conditions(10e6, 20e6, 0.04)


def placement(device_s, server_s, up_bytes, down_bytes):
    stages = [PlanStage("device", (0,), 1, device_s)]
    messages = []
    if server_s:
        stages += [PlanStage("server", (1,), 1, server_s), PlanStage("device", (), 0, 0.0)]
        messages = [
            PlanMessage(0, "uplink", ("t",), up_bytes - MESSAGE_BYTES, 0.0, 0.0),
            PlanMessage(1, "downlink", ("y",), down_bytes - MESSAGE_BYTES, 0.0, 0.0),
        ]
    return PlanChoice(tuple(stages), tuple(messages))


ALL_DEVICE, MIDDLE, ALL_SERVER = placement(1.0, 0, 0, 0), placement(0.3, 0.05, 1e5, 1e3), placement(0, 0.1, 1e6, 1e3)


def test_the_cheapest_placement_is_chosen():
    planner = Planner([ALL_DEVICE, MIDDLE, ALL_SERVER], hysteresis=0.0)
    assert planner.choose(Conditions(1e5, 1e5, 0.04)) == 0
    assert planner.choose(Conditions(10e6, 10e6, 0.04)) == 1
    assert planner.choose(Conditions(1e9, 1e9, 0.04)) == 2
    assert planner.choose(Conditions(1e9, 1e9, 0.04, server_slowdown=20)) == 0
    assert planner.choose(Conditions(1e9, 1e9, 0.04), allowed=[0, 1]) == 1


def test_figures_add_up():
    terms = Planner([MIDDLE]).terms[0]
    expected = 0.3 * 2 + 0.05 * 3 + 1e5 * 8 / 10e6 + 1e3 * 8 / 20e6 + 0.04
    assert terms.latency_s(Conditions(10e6, 20e6, 0.04, 2.0, 3.0)) == pytest.approx(expected)
    assert terms.bottleneck_s(Conditions(1e6, 20e6, 0.04, 2.0, 3.0)) == pytest.approx(0.8)


def test_a_small_gain_does_not_switch():
    planner = Planner([MIDDLE, ALL_SERVER], hysteresis=0.05)
    even = Conditions(28.8e6, 28.8e6, 0.04)  # both take 0.4186 s
    assert planner.choose(Conditions(5e6, 5e6, 0.04)) == 0
    assert planner.choose(even) == 0
    assert planner.choose(Conditions(30e6, 30e6, 0.04)) == 0
    assert planner.choose(Conditions(60e6, 60e6, 0.04)) == 1
    assert planner.choose(Conditions(30e6, 30e6, 0.04)) == 1


def test_a_rate_asks_for_throughput_where_latency_would_not_keep_up():
    planner = Planner([ALL_DEVICE, MIDDLE, ALL_SERVER], hysteresis=0.0)
    now = Conditions(10e6, 10e6, 0.04)
    assert planner.choose_for_rate(now, 0.5) == planner.choose(now) == 1
    fast = Conditions(60e6, 60e6, 0.04)
    assert planner.choose(fast) == 2
    assert planner.choose_for_rate(fast, 3.0) == 2
    assert planner.choose_for_rate(fast, 1000.0) == 2  # 0.13 s against 0.3 s: none keeps up, this comes nearest
    assert planner.choose_for_rate(Conditions(10e6, 10e6, 0.04), 1000.0) == 1


def transfer(now_s, uplink, downlink, rtt_s, sent, received, server_s, *, cold=False):
    return Observation(
        now_s, rtt_s + sent * 8 / uplink + server_s, received * 8 / downlink, sent, received, server_s, cold
    )


def test_a_steady_link_is_found():
    link = LinkEstimator(PLANNED)
    for number in range(20):
        link.observe(transfer(number, 3e6, 12e6, 0.015, 200, 200, 0.0))
        link.observe(transfer(number + 0.5, 3e6, 12e6, 0.015, 300_000, 90_000, 0.02))
    assert link.uplink_bits_per_s == pytest.approx(3e6, rel=0.02)
    assert link.downlink_bits_per_s == pytest.approx(12e6, rel=0.02)
    assert link.rtt_s == pytest.approx(0.015, rel=0.1)


def test_a_link_that_changes_is_followed_within_a_few_requests():
    link = LinkEstimator(PLANNED)
    link.observe(transfer(0, 10e6, 20e6, 0.02, 200, 200, 0.0))
    for number in range(5):
        link.observe(transfer(number, 10e6, 20e6, 0.02, 200_000, 50_000, 0.01))
    for number in range(4):
        link.observe(transfer(5 + number, 1e6, 2e6, 0.02, 200_000, 50_000, 0.01))
    assert link.uplink_bits_per_s == pytest.approx(1e6, rel=0.3)
    for number in range(6):
        link.observe(transfer(10 + number, 40e6, 80e6, 0.02, 200_000, 50_000, 0.01))
    assert link.uplink_bits_per_s == pytest.approx(40e6, rel=0.1)


def test_short_messages_tell_the_round_trip_and_no_rate():
    link = LinkEstimator(PLANNED)
    for number in range(20):
        link.observe(transfer(number, 100e6, 100e6, 0.005, 300, 300, 0.001))
    assert link.rtt_s == pytest.approx(0.005, rel=0.1)
    assert link.uplink_bits_per_s == PLANNED.uplink_bits_per_s


def test_until_an_answer_is_long_the_downlink_keeps_its_proportion():
    link = LinkEstimator(PLANNED)
    link.observe(transfer(0, 5e6, 10e6, 0.005, 200, 200, 0.0))
    for number in range(20):
        link.observe(transfer(number, 5e6, 10e6, 0.005, 300_000, 500, 0.001))
    assert link.downlink_bits_per_s == pytest.approx(10e6, rel=0.05)


def test_cold_connections_tell_nothing_but_that_the_server_is_there():
    link = LinkEstimator(PLANNED)
    link.observe(transfer(7.0, 1e4, 1e4, 0.3, 300_000, 500, 0.0, cold=True))
    assert (link.uplink_bits_per_s, link.rtt_s) == (PLANNED.uplink_bits_per_s, PLANNED.rtt_s)
    assert link.newest_s == 7.0


def test_giving_up_lowers_the_rate_and_never_raises_it():
    link = LinkEstimator(PLANNED)
    link.gave_up(100_000, 0.1)
    assert link.uplink_bits_per_s == pytest.approx(8e6)
    link.gave_up(100_000, 4.0)
    assert link.uplink_bits_per_s == pytest.approx(4e6)
    link.gave_up(100_000, 0.01)
    assert link.uplink_bits_per_s == pytest.approx(4e6)


def test_random_links_are_found_from_real_looking_requests():
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        uplink, downlink = np.exp(generator.uniform(np.log(5e5), np.log(5e7), 2))
        rtt = generator.uniform(0.002, 0.1)
        link = LinkEstimator(PLANNED)
        for number in range(30):
            sent = int(np.exp(generator.uniform(np.log(5e4), np.log(1e6))))
            one = transfer(number, uplink, downlink, rtt * generator.uniform(1, 1.1), sent, 100_000, 0.01)
            link.observe(one)
            link.observe(transfer(number + 0.5, uplink, downlink, rtt * generator.uniform(1, 1.1), 250, 200, 0.0))
        errors.append(abs(link.uplink_bits_per_s / uplink - 1))
    assert np.median(errors) < 0.05


def test_a_slow_machine_is_found_and_one_hiccup_is_not_believed():
    machine = SlowdownEstimator()
    for number in range(10):
        machine.observe(0.01, 0.03, number)
    assert machine.value == pytest.approx(3.0, rel=0.02)
    machine.observe(0.01, 1.0, 10)
    assert machine.value == pytest.approx(3.0, rel=0.02)
    machine.observe(1e-6, 1.0, 11)
    assert machine.value == pytest.approx(3.0, rel=0.02)


def test_all_conditions_together():
    now = [100.0]
    estimator = ConditionEstimator(PLANNED, lambda: now[0])
    assert estimator.conditions() == PLANNED
    assert estimator.silence_s() == float("inf")
    estimator.link.observe(transfer(99.0, 10e6, 20e6, 0.04, 1000, 1000, 0.0))
    estimator.server.observe(0.1, 9.0, 98.0)  # the first, with cold caches
    estimator.server.observe(0.1, 0.4, 99.0)
    assert estimator.silence_s() == 1.0
    assert estimator.conditions().server_slowdown == pytest.approx(4.0)


@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_one_slow_transfer_is_forgotten_when_short_ones_are_quick(direction):
    link = LinkEstimator(PLANNED)
    link.observe(transfer(0, 1e9, 1e9, 0.001, 200, 200, 0.0))
    if direction == "uplink":
        link.gave_up(40_000, 1.0)
        link.gave_up(40_000, 2.0)
    else:
        link.observe(transfer(1, 1e9, 2e5, 0.001, 200, 4_000, 0.0))
    for number in range(3):
        link.observe(transfer(2 + number, 1e9, 1e9, 0.001, 40_000, 40_000, 0.0))
    assert getattr(link, f"{direction}_bits_per_s") >= 100e6


def test_giving_up_again_and_again_stays_within_reason():
    link = LinkEstimator(PLANNED)
    for _ in range(100):
        link.gave_up(100, 1e6)
    assert link.uplink_bits_per_s >= 1e3


def test_what_was_slow_and_is_not_seen_any_more_fades():
    machine = SlowdownEstimator()
    for number in range(4):
        machine.observe(0.01, 0.08, number)
    assert machine.value_at(4.0) == pytest.approx(8.0)
    assert machine.value_at(10.0) < 4.5
    assert machine.value_at(60.0) == pytest.approx(1.0, abs=0.01)
