"""Cutting by length: equal to each length on its own, parts that run at every length, and what is refused."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest

import graph_io
import solvers
from benchmarks.zoo.recurrent import cove
from benchmarks.zoo.transformers import small_encoder
from partition import InputError, partition
from partition.emulation.clock import VirtualClock
from partition.emulation.link import EmulatedLink
from partition.latency.machines import shipped_machine
from partition.links import Link
from partition.routing.by_length import partition_by_length
from partition.routing.length_costs import check_layers, same_layers
from partition.routing.length_models import LengthModel
from partition.routing.length_plan import load_length_plan
from partition.routing.length_records import ConversionLengths
from tests.models import model, node, transformer_block
from tests.partition.routing.length_files import lengths_for, lstm_net, strided_net
from tests.scale import scaled

MOST = 64
LINK = {"bandwidth": "2Mbps", "rtt": "6ms"}


def net(name):
    return lstm_net(layers=3) if name == "lstm" else transformer_block(sequence="seq", width=16, heads=2, blocks=1)


def machines_of(proto, *, most=MOST, quadratic=1e-7):
    slow = lengths_for(proto, "slow", most=most, per_layer_s=(1e-4, 6e-5, quadratic), seed=1)
    fast = lengths_for(proto, "fast", most=most, per_layer_s=(2e-4, 4e-6, quadratic / 10), seed=2)
    return {"device": slow, "server": fast}


@pytest.fixture(scope="module", params=["lstm", "transformer"])
def case(request):
    proto = net(request.param)
    machines = machines_of(proto)
    return proto, machines, partition_by_length(proto, "seq", (1, MOST), **LINK, **machines)


def some_lengths(plan):
    """Return the lengths around every break-even, both ends, and some more."""
    beside = [length for change in plan.break_evens for length in (change - 1, change)]
    more = np.linspace(plan.least, plan.most, scaled(4, plan.most)).round().astype(int).tolist()
    return sorted({*beside, *more})


def test_it_equals_each_length_on_its_own(case):
    proto, machines, plan = case
    assert plan.optimal
    assert len(plan.ranges) > 1
    for length in some_lengths(plan):
        alone = partition(
            proto, dims={"seq": length}, **LINK, **{role: one.at(length) for role, one in machines.items()}
        )
        row = length - plan.least
        assert plan.latency_s[row] == pytest.approx(alone.latency_s, rel=1e-12)
        assert set(plan.choice_for(length).cut) == set(alone.cut)
        simple = {one.name: one.latency_s for one in alone.estimates}
        for name, values in (("all on the device", plan.device_s), ("all on the server", plan.server_s)):
            assert values[row] == pytest.approx(simple[name], rel=1e-12)


def test_the_plan_of_one_length(case):
    _, _, plan = case
    for length in {plan.least, plan.most, *plan.break_evens[:1]}:
        one = plan.plan_for(length)
        assert one.latency_s == pytest.approx(plan.latency_s[length - plan.least], rel=1e-12)
        assert one.optimal
        assert set(one.cut) == set(plan.choice_for(length).cut)
        assert one.model.dims["seq"] == length


def test_ranges_are_the_map(case):
    _, _, plan = case
    assert (plan.least, plan.most) == (1, MOST)
    assert plan.break_evens == tuple(one.least for one in plan.ranges[1:])
    for before, after in pairwise(plan.ranges):
        assert after.least == before.most + 1
        assert after.choice != before.choice
    assert plan.range_of(plan.break_evens[0]).least == plan.break_evens[0]
    assert (plan.latency_s <= np.minimum(plan.device_s, plan.server_s) * (1 + 1e-12)).all()
    text = str(plan)
    assert f"the best cut changes at: {', '.join(map(str, plan.break_evens))}" in text
    assert "break-even at" in repr(plan)


def whole(proto, inputs):
    session = onnxruntime.InferenceSession(
        graph_io.load_model(proto).proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))


def made(proto, length):
    shapes, _ = graph_io.fix_input_dims(graph_io.load_model(proto), {"seq": length})
    return graph_io.random_inputs(shapes, dict.fromkeys(shapes, "float32"), seed=length)


def test_the_session_cuts_for_each_input(case, tmp_path):
    proto, _, plan = case
    saved = plan.save(tmp_path / "out")
    loaded = load_length_plan(tmp_path / "out")
    assert loaded.to_json() == plan.to_json() == saved.to_json()
    assert loaded.parts.verify(proto).ok
    for one in (plan, loaded):
        with one.session(threads=1) as session:
            for length in some_lengths(plan):
                inputs = made(proto, length)
                outputs = session.run(inputs)
                for name, expected in whole(proto, inputs).items():
                    np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)
                run = session.last
                assert (run.length, run.cut) == (length, plan.choice_for(length).cut)
                assert len(run.stage_s) == len(run.message_bytes) + 1
                priced = plan.plan_for(length).messages if one is plan and length in (1, MOST) else ()
                assert all(
                    real == message.size_bytes
                    for real, message in zip(run.message_bytes, priced, strict=bool(priced))
                    if priced
                )
        with pytest.raises(InputError, match="this session is closed"):
            session.run(made(proto, 3))
    with pytest.raises(InputError, match="exists; choose another, or delete it first"):
        plan.save(tmp_path / "out")
    with pytest.raises(InputError, match="which holds no costs of layers"):
        loaded.plan_for(3)


def test_lengths_outside_of_the_range():
    proto = lstm_net()
    plan = partition_by_length(proto, "seq", (4, 20), **LINK, **machines_of(proto))
    for length in (3, 21):
        with (
            plan.session(threads=1) as session,
            pytest.raises(InputError, match="outside of the planned range 4 to 20"),
        ):
            session.run(made(proto, length))
        with plan.session(threads=1, extrapolate=True) as session:
            session.run(made(proto, length))
            assert session.last.extrapolated
            assert session.last.choice == plan.ranges[0 if length < 4 else -1].choice
        with pytest.raises(InputError, match="outside of the planned range"):
            plan.plan_for(length)
    with plan.session(threads=1) as session, pytest.raises(InputError, match="the length 0 in 'seq'"):
        session.run({"words": np.zeros((0, 1, 6), np.float32)})


def test_an_emulated_link_carries_the_messages():
    proto = lstm_net(layers=3)
    plan = partition_by_length(proto, "seq", (1, MOST), **LINK, **machines_of(proto))
    clock = VirtualClock()
    with plan.session(threads=1, link=EmulatedLink.of(Link.parse(**LINK), clock=clock)) as session:
        session.run(made(proto, MOST))
    expected = sum(message.transfer_s + message.delay_s for message in plan.plan_for(MOST).messages)
    assert expected > 0
    assert clock.now_s() == pytest.approx(expected)


def test_sizes_that_are_no_polynomial():
    proto = strided_net()
    machines = machines_of(proto)
    plan = partition_by_length(proto, "seq", (1, MOST), **LINK, **machines)
    for length in (1, 2, 3, 4, 5, 31, 32, 33, MOST):
        alone = partition(
            proto, dims={"seq": length}, **LINK, **{role: one.at(length) for role, one in machines.items()}
        )
        assert plan.latency_s[length - 1] == pytest.approx(alone.latency_s, rel=1e-12)


def test_machine_files_are_predicted():
    proto = net("transformer")
    plan = partition_by_length(
        proto, "seq", (1, 200), bandwidth="wifi", device="raspberry-pi-4", server=shipped_machine("xeon-server")
    )
    alone = partition(proto, "wifi", dims={"seq": 100}, device="raspberry-pi-4", server="xeon-server")
    assert plan.latency_s[99] == pytest.approx(alone.latency_s, rel=0.02)
    assert any("along straight lines" in note for note in plan.notes)
    assert plan.plan_for(100).device.name == "raspberry-pi-4"


def test_other_groups_of_nodes_are_attributed_anew():
    proto = net("transformer")
    machines = machines_of(proto)
    # A machine whose runtime fuses nothing: each node is a layer of its own there.
    nodes = lengths_for(proto, "plain", most=MOST, per_layer_s=(1e-5, 6e-6, 1e-8), granularity="node")
    slow = replace(nodes, model=replace(nodes.model, granularity="layer"))
    plan = partition_by_length(proto, "seq", (1, MOST), **LINK, device=slow, server=machines["server"])
    assert plan.device_s == pytest.approx(slow.latency.over(np.arange(1, MOST + 1)), rel=1e-9)
    assert any("along straight lines" in note for note in plan.notes)


def test_conversions_are_priced_by_length():
    proto = lstm_net()
    curve = LengthModel((2e-4, 3e-5, 0.0), 1, MOST)
    paid = tuple(ConversionLengths(tensor, curve, curve) for tensor in ("joined0", "joined1"))
    machines = {role: replace(one, conversions=paid) for role, one in machines_of(proto).items()}
    plan = partition_by_length(proto, "seq", (1, MOST), **LINK, **machines)
    for length in (1, 20, MOST):
        alone = partition(
            proto, dims={"seq": length}, **LINK, **{role: one.at(length) for role, one in machines.items()}
        )
        assert plan.latency_s[length - 1] == pytest.approx(alone.latency_s, rel=1e-12)
        assert plan.plan_for(length).latency_s == pytest.approx(alone.latency_s, rel=1e-12)


def test_graphs_that_are_too_wide_are_solved_one_by_one(case, monkeypatch):
    proto, machines, plan = case

    def refuse(*_, **__):
        raise solvers.MethodError("too wide")

    monkeypatch.setattr(solvers, "solve_batch", refuse)
    again = partition_by_length(proto, "seq", (1, MOST), **LINK, **machines)
    assert again.latency_s == pytest.approx(plan.latency_s, rel=1e-12)
    assert again.break_evens == plan.break_evens


def test_other_layers_at_another_length_are_named():
    graphs = {1: graph_io.load_graph(lstm_net(), dims={"seq": 1}), 9: graph_io.load_graph(lstm_net(), dims={"seq": 9})}
    same_layers(graphs, "seq")
    graphs[1] = graph_io.load_graph(other_net(), dims={"seq": 1})
    with pytest.raises(InputError, match="layer 'bend' at seq=1 is of other nodes than any layer at seq=9"):
        same_layers(graphs, "seq")
    layers = {"a": "one", "b": "two"}
    for own, other in ((layers, {"a": "one"}), ({"a": "one"}, layers)):
        with pytest.raises(InputError, match="layer 'two' at seq="):
            check_layers(own, 1, other, 9, "seq")


def test_layers_that_list_their_nodes_in_another_order(case):
    proto, machines, plan = case
    device = machines["device"]
    turned = replace(device, layers=tuple(replace(one, nodes=one.nodes[::-1]) for one in device.layers))
    again = partition_by_length(proto, "seq", (1, MOST), **LINK, device=turned, server=machines["server"])
    assert again.latency_s == pytest.approx(plan.latency_s, rel=1e-12)


def test_a_plan_of_one_length_with_other_layers(case):
    _, _, plan = case
    basis = plan.basis
    nodes = (("elsewhere",), *basis.nodes[1:])
    with pytest.raises(InputError, match="is of other nodes than any layer"):
        replace(plan, basis=replace(basis, nodes=nodes)).plan_for(3)


@pytest.mark.parametrize(("build", "link"), [(lambda: cove(200), "200Mbps"), (small_encoder, "400Mbps")])
def test_networks_of_the_zoo(build, link):
    proto = build()
    slow = lengths_for(proto, "slow", most=40, per_layer_s=(1e-4, 6e-5, 1e-7), seed=1)
    fast = lengths_for(proto, "fast", most=40, per_layer_s=(2e-4, 4e-6, 1e-8), seed=2)
    machines = {"device": slow, "server": fast}
    plan = partition_by_length(proto, "seq", (1, 40), bandwidth=link, rtt="6ms", **machines)
    for length in sorted({1, 40, *plan.break_evens[: scaled(1, 40)]}):
        alone = partition(
            proto, link, rtt="6ms", dims={"seq": length}, **{role: one.at(length) for role, one in machines.items()}
        )
        assert plan.latency_s[length - 1] == pytest.approx(alone.latency_s, rel=1e-12)
        assert set(plan.choice_for(length).cut) == set(alone.cut)
    inputs = made(proto, 17)
    with plan.session(threads=1) as session:
        outputs = session.run(inputs)
    for name, expected in whole(proto, inputs).items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-3, atol=1e-4)


def test_where_the_outputs_stay():
    proto = lstm_net()
    machines = machines_of(proto)
    for output_on in ("server", "any"):
        plan = partition_by_length(proto, "seq", (1, 20), **LINK, **machines, output_on=output_on)
        alone = partition(
            proto,
            dims={"seq": 20},
            **LINK,
            output_on=output_on,
            **{role: one.at(20) for role, one in machines.items()},
        )
        assert plan.latency_s[-1] == pytest.approx(alone.latency_s, rel=1e-12)
        assert plan.plan_for(20).output_on == output_on
    with pytest.raises(InputError, match="output_on 'cloud' is unknown"):
        partition_by_length(proto, "seq", (1, 20), **LINK, **machines, output_on="cloud")


def other_net():
    return model([node("Tanh", "words", "y", "bend")], {"words": ("seq", 1, 6)}, ["y"], name="other")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": "batch"}, "its open dimensions are 'seq'"),
        ({"range": (5, 5)}, "holds the one length 5"),
        ({"range": (9, 5)}, "which is reversed"),
        ({"range": (0, 5)}, "length 0 is not"),
        ({"range": (1, 65)}, "was measured for seq = 1 to 64, and length 65 is asked for"),
        ({"device": lengths_for(other_net(), "other")}, "are of another model"),
        ({"device": lengths_for(lstm_net(), "one").at(5)}, "which are for one length"),
        ({"device": "no-such-file.json"}, "unknown machine 'no-such-file.json'"),
    ],
)
def test_what_is_refused(change, said):
    proto = lstm_net()
    arguments = {"dim": "seq", "range": (1, MOST), **LINK, **machines_of(proto)} | change
    with pytest.raises(InputError) as caught:
        partition_by_length(proto, **arguments)
    assert said in str(caught.value)


def test_extrapolating_when_asked():
    proto = lstm_net()
    machines = machines_of(proto, most=32)
    plan = partition_by_length(proto, "seq", (1, 48), **LINK, **machines, extrapolate=True)
    assert plan.device_s[-1] == pytest.approx(machines["device"].latency.extended(48))
    said = "device: extrapolated, not measured, beyond seq = 1 to 32"
    assert any(note.startswith(said) for note in plan.notes)
    assert said in str(plan)
    assert any(note.startswith(said) for note in plan.to_json()["notes"])
    within = partition_by_length(proto, "seq", (1, 32), **LINK, **machines, extrapolate=True)
    assert not any("extrapolated" in note for note in within.notes)


def damaged(choice, *, names=None, turned=False):
    stages = choice["stages"]
    if turned:
        numbers = [part for one in choice["stages"] for part in one["parts"]][::-1]
        stages = [one | {"parts": [numbers.pop(0) for _ in one["parts"]]} for one in stages]
    return {"stages": stages, "messages": [sent if names is None else names for sent in choice["messages"]]}


def test_a_damaged_folder(tmp_path):
    proto = lstm_net(features=61)
    plan = partition_by_length(proto, "seq", (1, 60), **LINK, **machines_of(proto))
    assert len(plan.parts.parts) == 2
    plan.save(tmp_path / "out")
    manifest = tmp_path / "out" / "by-length.json"
    good = json.loads(manifest.read_text(encoding="utf-8"))
    for change, said in (
        ({"format": "else"}, "expected 'dnn-partition/by-length'"),
        ({"ranges": []}, "at least one range"),
        ({"ranges": [{"least": 1, "most": 9, "choice": 0}, {"least": 11, "most": 20, "choice": 0}]}, "without gaps"),
        ({"ranges": [{"least": 1, "most": 20, "choice": 99}]}, "the number of one of the"),
        ({"latency_s": [1.0]}, "one for each length"),
        ({"axes": {"nothing": [0]}}, "inputs of the model: words"),
        ({"axes": {}}, "inputs of the model: words"),
        ({"axes": {"words": []}}, r"as 'seq' is: \[0\]"),
        ({"axes": {"words": [2]}}, r"as 'seq' is: \[0\]"),
        ({"axes": {"words": [0, 0]}}, r"as 'seq' is: \[0\]"),
        ({"axes": {"words": [7]}}, r"as 'seq' is: \[0\]"),
        ({"dim": "nonsense"}, "an open dimension of the model: seq"),
        ({"output_on": "moon"}, "'device', 'server' or 'any'"),
        ({"choices": [damaged(one, names=["nothing"]) for one in good["choices"]]}, "a tensor that is known after"),
        ({"choices": [damaged(one, turned=True) for one in good["choices"]]}, "after the one that makes"),
    ):
        manifest.write_text(json.dumps(good | change), encoding="utf-8")
        with pytest.raises(InputError, match=said):
            load_length_plan(tmp_path / "out")
