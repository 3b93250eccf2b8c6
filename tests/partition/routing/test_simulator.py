"""The simulation against a plain one that was written apart, against closed formulas, and against the oracle."""

import heapq
import math
from collections import deque
from itertools import pairwise

import numpy as np
import pytest

from partition.emulation.profile import RateProfile
from partition.errors import InputError
from partition.latency.machines import Power
from partition.routing.length_models import LengthModel
from partition.routing.network import MachineNetwork, RoutedLink, RoutedMachine
from partition.routing.outcome import policy_table
from partition.routing.profiles import LinkProfile, round_trips
from partition.routing.router import Router
from partition.routing.simulator import compare, policies_of, simulate
from solvers import _jit
from tests.scale import scaled

POWER = Power(compute_watts=5.0, idle_watts=2.0, send_watts=3.5, receive_watts=2.75)
SIZES = LengthModel((20.0, 4.0, 0.0), 1, 80)


def machine(name, fixed, per_word, *, noise=0.0, seed=0, power=None, slowdown=1.0, square=0.0):
    generator = np.random.default_rng(seed)
    ratios = tuple(np.exp(generator.normal(0, noise, 400)).tolist()) if noise else ()
    return RoutedMachine(name, LengthModel((fixed, per_word, square), 1, 80, ratios=ratios), power, slowdown)


def link(one, other, up, down, rtt_s):
    return RoutedLink(one, other, up, rtt_s / 2), RoutedLink(other, one, down, rtt_s / 2)


def two(rtt_s=0.2, noise=0.0):
    machines = (
        machine("end", 0.002, 0.019, noise=noise, seed=1, power=POWER),
        machine("cloud", 0.002, 0.001, noise=noise, seed=2),
    )
    return MachineNetwork(machines, link("end", "cloud", 2e5, 1e6, rtt_s), "end", SIZES, SIZES)


def four(noise=0.0):
    machines = (
        machine("end", 0.002, 0.019, noise=noise, seed=1, power=POWER),
        machine("gateway", 0.002, 0.010, noise=noise, seed=2),
        machine("cloud 1", 0.002, 0.001, noise=noise, seed=3),
        machine("cloud 2", 0.004, 0.0025, noise=noise, seed=4),
    )
    links = (
        *link("end", "gateway", 2e6, 2e6, 0.03),
        *link("gateway", "cloud 1", 2e5, 1e6, 0.1),
        *link("gateway", "cloud 2", 2e5, 1e6, 0.06),
        *link("end", "cloud 1", 2e5, 1e6, 0.13),
    )
    return MachineNetwork(machines, links, "end", SIZES, SIZES)


def words(n, seed=0):
    """Sentences of about 11 words, as in SNLI's premises and hypotheses taken together; synthetic."""
    drawn = np.random.default_rng(seed).lognormal(math.log(11) - 0.125, 0.5, n)
    return np.clip(np.round(drawn), 1, 80).astype(int)


# ---------------------------------------------------------------------------------------------------------------------
# A plain simulation, written apart: live routers, callbacks, explicit queues.


