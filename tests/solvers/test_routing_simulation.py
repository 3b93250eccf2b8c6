"""The parts of the simulation that know no routers: events, transfers, absences, and how the kernel is compiled."""

import heapq
import math

import numpy as np
import pytest

from partition.emulation.profile import RateProfile
from solvers import routing_simulation
from solvers.errors import ProblemError
from solvers.routing_events import Heap, pop, push
from solvers.routing_simulation import Inputs, Knowledge, Setting, Truth, run
from solvers.routing_truth import away_at, segment_at, sent_at, speed_at
from tests.scale import scaled


def truth(starts, bits_per_s, period_s=math.inf, *, away=(), speeds=((0.0, 1.0),), by_share=0):
    return Truth(
        link_of=np.array([0]),
        first=np.array([0, len(starts)]),
        starts=np.array(starts, dtype=float),
        bytes_per_s=np.array(bits_per_s, dtype=float) / 8,
        delays_s=np.arange(len(starts)) / 10,
        period_s=np.array([period_s]),
        by_share=np.array([by_share]),
        away_first=np.array([0, len(away)]),
        away_from_s=np.array([one for one, _ in away]),
        away_until_s=np.array([one for _, one in away]),
        speed_first=np.array([0, len(speeds)]),
        speed_from_s=np.array([one for one, _ in speeds]),
        speed_factor=np.array([one for _, one in speeds]),
        clock_s=np.zeros(1),
    )


def test_events_come_in_order():
    generator = np.random.default_rng(0)
    heap = Heap(np.zeros(64), np.zeros(256, dtype=np.int64), np.zeros(2, dtype=np.int64))
    twin = []
    for k in range(2000):
        if generator.random() < 0.5 and len(twin) < 64:
            time_s = float(generator.integers(20))
            assert push(heap, time_s, k % 5, k, -k)
            heapq.heappush(twin, (time_s, k, k % 5, -k))
        elif twin:
            time_s, subject, kind, ticket = heapq.heappop(twin)
            assert pop(heap) == (time_s, kind, subject, ticket)
    while len(twin) < 64:
        push(heap, 0.0, 0, 0, 0)
        twin.append(None)
    assert not push(heap, 0.0, 0, 0, 0)
    # What never comes needs no room.
    assert push(heap, math.inf, 0, 0, 0)


@pytest.mark.parametrize("seed", range(scaled(40, 400)))
def test_transfers_are_those_of_a_rate_profile(seed):
    generator = np.random.default_rng(seed)
    n_segments = int(generator.integers(1, 7))
    starts = [0.0, *np.cumsum(generator.uniform(0.1, 3, n_segments - 1)).tolist()]
    rates = (generator.uniform(100, 1e5, n_segments) * (generator.random(n_segments) < 0.7)).tolist()
    period_s = starts[-1] + float(generator.uniform(0.1, 3)) if seed % 2 else None
    rates[-1] = rates[-1] or 5e3
    profile = RateProfile(tuple(starts), tuple(rates), period_s)
    true = truth(starts, rates, period_s or math.inf)
    for _ in range(30):
        start_s, size = float(generator.uniform(0, 50)), float(generator.choice([0, 1, 50, 3e3, 1e6]))
        end_s, delay_s = sent_at(true, 0, size, start_s, 0.0)
        assert end_s - start_s == pytest.approx(profile.transfer_s(size, start_s), rel=1e-6, abs=1e-6)
        within_s = start_s % period_s if period_s else start_s
        assert delay_s == sum(one <= within_s for one in starts[1:]) / 10


def test_a_link_that_is_gone_carries_nothing_more():
    gone = truth([0.0, 1.0], [8000.0, 0.0])
    assert sent_at(gone, 0, 500.0, 0.5, 0.0) == (1.0, 0.0)
    assert sent_at(gone, 0, 501.0, 0.5, 0.0)[0] == math.inf
    assert sent_at(truth([0.0], [0.0], 1.0), 0, 1.0, 0.0, 0.0)[0] == math.inf


def test_rates_by_share_of_the_inputs():
    steps = truth([0.0, 0.5], [8000.0, 800.0], by_share=1)
    assert sent_at(steps, 0, 100.0, 7.0, 0.49) == (pytest.approx(7.1), 0.0)
    assert sent_at(steps, 0, 100.0, 7.0, 0.5) == (8.0, 0.1)
    assert sent_at(steps, 0, 0.0, 7.0, 0.5) == (7.0, 0.1)
    assert sent_at(truth([0.0], [0.0], by_share=1), 0, 1.0, 7.0, 0.5)[0] == math.inf


def test_places_in_time():
    starts = [0.0, 1.0, 2.0, 5.0]
    assert [segment_at(starts, 0, 4, position) for position in (0.0, 0.99, 1.0, 4.0, 5.0, 99.0)] == [0, 0, 1, 2, 3, 3]
    true = truth([0.0], [1.0], away=((1.0, 2.0), (5.0, 6.0)), speeds=((0.0, 1.0), (3.0, 2.5)))
    assert away_at(true, 0, 0.0, 0.5) == -1
    assert away_at(true, 0, 0.0, 1.0) == 0
    assert away_at(true, 0, 2.0, 4.0) == -1
    assert away_at(true, 0, 4.0, 9.0) == 1
    assert speed_at(true, 0, 2.9) == 1.0
    assert speed_at(true, 0, 3.0) == 2.5


def test_what_is_too_large_or_empty_is_refused():
    setting = Setting(0, 0, 0, 1, 1, 60.0, False, np.ones(4), np.ones(4))
    inputs = Inputs(*(np.zeros(0) for _ in range(5)))
    knowledge = Knowledge(*(np.zeros((1, 1)) for _ in range(4)))
    routes = np.array([0, 1]), np.array([0])
    with pytest.raises(ProblemError, match="1 machines and 0 inputs"):
        run(setting, truth([0.0], [1.0]), inputs, routes, knowledge)
    many = truth([0.0], [1.0])._replace(clock_s=np.zeros(53))
    with pytest.raises(ProblemError, match="53 machines"):
        run(setting, many, inputs._replace(lengths=np.ones(1)), routes, knowledge)


def test_the_compiled_kernel_is_known_by_everything_in_it(monkeypatch, tmp_path):
    """A rule that changes must not meet a kernel that was compiled with the old one."""
    names = []
    monkeypatch.setattr(routing_simulation._jit, "_compile", lambda kernel: names.append(kernel.__qualname__))
    routing_simulation._compiled.__wrapped__()
    routing_simulation._compiled.__wrapped__()
    assert names[0] == names[1]
    changed = tmp_path / "routing_rules.py"
    changed.write_text("KEEP = 0\n")
    monkeypatch.setattr(routing_simulation.routing_rules, "__file__", str(changed))
    routing_simulation._compiled.__wrapped__()
    assert names[2] != names[0]
