"""A plan that follows a changing link, in virtual time, against an oracle that knows its rate and fixed plans."""

import numpy as np
import pytest

from partition.adaptation.conditions import Conditions
from partition.adaptation.estimators import ConditionEstimator, Observation
from partition.adaptation.planner import MESSAGE_BYTES, Planner
from partition.emulation.profile import RateProfile
from tests.partition.adaptation.test_planner import placement
from tests.scale import scaled

RTT_S, PERIOD_S, STALE_S = 0.02, 0.3, 1.0
# Much like AlexNet with a device eight times slower than the server.
CHOICES = [
    placement(0.30, 0, 0, 0),
    placement(0.14, 0.020, 36_864 + MESSAGE_BYTES, 4_512),
    placement(0.07, 0.030, 259_584 + MESSAGE_BYTES, 4_512),
    placement(0.0, 0.038, 602_112 + MESSAGE_BYTES, 4_512),
]
LOCAL, ALL_SERVER = 0, 3


class Emulation:
    """Requests one after the other over a link whose rate changes."""

    def __init__(self, uplink, downlink, noise=0.0, seed=0):
        self.uplink, self.downlink = uplink, downlink
        self.noise = noise
        self.random = np.random.default_rng(seed)
        self.now_s = 0.5

    def visit(self, terms, start_s):
        """Return the time to the first byte of the answer, and from there to the last."""
        out_s = self.uplink.transfer_s(terms.uplink_bytes, start_s) + RTT_S + terms.server_s
        out_s *= 1 + self.noise * self.random.exponential()
        return out_s, self.downlink.transfer_s(terms.downlink_bytes, start_s + out_s)

    def mean_s(self, policy, seconds):
        planner = Planner(CHOICES)
        estimator = ConditionEstimator(Conditions(10e6, 20e6, RTT_S), lambda: self.now_s)
        estimator.link.observe(Observation(0.0, RTT_S, 0.0, 200, 200, 0.0, False))
        taken, used = [], set()
        while self.now_s < seconds:
            if policy == "adaptive":
                number = planner.choose(estimator.conditions())
            elif policy == "oracle":
                true = Conditions(self.uplink.rate_at(self.now_s), self.downlink.rate_at(self.now_s), RTT_S)
                number = planner.choose(true)
            else:
                number = policy
            terms = planner.terms[number]
            total_s = terms.device_s
            if terms.n_messages:
                total_s += sum(self.observed(estimator, terms, self.now_s + terms.device_s))
            elif policy == "adaptive" and estimator.silence_s() >= STALE_S:
                asked = min(range(1, 4), key=lambda one: planner.terms[one].latency_s(estimator.conditions()))
                self.observed(estimator, planner.terms[asked], self.now_s + total_s)
            taken.append(total_s)
            used.add(number)
            self.now_s += max(total_s, PERIOD_S)
        return float(np.mean(taken)), len(used)

    def observed(self, estimator, terms, start_s):
        out_s, back_s = self.visit(terms, start_s)
        end_s = start_s + out_s + back_s
        one = Observation(end_s, out_s, back_s, terms.uplink_bytes, terms.downlink_bytes, terms.server_s, False)
        estimator.link.observe(one)
        return out_s, back_s


def steps(seed, length_s, count=60):
    generator = np.random.default_rng(seed)
    rates = np.exp(generator.uniform(np.log(1e6), np.log(150e6), count))
    pairs = [(length_s * number, float(rate)) for number, rate in enumerate(rates)]
    return RateProfile.stepped(pairs), RateProfile.stepped([(start_s, 2 * rate) for start_s, rate in pairs])


@pytest.mark.parametrize("seed", range(scaled(4, 40)))
def test_near_the_oracle_where_the_link_changes_every_ten_seconds(seed):
    uplink, downlink = steps(seed, 10.0)
    found = {
        policy: Emulation(uplink, downlink).mean_s(policy, 590.0)
        for policy in ("adaptive", "oracle", LOCAL, ALL_SERVER)
    }
    assert found["adaptive"][1] >= 3
    assert found["adaptive"][0] <= 1.05 * found["oracle"][0]
    assert found["adaptive"][0] <= min(found[LOCAL][0], found[ALL_SERVER][0])


def test_over_many_links_it_is_within_three_percent():
    ratios = []
    for seed in range(scaled(40, 200)):
        links = steps(seed, 10.0)
        adaptive, _ = Emulation(*links).mean_s("adaptive", 590.0)
        oracle, _ = Emulation(*links).mean_s("oracle", 590.0)
        ratios.append(adaptive / oracle)
    assert np.mean(ratios) <= 1.03


@pytest.mark.parametrize("rate", [0.3e6, 1e6, 3e6, 10e6, 30e6, 100e6])
def test_on_a_steady_link_it_is_the_best_plan_soon(rate):
    uplink, downlink = RateProfile.constant(rate), RateProfile.constant(2 * rate)
    adaptive, _ = Emulation(uplink, downlink, noise=0.05).mean_s("adaptive", 120.0)
    fixed = [Emulation(uplink, downlink, noise=0.05).mean_s(number, 120.0)[0] for number in range(4)]
    assert adaptive <= 1.03 * min(fixed)


def test_a_link_that_recovers_while_all_runs_here_is_noticed():
    uplink = RateProfile.stepped([(0, 0.3e6), (60, 80e6)])
    emulation = Emulation(uplink, uplink)
    planner_mean, used = emulation.mean_s("adaptive", 120.0)
    assert used >= 2
    late, _ = Emulation(RateProfile.constant(80e6), RateProfile.constant(80e6)).mean_s("adaptive", 60.0)
    assert planner_mean < 0.5 * (CHOICES[LOCAL].latency_s + late) + 0.03