class World:
    def __init__(
        self, network, lengths, *, links, arrivals, stale_s, by_pings, objective, away, slowdowns, clocks, run_s
    ):
        self.network, self.lengths, self.links = network, lengths, links
        self.now, self.events, self.order = 0.0, [], 0
        self.away, self.slowdowns, self.run_s = away, slowdowns, run_s
        self.free = {}
        self.results = [None] * len(lengths)
        self.seconds = np.zeros((len(lengths), 3))
        self.routers = {
            name: Router(
                network,
                name,
                objective=objective,
                stale_s=stale_s,
                by_pings=by_pings,
                clock=lambda name=name: self.now + clocks.get(name, 0.0),
            )
            for name in network.names
        }
        self.queues = {name: deque() for name in network.names}
        self.lost = dict.fromkeys(network.names, 0)
        for name, absences in away.items():
            for begin, end in absences:
                self.at(begin, lambda name=name: self.vanish(name))
                self.at(end, lambda name=name: self.come_back(name))
        self.gone = {name: [] for name in network.names}
        if arrivals is None:
            self.at(0.0, lambda: self.begin(0, follow=True))
        else:
            for number, time in enumerate(arrivals):
                self.at(time, lambda number=number: self.begin(number, follow=False))
        while any(result is None for result in self.results):
            self.now, _, action = heapq.heappop(self.events)
            action()

    def at(self, time, action):
        self.order += 1
        if time < math.inf:
            heapq.heappush(self.events, (time, self.order, action))

    def is_away(self, name):
        return any(begin <= self.now < end for begin, end in self.away.get(name, ()))

    def vanish(self, name):
        self.gone[name] = list(self.queues[name])
        self.queues[name].clear()
        self.lost[name] += 1

    def come_back(self, name):
        for number, expected, _ in self.gone[name]:
            self.routers[name].run_ended(int(self.lengths[number]), expected, None)
        self.gone[name] = []

    def begin(self, number, follow):
        started = self.now

        def done(ran):
            self.results[number] = (self.network.place(ran), self.now - started)
            if follow and number + 1 < len(self.lengths):
                self.at(self.now, lambda: self.begin(number + 1, follow=True))

        self.handle(self.network.end_node, number, (), None, done)

    def carry(self, source, target, size, number, arrived):
        """Move a message over a link, byte by byte through its segments; return how long that took."""
        profile = self.links[source, target]
        begin = max(self.now, self.free.get((source, target), 0.0))
        if profile.by_share:
            share = number / len(self.lengths)
            segment = max(k for k, start in enumerate(profile.starts) if start <= share)
            rate, delay = profile.bits_per_s[segment], profile.delays_s[segment]
            end = begin + 8 * size / rate if rate else math.inf
        else:
            end, delay = self.integrate(profile, begin, size)
        if end < math.inf:
            self.free[source, target] = end
            self.at(end + delay, arrived)
        return end - begin

    @staticmethod
    def integrate(profile, begin, size):
        period = profile.period_s or math.inf
        base = math.floor(begin / period) * period if period < math.inf else 0.0
        bits, delay, time = 8 * size, None, begin
        while True:
            edges = [*profile.starts, period]
            for (_, high), rate, pause in zip(pairwise(edges), profile.bits_per_s, profile.delays_s, strict=True):
                if base + high <= time:
                    continue
                delay = pause if delay is None else delay
                if rate and bits <= rate * (base + high - time) + 1e-6:
                    return time + bits / rate, delay
                if base + high == math.inf:
                    return math.inf, delay
                bits -= rate * (base + high - time)
                time = base + high
            base += period
            if base > 1e6:
                return math.inf, delay

    def handle(self, name, number, visited, bound, done):
        """An input is at a machine."""
        router, length = self.routers[name], int(self.lengths[number])
        epoch = self.lost[name]

        def alive():
            return self.lost[name] == epoch and not self.is_away(name)

        def decide(pinged, bound):
            if bound is not None:
                decision = router.onward(bound, length, visited=visited)
            else:
                decision = router.decide(length, visited=visited, pinged=pinged)
            for retry in router.to_retry():
                self.ping(name, number, (), retry, None)
            if decision.action == "ping":
                self.ping(name, number, visited, decision, lambda: decide(True, None))
            elif decision.action == "keep":
                self.enqueue(name, number, done)
            else:
                self.pass_on(name, number, visited, decision, done, alive, lambda: decide(True, None))

        decide(False, bound)

    def pass_on(self, name, number, visited, decision, done, alive, again):
        router, length = self.routers[name], int(self.lengths[number])
        sent = router.sent(decision, length)
        state = {"open": True}
        peer = decision.neighbour
        at_end = name == self.network.end_node

        def reached():
            if self.is_away(peer):
                return
            arrived = self.now

            def answer(ran):
                spent, offer = self.now - arrived, self.routers[peer].offer_to(name)
                size = self.network.output_bytes.extended(length)

                def returned():
                    if self.is_away(name):
                        return
                    if not state["open"]:
                        router.heard(peer, offer)
                        return
                    state["open"] = False
                    router.answered(sent, spent, offer)
                    if alive():
                        if at_end:
                            self.seconds[number, 2] += took
                        done(ran)

                took = self.carry(peer, name, size, number, returned)

            bound = decision.destination if decision.bound else None
            self.handle(peer, number, (*visited, name), bound, answer)

        took = self.carry(name, peer, self.network.input_bytes.extended(length), number, reached)
        if at_end and took < math.inf:
            self.seconds[number, 1] += took

        def expired():
            if state["open"]:
                state["open"] = False
                if alive():
                    router.timed_out(sent)
                    again()
                else:
                    router.forget(sent)

        self.at(self.now + sent.time_limit_s, expired)

    def ping(self, name, number, visited, decision, then):
        router, length = self.routers[name], int(self.lengths[number])
        sent, peer, state = router.sent(decision, length), decision.neighbour, {"open": True}
        waits = name == self.network.end_node and then is not None
        then = then or (lambda: None)
        epoch = self.lost[name]

        def alive():
            return self.lost[name] == epoch and not self.is_away(name)

        def reached():
            if self.is_away(peer):
                return
            arrived = self.now

            def answer():
                spent, offer = self.now - arrived, self.routers[peer].offer_to(name)

                def returned():
                    if self.is_away(name):
                        return
                    if not state["open"]:
                        router.heard(peer, offer)
                        return
                    state["open"] = False
                    router.answered(sent, spent, offer)
                    if waits:
                        self.seconds[number, 2] += took
                    if alive():
                        then()

                took = self.carry(peer, name, 32, number, returned)

            onward = self.routers[peer].onward(decision.destination, length, visited=(*visited, name), ping=True)
            if onward.action == "keep":
                answer()
            else:
                self.ping(peer, number, (*visited, name), onward, answer)

        took = self.carry(name, peer, 32, number, reached)
        if waits and took < math.inf:
            self.seconds[number, 1] += took

        def expired():
            if state["open"]:
                state["open"] = False
                if alive():
                    router.timed_out(sent)
                    then()

        self.at(self.now + sent.time_limit_s, expired)

    def enqueue(self, name, number, done):
        expected = self.routers[name].run_queued(int(self.lengths[number]))
        self.queues[name].append((number, expected, done))
        if len(self.queues[name]) == 1:
            self.start(name)

    def start(self, name):
        number, expected, done = entry = self.queues[name][0]
        factor = next((one for begin, one in reversed(self.slowdowns.get(name, ())) if begin <= self.now), 1.0)
        taken = self.run_s[self.network.place(name)][number] * factor
        epoch = self.lost[name]

        def ended():
            if self.lost[name] != epoch:
                return
            assert self.queues[name].popleft() is entry
            self.routers[name].run_ended(int(self.lengths[number]), expected, taken)
            if name == self.network.end_node:
                self.seconds[number, 0] += taken
            if self.queues[name]:
                self.start(name)
            done(name)

        self.at(self.now + taken, ended)


