"""Streams in virtual time: which placements a plan holds for them, and the one that it takes at a rate of frames."""

import itertools

import numpy as np
import pytest

import graph_io
import solvers
from partition import Link, partition
from partition.adaptation.conditions import ConditionRange, Conditions
from partition.adaptation.planner import Planner
from partition.adaptation.throughput import MOST_HEADS, SLACK, stream_placements
from partition.problem import build_bridge
from tests.models import random_model, relu_chain
from tests.partition.adaptation.test_planner import placement
from tests.scale import scaled

NOW = Conditions(10e6, 10e6, 0.04)
ALL_DEVICE = placement(0.40, 0, 0, 0)
EARLY = placement(0.05, 0.06, 250_000, 2_000)
BALANCED = placement(0.16, 0.05, 150_000, 2_000)
LATE = placement(0.33, 0.01, 5_000, 2_000)
CHOICES = (ALL_DEVICE, EARLY, BALANCED, LATE)


def streamed(terms, now, rate_per_s, count=200):
    """Send frames through device, uplink, server and downlink, one at a time in each; return latencies and rate."""
    steps_s = (
        terms.device_s * now.device_slowdown,
        terms.uplink_bytes * 8 / now.uplink_bits_per_s,
        terms.server_s * now.server_slowdown,
        terms.downlink_bytes * 8 / now.downlink_bits_per_s,
    )
    free_s, latencies, ends_s = [0.0] * 4, [], []
    for number in range(count):
        come_s = number / rate_per_s
        ended_s = come_s
        for step, taken_s in enumerate(steps_s):
            ended_s = free_s[step] = max(ended_s, free_s[step]) + taken_s
        ends_s.append(ended_s)
        latencies.append(ended_s + terms.n_messages * now.rtt_s / 2 - come_s)
    return np.array(latencies), (count - 1) / (ends_s[-1] - ends_s[0])


def test_the_rate_of_frames_switches_between_latency_and_throughput():
    planner = Planner(CHOICES, hysteresis=0.0)
    used = [planner.choose_for_rate(NOW, rate) for rate in (1.0, 4.5, 6.0, 100.0)]
    assert used == [1, 1, 2, 2]
    assert planner.choose(NOW) == 1


@pytest.mark.parametrize("seed", range(scaled(6, 60)))
def test_what_is_taken_keeps_up_with_least_latency_or_comes_nearest(seed):
    generator = np.random.default_rng(seed)
    choices = [ALL_DEVICE] + [
        placement(
            float(generator.uniform(0, 0.4)),
            float(generator.uniform(0.01, 0.2)),
            int(generator.integers(2_000, 400_000)),
            int(generator.integers(2_000, 100_000)),
        )
        for _ in range(6)
    ]
    planner = Planner(choices, hysteresis=0.0)
    for _ in range(10):
        rate = float(np.exp(generator.uniform(np.log(0.5), np.log(60))))
        now = Conditions(float(generator.uniform(1e6, 50e6)), float(generator.uniform(1e6, 50e6)), 0.04)
        chosen = planner.choose_for_rate(now, rate)
        latencies, reached = streamed(planner.terms[chosen], now, rate)
        others = [streamed(one, now, rate) for one in planner.terms]
        steady = [own for own, _ in others if own[-1] <= own[0] + 1e-9]
        if steady:
            assert latencies[-1] <= latencies[0] + 1e-9
            assert latencies.mean() <= min(own.mean() for own in steady) + 1e-9
        else:
            assert reached >= max(rate for _, rate in others) - 1e-9


def priced(proto, seed):
    """Return a bridge with random costs, and the link that they are for."""
    generator = np.random.default_rng(seed)
    graph = graph_io.load_graph(proto, granularity="node")
    costs = {layer: (float(generator.uniform(1, 9)), float(generator.uniform(0.2, 4))) for layer in graph}
    sizes = [one.size_bytes for one in graph.graph["tensors"].values()]
    per_byte = float(generator.uniform(0.1, 5)) / max(np.mean(sizes), 1.0)
    coded = {name: (float(generator.uniform(0, 1)), float(generator.uniform(0, 1))) for name in graph.graph["tensors"]}
    link = Link(8 / per_byte, 16 / per_byte, 0.1)
    bridge = build_bridge(
        graph,
        costs,
        link,
        objective="latency",
        output_on="device",
        input_bytes={},
        power=None,
        conversion_s={"device": coded, "server": coded},
    )
    return bridge, link


