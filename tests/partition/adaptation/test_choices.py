"""Plans that adapt: the placements that they hold are the best ones everywhere, and all are made of the same parts."""

import json

import numpy as np
import pytest

import graph_io
from partition import InputError, load_plan, partition
from partition.adaptation.conditions import ConditionRange, Conditions
from partition.adaptation.planner import Terms, choices_of
from partition.plan_file import plan_from_json
from tests.models import random_model
from tests.scale import scaled

RANGE = {"bandwidth": "0.5Mbps..200Mbps", "rtt": "2ms..100ms", "server_slowdown": "1..20"}
MODELS = ("squeezenet", "inception_v1", "shufflenet")


@pytest.fixture(scope="module", params=MODELS[: scaled(2, 3)])
def planned(request):
    graph = graph_io.load_graph(graph_io.light_model(request.param))
    return graph, partition(graph, "8.8Mbps", rtt="40ms", adapt=RANGE)


def latency_s(choice, plan, conditions):
    """Add up a placement from its stages and messages alone."""
    total = sum(
        stage.compute_s * (conditions.server_slowdown if stage.machine == "server" else 1.0) for stage in choice.stages
    )
    for message in choice.messages:
        rate = conditions.uplink_bits_per_s if message.direction == "uplink" else conditions.downlink_bits_per_s
        total += message.size_bytes * 8 / rate + conditions.rtt_s / 2
    return total


def test_every_placement_runs_every_part_once_in_an_order_that_works(planned):
    _, plan = planned
    assert plan.adapts_to is not None
    assert len(plan.choices) >= 3
    for choice in plan.choices:
        used = [number for stage in choice.stages for number in stage.parts]
        assert sorted(used) == list(range(len(plan.parts)))
        made = set(plan.model.input_names)
        for number in used:
            assert {one.name for one in plan.parts[number].inputs} <= made
            made |= {one.name for one in plan.parts[number].outputs}
        assert made >= set(plan.model.output_names)


def test_the_simple_placements_are_among_them(planned):
    _, plan = planned
    machines = [{stage.machine for stage in one.stages if stage.parts} for one in plan.choices]
    assert {"device"} in machines
    assert {"server"} in machines
    assert plan.stages in [one.stages for one in plan.choices]


def test_no_other_placement_is_better_anywhere(planned):
    graph, plan = planned
    generator = np.random.default_rng(0)
    for _ in range(scaled(8, 60)):
        uplink, rtt = np.exp(generator.uniform(np.log(0.5e6), np.log(200e6))), generator.uniform(0.002, 0.1)
        slowdown = generator.uniform(1, 20)
        fresh = graph.copy()
        for _, data in fresh.nodes(data=True):
            data["latency_s"] = {
                role: seconds * (slowdown if role == "server" else 1)
                for role, seconds in plan.source.nodes[_]["latency_s"].items()
            }
        best = optimum_s(fresh, uplink, rtt)
        now = Conditions(uplink, uplink, rtt, 1.0, slowdown)
        ours = min(latency_s(choice, plan, now) for choice in plan.choices)
        # What borders between parts cost where no cut is comes on top; these machine files know of none.
        assert ours == pytest.approx(best, rel=1e-6)


def optimum_s(graph, uplink, rtt):
    """Solve for one link anew, from latencies that are given."""
    import solvers
    from partition.links import Link
    from partition.problem import build_bridge

    latencies = {layer: (one["device"], one["server"]) for layer, one in graph.nodes(data="latency_s")}
    bridge = build_bridge(
        graph,
        latencies,
        Link(uplink, uplink, rtt),
        objective="latency",
        output_on="device",
        input_bytes={},
        power=None,
    )
    return solvers.solve(bridge.objective).value


def test_the_planner_adds_up_what_the_plan_says(planned):
    _, plan = planned
    now = Conditions.of_link(plan.link)
    for choice in choices_of(plan):
        headers_s = sum(512 * 8 / 8.8e6 for _ in choice.messages)
        assert Terms.of(choice).latency_s(now) == pytest.approx(latency_s(choice, plan, now) + headers_s)
        assert choice.latency_s == pytest.approx(latency_s(choice, plan, now))
    assert plan.latency_s == pytest.approx(min(one.latency_s for one in plan.choices))


def test_parts_compute_what_the_model_computes(planned, tmp_path):
    _, plan = planned
    saved = plan.save(tmp_path / "out")
    assert saved.verify(graph_io.light_model(plan.model.name)).ok
    again = load_plan(tmp_path / "out")
    assert again.choices == plan.choices
    assert again.adapts_to == plan.adapts_to


def test_random_graphs_share_parts(tmp_path):
    for seed in range(scaled(10, 200)):
        proto = random_model(seed)
        plan = partition(
            proto, "10Mbps", adapt={"bandwidth": "10kbps..100Gbps", "rtt": "0ms..50ms"}, granularity="node"
        )
        folder = tmp_path / str(seed)
        assert plan.save(folder).verify(proto).ok
        load_plan(folder)


def edited(plan, change):
    content = json.loads(json.dumps(plan.to_json()))
    change(content)
    return plan_from_json(content, "plan file 'x'", None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content["choices"].clear(), "adapts_to"),
        (lambda content: content.update(adapts_to=None), "adapts_to"),
        (lambda content: content["choices"][0]["stages"].clear(), r"choices\[0\].stages"),
        (lambda content: content["choices"][0]["stages"][0].update(parts=[99]), r"choices\[0\].stages"),
        (lambda content: content["choices"][0]["stages"][0].update(machine="server"), r"choices\[0\].stages"),
        (lambda content: content["choices"][1]["messages"].append({}), "missing"),
    ],
)
def test_hand_edited_choices_are_refused(planned, tmp_path, change, problem):
    saved = planned[1].save(tmp_path / "out")
    with pytest.raises(InputError, match=problem):
        edited(saved, change)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"objective": "energy"}, "adapt follows the latency"),
        ({"max_server_visits": 2}, "one visit"),
        ({"cut": ["fire2/concat_1"]}, "adapt chooses among cuts"),
        ({"input_bytes": {"data_0": 1000}}, "input_bytes"),
        ({"adapt": "9Mbps..10Mbps"}, "made for 8.8 Mbit/s"),
    ],
)
def test_what_does_not_go_with_adapting(arguments, problem):
    given = {"adapt": "1Mbps..50Mbps"} | arguments
    with pytest.raises(InputError, match=problem):
        partition(graph_io.light_model("squeezenet"), "8.8Mbps", **given)


def test_inputs_that_stay_are_never_sent():
    plan = partition(graph_io.light_model("squeezenet"), "8.8Mbps", adapt=RANGE, keep_inputs=True)
    for choice in plan.choices:
        assert not set(plan.model.input_names) & {name for one in choice.messages for name in one.tensors}
    assert isinstance(plan.adapts_to, ConditionRange)