def drawn_run_s(network, lengths, seed):
    """The true run times, drawn as the simulation says that it draws them."""
    generator = np.random.default_rng(seed)
    rows = []
    for one in network.machines:
        run_s = np.array([one.latency.extended(int(length)) for length in lengths]) * one.slowdown
        ratios = one.latency.ratios
        rows.append(run_s * generator.choice(np.array(ratios), len(lengths)) if ratios else run_s)
    return rows


def agree(network, lengths, **options):
    links = {
        (one.source, one.target): LinkProfile.constant(one.bits_per_s, one.delay_s) for one in network.links
    } | options.get("links", {})
    world = World(
        network,
        lengths,
        links=links,
        arrivals=options.get("arrivals_s"),
        stale_s=options.get("stale_s", 60.0),
        by_pings=options.get("policy") == "routed-with-pings",
        objective=options.get("objective", "time"),
        away=options.get("away", {}),
        slowdowns=options.get("slowdowns", {}),
        clocks=options.get("clocks_s", {}),
        run_s=drawn_run_s(network, lengths, 0),
    )
    found = simulate(network, lengths, **options)
    assert found.machine.tolist() == [machine for machine, _ in world.results]
    np.testing.assert_allclose(found.taken_s, [taken for _, taken in world.results], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.seconds, world.seconds, rtol=1e-9, atol=1e-9)
    return found