@pytest.mark.parametrize("kind", ["chain", "graph"])
def test_no_placement_for_streams_is_missing(kind):
    for seed in range(scaled(4, 12)):
        bridge, link = priced(relu_chain(9) if kind == "chain" else random_model(seed), seed)
        rate = link.uplink_bits_per_s
        over = ConditionRange((rate / 4, rate * 4), None, (0.1, 0.1), server_slowdown=(1.0, 5.0))
        simple = [bridge.placement(frozenset(bridge.layers)), bridge.placement(frozenset())]
        found = stream_placements(bridge, bridge.latency, link, over, held=simple)
        every = one_way(bridge)
        assert len(every) <= MOST_HEADS
        assert {one.tobytes() for one in found} <= {one.tobytes() for one in every}
        assert len({one.tobytes() for one in (*found, *simple)}) == len(found) + 2
        for server, uplink in itertools.product(np.geomspace(1, 5, 5), np.geomspace(rate / 4, rate * 4, 5)):
            problem = at(bridge.latency, 1.0, server, uplink)
            ours, best = least_s(problem, (*found, *simple)), least_s(problem, every[:: scaled(7, 2)])
            assert ours <= best * (1 + SLACK + 1e-9)
        assert least_s(bridge.latency, (*found, *simple)) <= least_s(bridge.latency, every) * (1 + 1e-9)


def at(problem, device, server, uplink):
    slowdown = np.array([device, server])
    return problem.with_costs(
        compute=problem.compute * slowdown,
        encode=problem.encode * slowdown,
        per_byte=np.array([[0.0, 8 / uplink], [4 / uplink, 0.0]]),
        decode=problem.decode * slowdown,
    )


def least_s(problem, placements):
    return min(float(solvers.resource_totals(problem, one).max()) for one in placements)


def one_way(bridge):
    """Return the placements in which no layer on the device reads what the server made."""
    problem, n_layers = bridge.latency, len(bridge.layers)
    before = [set() for _ in range(n_layers)]
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        for reader in problem.consumer_layers[
            problem.consumer_offsets[tensor] : problem.consumer_offsets[tensor + 1]
        ].tolist():
            if max(producer, reader) < n_layers:
                before[reader].add(producer)
    heads = {frozenset()}
    for _ in range(n_layers):
        heads |= {head | {one} for head in heads for one in range(n_layers) if before[one] <= head}
    return [bridge.placement(frozenset(bridge.layers[one] for one in head)) for head in sorted(heads, key=sorted)]


def test_layers_that_are_pinned_stay():
    bridge, link = priced(relu_chain(6), 3)
    pinned = bridge.pinned_to_device(bridge.layers[:2])
    over = ConditionRange.parse({"device_slowdown": (0.01, 100)}, link)
    found = stream_placements(bridge, pinned, link, over, held=[bridge.placement(frozenset(bridge.layers))])
    assert found
    assert all((one[:2] == 0).all() for one in found)


def test_of_a_graph_that_is_too_wide_prefixes_are_compared(monkeypatch):
    bridge, link = priced(relu_chain(9), 1)
    over = ConditionRange.parse("1bps..1Gbps", link)
    everything = stream_placements(bridge, bridge.latency, link, over, held=[])
    monkeypatch.setattr("partition.adaptation.throughput.MOST_HEADS", 3)
    # Those of a chain are its prefixes.
    again = stream_placements(bridge, bridge.latency, link, over, held=[])
    assert [one.tolist() for one in again] == [one.tolist() for one in everything]


def test_a_plan_that_adapts_holds_the_best_cut_for_streams():
    graph = graph_io.load_graph(graph_io.light_model("squeezenet"))
    plan = partition(graph, "30Mbps", adapt={"bandwidth": "10Mbps..100Mbps"})
    now = Conditions.of_link(plan.link)
    planner = Planner(plan.choices)
    ours = planner.terms[planner.choose_for_rate(now, float("inf"))].bottleneck_s(now)
    for cut in graph_io.single_tensor_cuts(graph):
        own = partition(graph, "30Mbps", cut=[cut])
        (terms,) = Planner([plan_choice(own)]).terms
        assert ours <= terms.bottleneck_s(now) * (1 + 1e-9)


def plan_choice(plan):
    from partition.adaptation.planner import choices_of

    (choice,) = choices_of(plan)
    return choice