def random_network(generator):
    n_machines = int(generator.integers(2, 6))
    names = [f"m{k}" for k in range(n_machines)]
    machines = tuple(
        machine(
            name,
            float(generator.uniform(0.001, 0.02)),
            float(generator.uniform(0.001, 0.02)),
            noise=0.05,
            seed=k,
            power=POWER if k == 0 else None,
            square=float(generator.choice([0.0, 1e-4])),
        )
        for k, name in enumerate(names)
    )
    links = []
    for k in range(1, n_machines):
        for other in range(k):
            if other == k - 1 or generator.random() < 0.4:
                up, down = generator.uniform(1e5, 5e6, 2)
                links += link(names[other], names[k], float(up), float(down), float(generator.uniform(0.001, 0.1)))
    # Where messages are long, an input is too dear to be sent for the news alone.
    sizes = LengthModel((2000.0, 300.0, 0.0), 1, 80) if generator.random() < 0.4 else SIZES
    return MachineNetwork(machines, tuple(links), "m0", sizes, SIZES)


def random_links(generator, network):
    profiles = {}
    for one in network.links:
        steps = sorted(generator.uniform(1, 20, 3))
        kind = generator.integers(3)
        rates = generator.uniform(1e4, 2e6, 4) * (generator.random(4) < 0.8)
        rates[0] = 1e6
        delays = generator.uniform(0.001, 0.15, 4)
        rows = list(zip([0.0, *steps], rates.tolist(), delays.tolist(), strict=True))
        if kind == 0:
            profiles[one.source, one.target] = LinkProfile.stepped(rows, period_s=25.0)
        elif kind == 1:
            shares = [(start / 25, max(rate, 1e5), delay) for start, rate, delay in rows]
            profiles[one.source, one.target] = LinkProfile.stepped(shares, by_share=True)
    return profiles


@pytest.fixture(params=["plain", "compiled"])
def backend(request, monkeypatch):
    monkeypatch.setattr(_jit, "override", request.param)


@pytest.mark.parametrize("seed", range(scaled(12, 200)))
def test_it_agrees_with_a_simulation_that_was_written_apart(seed, monkeypatch):
    generator = np.random.default_rng(seed)
    network = random_network(generator)
    n_inputs = 150
    options = {
        "links": random_links(generator, network),
        "stale_s": float(generator.choice([1.0, 5.0, 60.0, math.inf])),
    }
    options["objective"] = [("time"), ("energy"), 0.3][seed % 3]
    options["policy"] = "routed" if seed % 4 < 2 else "routed-with-pings"
    if seed % 2:
        options["arrivals_s"] = np.cumsum(generator.exponential(0.05, n_inputs))
    if seed % 3 == 0:
        options["away"] = {network.names[-1]: [(3.0, 6.5), (9.0, 40.0)]}
    if seed % 4 == 1:
        options["slowdowns"] = {network.names[-1]: [(2.0, 4.0), (6.0, 1.0)]}
    if seed % 5 == 2:
        # Multiples of a power of two: no rounding may flip a choice.
        options["clocks_s"] = {name: 1024.0 * k - 512.0 for k, name in enumerate(network.names)}
    lengths = generator.integers(1, 60, n_inputs)
    monkeypatch.setattr(_jit, "override", "plain" if seed % 4 == 3 else "compiled")
    agree(network, lengths, **options)


def test_the_cases_above_see_every_event(monkeypatch):
    """Pings, probes, retries, time limits and losses all happen in the kinds of cases that are compared."""
    monkeypatch.setattr(_jit, "override", "compiled")
    totals = np.zeros(5)
    for seed in range(12):
        generator = np.random.default_rng(seed)
        network = random_network(generator)
        links = random_links(generator, network)
        away = {network.names[-1]: [(3.0, 6.5), (9.0, 40.0)]}
        lengths = generator.integers(1, 60, 300)
        for policy in ("routed", "routed-with-pings"):
            totals += simulate(network, lengths, policy=policy, links=links, stale_s=2.0, away=away).counters
    assert (totals > 0).all(), totals


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def test_fixed_policies_are_the_closed_formula(backend):
    network, lengths = two(), words(300)
    sizes = 20.0 + 4.0 * lengths
    end = 0.002 + 0.019 * lengths
    cloud = 0.2 + 8 * sizes / 2e5 + 8 * sizes / 1e6 + 0.002 + 0.001 * lengths
    np.testing.assert_allclose(simulate(network, lengths, policy="fixed:end").taken_s, end, rtol=1e-9)
    found = simulate(network, lengths, policy="fixed:cloud")
    np.testing.assert_allclose(found.taken_s, cloud, rtol=1e-9)
    np.testing.assert_allclose(found.predicted_s, cloud, rtol=1e-9)
    best = np.minimum(end, cloud)
    for policy in ("routed", "routed-without-pings", "central", "oracle"):
        np.testing.assert_allclose(simulate(network, lengths, policy=policy, stale_s=math.inf).taken_s, best, rtol=1e-9)


def test_routers_with_exact_models_choose_as_the_oracle(backend):
    network, lengths = four(), words(400, seed=3)
    oracle = simulate(network, lengths, policy="oracle")
    for policy in ("routed", "routed-with-pings", "routed-without-pings", "central"):
        found = simulate(network, lengths, policy=policy, stale_s=math.inf)
        assert found.machine.tolist() == oracle.machine.tolist()
        np.testing.assert_allclose(found.taken_s, oracle.taken_s, rtol=1e-9)
        np.testing.assert_allclose(found.predicted_s, oracle.taken_s, rtol=1e-9)
    assert set(oracle.machine.tolist()) == {0, 1, 2, 3}


def test_energy_by_hand():
    network = two()
    found = simulate(network, [10, 10], policy="fixed:end")
    np.testing.assert_allclose(found.energy_joules, [5 * 0.192] * 2)
    found = simulate(network, [10, 10], policy="fixed:cloud")
    send, receive = 8 * 60 / 2e5, 8 * 60 / 1e6
    rest = 0.2 + 0.012
    np.testing.assert_allclose(found.energy_joules, [3.5 * send + 2.75 * receive + 2 * rest] * 2)
    assert found.total_joules == pytest.approx(found.energy_joules.sum())
    # Overlapping: the idle power counts once in total.
    both = simulate(network, [10, 10], policy="fixed:end", arrivals_s=[0.0, 0.0])
    np.testing.assert_allclose(both.taken_s, [0.192, 0.384])
    assert both.total_joules == pytest.approx(5 * 0.384)


def test_energy_chooses_otherwise_than_time(backend):
    network, lengths = two(), words(300)
    least = np.minimum(
        simulate(network, lengths, policy="fixed:end").energy_joules,
        simulate(network, lengths, policy="fixed:cloud").energy_joules,
    )
    for policy in ("routed", "central", "oracle"):
        found = simulate(network, lengths, policy=policy, objective="energy", stale_s=math.inf)
        np.testing.assert_allclose(found.energy_joules, least, rtol=1e-9)
    by_time = simulate(network, lengths, stale_s=math.inf)
    assert found.total_joules < by_time.total_joules
    assert found.total_s > by_time.total_s
    mixed = simulate(network, lengths, objective=0.2, stale_s=math.inf)
    assert found.total_joules <= mixed.total_joules <= by_time.total_joules


def test_queues_of_arrivals_by_hand(backend):
    network = MachineNetwork((machine("end", 0.0, 0.01),), (), "end", SIZES, SIZES)
    found = simulate(network, [10, 20, 5], arrivals_s=[1.0, 1.05, 9.0])
    np.testing.assert_allclose(found.taken_s, [0.1, 0.25, 0.05])
    np.testing.assert_allclose(found.predicted_s, [0.1, 0.25, 0.05])
    assert found.makespan_s == pytest.approx(9.05)


def test_arrivals_spread_over_machines():
    network = two(rtt_s=0.01)
    lengths, arrivals = np.full(200, 20), np.arange(200) * 0.01
    fixed = simulate(network, lengths, policy="fixed:cloud", arrivals_s=arrivals)
    routed = simulate(network, lengths, arrivals_s=arrivals)
    # Best for each input as it comes, which need not be the best for all.
    oracle = simulate(network, lengths, policy="oracle", arrivals_s=arrivals)
    assert routed.total_s < 1.01 * fixed.total_s
    assert oracle.total_s <= 1.01 * routed.total_s
    assert 0 < routed.shares["end"] < 0.5


def test_a_trace_is_integrated_exactly(backend):
    network = two(rtt_s=0.0)
    up = RateProfile.stepped([(0, 8000.0), (0.03, 0), (1.0, 16000.0)], period_s=2.0)
    lengths = [10]
    found = simulate(network, lengths, policy="fixed:cloud", links={("end", "cloud"): up})
    assert found.taken_s[0] == pytest.approx(up.transfer_s(60, 0.0) + 480 / 1e6 + 0.012)
    assert up.transfer_s(60, 0.0) == pytest.approx(1.015)
    # 20 kB: many periods of 2030 bytes.
    network = MachineNetwork(
        network.machines, network.links, "end", LengthModel.constant(20_000, least=1, most=80), SIZES
    )
    rates = LinkProfile.recorded(up, 0.0)
    found = simulate(network, [10], policy="oracle", links={("end", "cloud"): rates})
    assert found.machine[0] == 0
    # The time limit of 20 kB at the nominal 200 kbit/s passes, and the end node finishes what is not answered.
    found = simulate(network, [10], policy="fixed:cloud", links={("end", "cloud"): rates})
    assert found.machine[0] == 0
    assert found.time_limits == 1


# ---------------------------------------------------------------------------------------------------------------------
# What the routers are worth


@pytest.mark.parametrize("rtts", [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.01,), (0.05,), (0.1,), (0.2,), (0.3,), (0.4,)])
def test_two_machines_lose_at_most_a_hundredth_against_the_oracle(rtts, monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")
    for noise in (0.03, 0.05):
        network = two(noise=noise)
        found = compare(network, words(scaled(20_000, 100_000)), links=round_trips(network, "end", "cloud", rtts))
        totals = {one.policy: one.total_s for one in found}
        for policy in ("routed", "central"):
            assert totals[policy] <= 1.01 * totals["oracle"]
            assert totals[policy] <= 1.01 * min(totals["fixed:end"], totals["fixed:cloud"])


@pytest.mark.parametrize("rtts", [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.02,), (0.1,), (0.2,), (0.4,)])
def test_four_machines_lose_at_most_a_hundredth_and_a_half(rtts, monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")
    network = four(noise=0.05)
    links = round_trips(network, "gateway", "cloud 1", rtts) | round_trips(
        network, "end", "cloud 1", [rtt + 0.03 for rtt in rtts]
    )
    found = compare(network, words(scaled(20_000, 100_000)), links=links)
    totals = {one.policy: one.total_s for one in found}
    best = min(total for policy, total in totals.items() if policy.startswith("fixed:"))
    for policy in ("routed", "central"):
        assert totals[policy] <= 1.015 * totals["oracle"]
        assert totals[policy] <= 1.01 * best


def test_news_find_a_link_that_became_fast(monkeypatch):
    """All inputs are short, so that none goes out by itself once the link was slow."""
    monkeypatch.setattr(_jit, "override", "compiled")
    network, lengths = two(rtt_s=0.5), np.full(20_000, 10)
    links = round_trips(network, "end", "cloud", [0.5, 0.02])
    totals = {one.policy: one for one in compare(network, lengths, links=links)}
    assert totals["routed-without-pings"].shares["cloud"] == 0
    assert totals["routed"].shares["cloud"] > 0.45
    assert totals["routed"].total_s < 1.04 * totals["oracle"].total_s
    assert totals["routed"].probes > 0
    assert totals["routed"].pings == 0
    pinged = totals["routed-with-pings"]
    assert pinged.pings > 0
    assert pinged.probes == 0
    # Both pay little for it.
    assert pinged.total_s < 1.04 * totals["oracle"].total_s


def test_a_slow_machine_is_noticed(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")
    network, lengths = two(rtt_s=0.05, noise=0.03), words(5000)
    slow = {"cloud": [(10.0, 200.0)]}
    with_refit = simulate(network, lengths, slowdowns=slow)
    without = simulate(network, lengths, slowdowns=slow, refit=False)
    oracle = simulate(network, lengths, slowdowns=slow, policy="oracle")
    assert with_refit.total_s < 1.05 * oracle.total_s
    assert without.total_s > 2 * oracle.total_s


@pytest.mark.parametrize("policy", ["routed", "central"])
def test_a_burst_of_slow_runs_does_not_keep_inputs_away_for_ever(policy):
    network, lengths = two(), words(6000)
    burst = {"end": [(20.0, 4.0), (40.0, 1.0)]}
    burst_over = simulate(network, lengths, policy=policy, slowdowns=burst)
    oracle = simulate(network, lengths, policy="oracle", slowdowns=burst)
    late, best = (one.taken_s[one.started_s > 300] for one in (burst_over, oracle))
    assert late.mean() <= 1.005 * best.mean()


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong


@pytest.mark.parametrize("policy", ["routed", "routed-without-pings", "central", "oracle", "fixed:cloud"])
def test_a_link_that_vanishes_for_good(policy, backend):
    network, lengths = two(rtt_s=0.02), np.full(400, 20)
    gone = LinkProfile.stepped([(0, 2e5, 0.01), (5.0, 0.0, 0.01)])
    found = simulate(network, lengths, policy=policy, links={("end", "cloud"): gone})
    assert (found.machine >= 0).all()
    after = found.started_s > 6.0
    assert set(found.machine[after].tolist()) == {0}
    if policy.startswith("routed"):
        # One input waits for its time limit; the others stay at once.
        assert (found.taken_s[after] < 0.4).all()


def test_a_machine_that_comes_back_is_used_again():
    network, lengths = two(rtt_s=0.02), np.full(1000, 20)
    away = {"cloud": [(5.0, 30.0)]}
    found = simulate(network, lengths, away=away)
    assert (found.machine[(found.started_s > 7) & (found.started_s < 30)] == 0).all()
    assert (found.machine[found.started_s > 60] == 1).all()
    assert found.retries > 1
    assert found.lost > 0
    # Nothing asks without pings, so the link stays away.
    found = simulate(network, lengths, away=away, policy="routed-without-pings")
    assert (found.machine[found.started_s > 7] == 0).all()


def test_a_machine_without_links_is_never_used():
    alone = two()
    network = MachineNetwork((*alone.machines, machine("island", 0.0, 1e-6)), alone.links, "end", SIZES, SIZES)
    assert "fixed:island" not in policies_of(network)
    for one in compare(network, words(100)):
        assert one.shares["island"] == 0
    with pytest.raises(InputError, match="no links lead from 'end' to 'island'"):
        simulate(network, [5], policy="fixed:island")


def test_clocks_do_not_matter(backend):
    network, lengths = four(noise=0.05), words(500)
    clocks = {"gateway": 4096.0, "cloud 1": -2048.0, "cloud 2": 1024.0}
    for policy in ("routed", "central"):
        one = simulate(network, lengths, policy=policy, stale_s=2.0)
        other = simulate(network, lengths, policy=policy, stale_s=2.0, clocks_s=clocks)
        assert one.machine.tolist() == other.machine.tolist()
        np.testing.assert_allclose(one.taken_s, other.taken_s, rtol=1e-9)


def test_lengths_beyond_the_fit_are_counted():
    found = simulate(two(), [5, 80, 81, 500])
    assert found.extrapolated == 2


def test_one_seed_gives_one_result_on_both_backends(monkeypatch):
    network, lengths = four(noise=0.05), words(400)
    results = []
    for backend in ("plain", "compiled"):
        monkeypatch.setattr(_jit, "override", backend)
        results.append([one.taken_s.tolist() for one in compare(network, lengths, stale_s=3.0, seed=5)])
    assert results[0] == results[1]
    assert results[0] != [one.taken_s.tolist() for one in compare(network, lengths, stale_s=3.0, seed=6)]


def test_many_inputs_in_flight_find_room(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")
    network = two(rtt_s=0.2)
    found = simulate(network, np.full(5000, 40), arrivals_s=np.zeros(5000), policy="fixed:cloud")
    assert (found.machine >= 0).all()


def test_the_table():
    table = policy_table(compare(two(), words(50)))
    assert [line.split()[0] for line in table.splitlines()] == ["policy", *policies_of(two())]
    assert "over oracle" in table
    assert policy_table([]) == ""
    assert str(simulate(two(), [3])).startswith("policy")
    assert repr(simulate(two(), [3])) == "<Simulation of 'routed': 1 inputs in 0.059 s>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": []}, "one or more"),
        ({"lengths": [[1]]}, "one dimension"),
        ({"lengths": [0]}, "length 0 has nothing"),
        ({"lengths": [-3]}, "whole numbers"),
        ({"lengths": [2.5]}, "whole numbers"),
        ({"lengths": [math.nan]}, "whole numbers"),
        ({"lengths": ["5"]}, "whole numbers"),
        ({"policy": "best"}, "policy 'best' is unknown"),
        ({"policy": "fixed:"}, "is unknown"),
        ({"policy": "fixed:moon"}, "no machine of the network has the name 'moon'"),
        ({"stale_s": 0}, "stale_s"),
        ({"stale_s": math.nan}, "stale_s"),
        ({"objective": "money"}, "objective is 'money'"),
        ({"objective": 1.5}, "objective is 1.5"),
        ({"objective": math.nan}, "objective is nan"),
        ({"arrivals_s": [0.0]}, "arrivals_s"),
        ({"arrivals_s": [1.0, 0.5]}, "arrivals_s"),
        ({"arrivals_s": [0.0, math.nan]}, "arrivals_s"),
        ({"arrivals_s": ["a", "b"]}, "no numbers"),
        ({"links": {("end", "moon"): LinkProfile.constant(1e6)}}, "which the network has not"),
        ({"away": {"end": [(0, 1)]}}, "cannot be away"),
        ({"away": {"moon": [(0, 1)]}}, "'moon'"),
        ({"away": {"cloud": [(2, 1)]}}, "is away from"),
        ({"away": {"cloud": [(0, 5), (3, 8)]}}, "overlap"),
        ({"slowdowns": {"moon": [(0, 1)]}}, "'moon'"),
        ({"slowdowns": {"cloud": [(0, 0)]}}, "times as long"),
        ({"slowdowns": {"cloud": [(-1, 2)]}}, "times as long"),
        ({"clocks_s": {"moon": 1.0}}, "'moon'"),
        ({"clocks_s": {"cloud": math.inf}}, "clock"),
    ],
)
def test_what_cannot_be_used_is_refused(options, message):
    given = {"lengths": [5, 6]} | options
    with pytest.raises(InputError, match=message):
        simulate(two(), given.pop("lengths"), **given)


def test_energy_needs_a_power():
    network = two()
    bare = MachineNetwork((machine("end", 0.0, 0.01), network.machines[1]), network.links, "end", SIZES, SIZES)
    with pytest.raises(InputError, match="needs the power"):
        simulate(bare, [5], objective="energy")
    with pytest.raises(InputError, match="has no power"):
        _ = simulate(bare, [5]).energy_joules


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"starts": ()}, "0 starts"),
        ({"starts": (0.0, 1.0)}, "2 starts"),
        ({"starts": (1.0,)}, "begin at 0"),
        ({"bits_per_s": (-1.0,)}, "a rate is -1.0"),
        ({"bits_per_s": (math.inf,)}, "a rate is inf"),
        ({"delays_s": (math.nan,)}, "a delay is nan"),
        ({"period_s": 0.0}, "period"),
        ({"period_s": math.nan}, "period"),
        ({"period_s": 1.0, "by_share": True}, "no period"),
    ],
)
def test_profiles_that_cannot_be_used_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        LinkProfile(**({"starts": (0.0,), "bits_per_s": (1e6,), "delays_s": (0.0,)} | fields))


def test_round_trips_need_a_link():
    with pytest.raises(InputError, match="no link from 'end' to 'moon'"):
        round_trips(two(), "end", "moon", [0.1])
    with pytest.raises(InputError, match="no round trips"):
        round_trips(two(), "end", "cloud", [])
