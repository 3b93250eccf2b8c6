"""What `partition` answers: laws that hold for every model, degenerate plans, given cuts, energy, encoded inputs."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

import graph_io
from graph_io import ModelError
from partition import InputError, Link, SolverError, load_plan, partition
from tests.models import model, node, random_model, relu_chain, transformer_block, value
from tests.partition.costs import POWER, machine, timings_of
from tests.scale import scaled


@pytest.fixture(scope="module")
def graphs(light_graph):
    """Return layer graphs of several kinds by name: a chain, branches, attention, several inputs and outputs."""
    several = model(
        [
            node("Add", "x u", "sum"),
            node("Tanh", "sum", "left"),
            node("Relu", "sum", "right"),
            node("Mul", "left u", "y"),
            node("Neg", "right", "z"),
        ],
        {"x": (1, 8), "u": (1, 8)},
        [value("y", [1, 8]), value("z", [1, 8])],
    )
    return {
        "chain": graph_io.load_graph(relu_chain(5, (1, 64))),
        "attention": graph_io.load_graph(transformer_block()),
        "several": graph_io.load_graph(several, granularity="node"),
        "squeezenet": light_graph("squeezenet"),
        "shufflenet": light_graph("shufflenet"),
        "inception_v1": light_graph("inception_v1"),
    }


NAMES = ("chain", "attention", "several", "squeezenet", "shufflenet", "inception_v1")
RATES = tuple(10.0**exponent for exponent in range(3, 13))


def faster_server(graph, factor=10):
    """Return timings of a device and of a server that is faster on every layer."""
    generator = np.random.default_rng(5)
    device = {layer: float(time) for layer, time in zip(graph, generator.uniform(1e-3, 5e-3, len(graph)), strict=True)}
    return {
        "device": timings_of(graph, device, "slow"),
        "server": timings_of(graph, {layer: time / factor for layer, time in device.items()}, "fast"),
    }


def named(plan, name):
    return next(one for one in plan.estimates if one.name == name)


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_bandwidth_without_limit_sends_everything_and_without_any_keeps_it(graphs, name):
    graph = graphs[name]
    machines = faster_server(graph)
    fast = partition(graph, 1e18, downlink=1e18, rtt=0, **machines)
    assert not fast.layers_on_device
    assert set(fast.cut) <= set(graph.graph["inputs"])
    slow = partition(graph, 1.0, downlink=1.0, rtt=0, **machines)
    assert slow.layers_on_device == frozenset(graph.nodes)
    assert slow.cut == ()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("output_on", ["device", "server", "any"])
def test_latency_never_rises_with_bandwidth(graphs, name, output_on):
    graph = graphs[name]
    machines = faster_server(graph)
    plans = [partition(graph, rate, downlink=rate, rtt=0, output_on=output_on, **machines) for rate in RATES]
    for slower, faster in itertools.pairwise(plans):
        assert faster.value <= slower.value * (1 + 1e-12)
    assert plans[-1].value < plans[0].value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("link", ["3g", "wifi", "300Mbps"])
@pytest.mark.parametrize("output_on", ["device", "server", "any"])
def test_estimates_add_up_and_nothing_is_better(graphs, name, link, output_on):
    graph = graphs[name]
    plan = partition(graph, link, output_on=output_on)
    assert plan.optimal
    assert plan.relative_gap == 0
    assert plan.bound <= plan.value
    assert [one.name for one in plan.estimates] == ["this plan", "all on the device", "all on the server"]
    for estimate in plan.estimates:
        legs = estimate.device_s + estimate.uplink_s + estimate.server_s + estimate.downlink_s
        assert estimate.latency_s == pytest.approx(legs, rel=1e-12)
        assert estimate.objective_value == pytest.approx(estimate.latency_s, rel=1e-9)
        assert plan.value <= estimate.objective_value * (1 + 1e-12)
    assert plan.value == pytest.approx(plan.latency_s, rel=1e-12)
    assert named(plan, "all on the device").server_s == 0
    assert named(plan, "all on the server").device_s == 0


@pytest.mark.parametrize("name", NAMES)
def test_no_single_tensor_cut_is_better(graphs, name):
    graph = graphs[name]
    machines = faster_server(graph)
    cuts = graph_io.single_tensor_cuts(graph)[:: scaled(3, 1)]
    for link in ("wifi", "100Mbps"):
        best = partition(graph, link, **machines)
        for cut in cuts:
            plan = partition(graph, link, cut=[cut], **machines)
            assert plan.value >= best.value * (1 - 1e-12)
            assert named(plan, "the optimum").objective_value == pytest.approx(best.value, rel=1e-12)
            assert plan.optimal == (plan.value <= best.value * (1 + 1e-12))


@pytest.mark.parametrize("seed", range(scaled(12, 100)))
def test_the_optimum_by_trying_all_placements_of_small_graphs(seed):
    graph = graph_io.load_graph(random_model(seed, n_nodes=5), granularity="node")
    generator = np.random.default_rng(seed)
    device, server = (dict(zip(graph, generator.uniform(0, 1e-4, len(graph)), strict=True)) for _ in range(2))
    link = Link(2e7, 1e7, 3e-5)
    tensors, outputs = graph.graph["tensors"], graph.graph["outputs"]
    # What it takes to hand a tensor out and to take it in, for two tensors of three.
    device_converts, server_converts = (
        {name: tuple(generator.uniform(0, 2e-5, 2).tolist()) for name in tensors if generator.random() < 2 / 3}
        for _ in range(2)
    )
    plan = partition(
        graph,
        link,
        device=timings_of(graph, {key: float(time) for key, time in device.items()}, conversions=device_converts),
        server=timings_of(graph, {key: float(time) for key, time in server.items()}, conversions=server_converts),
    )

    def latency(on_server):
        """One visit to the server at most, so nothing on the server may follow what follows the server."""
        total, up, down = 0.0, False, False
        for layer in graph:
            total += server[layer] if layer in on_server else device[layer]
        after_server = set()
        for layer in graph:
            if any(before in on_server or before in after_server for before in graph.predecessors(layer)):
                if layer in on_server and any(before in after_server for before in graph.predecessors(layer)):
                    return math.inf
                if layer not in on_server:
                    after_server.add(layer)
        for tensor in tensors.values():
            readers = {reader in on_server for reader in tensor.consumers}
            if tensor.producer in on_server:
                if False in readers or tensor.name in outputs:
                    total, down = total + tensor.size_bytes * link.download_s_per_byte, True
                    total += server_converts.get(tensor.name, (0, 0))[0] + device_converts.get(tensor.name, (0, 0))[1]
            elif True in readers:
                total, up = total + tensor.size_bytes * link.upload_s_per_byte, True
                total += device_converts.get(tensor.name, (0, 0))[0] + server_converts.get(tensor.name, (0, 0))[1]
        # An answer follows a request, even where a layer without inputs would need no data.
        up = up or down
        return total + up * link.uplink_delay_s + down * link.downlink_delay_s

    layers = list(graph)
    best = min(
        latency({layer for layer, chosen in zip(layers, choice, strict=True) if chosen})
        for choice in itertools.product((False, True), repeat=len(layers))
    )
    assert plan.value == pytest.approx(best, rel=1e-9)
    assert plan.latency_s == pytest.approx(best, rel=1e-9)


def test_a_conversion_counts_where_it_happens(graphs):
    graph = graphs["chain"]
    cut = graph_io.single_tensor_cuts(graph)[2]
    plain = {"device": timings_of(graph, 0.01), "server": timings_of(graph, 0.001)}
    converting = {
        "device": timings_of(graph, 0.01, conversions={cut: (0.5, 0.25)}),
        "server": timings_of(graph, 0.001, conversions={cut: (0.125, 0.0625)}),
    }
    before, after = (partition(graph, "wifi", cut=[cut], **machines) for machines in (plain, converting))
    estimate, reference = after.estimates[0], before.estimates[0]
    assert estimate.device_s - reference.device_s == pytest.approx(0.5)
    assert estimate.server_s - reference.server_s == pytest.approx(0.0625)
    assert estimate.uplink_s == reference.uplink_s
    assert [stage.compute_s for stage in after.stages][:2] == pytest.approx([estimate.device_s, estimate.server_s])
    assert named(after, "all on the device").device_s == named(before, "all on the device").device_s


def test_two_plans_of_one_graph_leave_it_as_it_was(graphs):
    graph = graphs["chain"]
    first = partition(graph, "wifi").to_json()
    partition(graph, "3g", device="raspberry-pi-5", server="gpu-server")
    assert partition(graph, "wifi").to_json() == first
    assert all("latency_s" not in data for _, data in graph.nodes(data=True))


def test_a_file_a_model_and_a_graph_give_the_same_plan(light_file):
    path = light_file("squeezenet")
    from_file = partition(path, "wifi")
    from_text = partition(str(path), "wifi")
    from_model = partition(graph_io.light_model("squeezenet"), "wifi")
    from_graph = partition(graph_io.load_graph(path), "wifi")
    assert from_file.model.path == str(path)
    contents = [plan.to_json() for plan in (from_file, from_text, from_graph, from_model)]
    for content in contents:
        content["model"].pop("path")
    assert all(content == contents[0] for content in contents)


def test_all_methods_that_take_a_problem_agree(graphs):
    values = [partition(graphs["chain"], "100Mbps", method=method).value for method in ("chain", "dp", "min-cut")]
    assert max(values) == pytest.approx(min(values), rel=1e-12)
    with pytest.raises(SolverError, match="chain"):
        partition(graphs["several"], "wifi", method="chain")


# --- degenerate plans -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chain", "several", "squeezenet"])
def test_all_on_the_device_sends_nothing(graphs, name, tmp_path):
    plan = partition(graphs[name], "1kbps")
    assert plan.messages == ()
    assert plan.cut == ()
    assert plan.estimates[0].uplink_bytes == plan.estimates[0].downlink_bytes == 0
    assert plan.estimates[0].uplink_s == plan.estimates[0].downlink_s == 0
    assert [part.file for part in plan.parts] == ["part-0.device.onnx"]
    assert plan.latency_s == plan.estimates[0].device_s
    assert "everything on the device" in str(plan)
    check_runs(plan, tmp_path / "out")


@pytest.mark.parametrize("name", ["chain", "several", "squeezenet"])
def test_all_on_the_server_sends_the_inputs_and_gets_the_outputs(graphs, name, tmp_path):
    graph = graphs[name]
    plan = partition(graph, "10Gbps", rtt=0, **faster_server(graph))
    assert [part.file for part in plan.parts] == ["part-0.server.onnx"]
    assert [stage.parts for stage in plan.stages] == [(), (0,), ()]
    up, down = plan.messages
    assert set(up.tensors) == set(graph.graph["inputs"])
    assert set(down.tensors) == set(graph.graph["outputs"])
    tensors = graph.graph["tensors"]
    assert up.size_bytes == sum(tensors[one].size_bytes for one in graph.graph["inputs"])
    assert down.size_bytes == sum(tensors[one].size_bytes for one in graph.graph["outputs"])
    assert "everything on the server" in str(plan)
    check_runs(plan, tmp_path / "out")


def check_runs(plan, folder):
    saved = plan.save(folder)
    assert plan.verify().ok
    feeds = {
        one.name: np.random.default_rng(1).standard_normal(one.shape).astype(one.dtype)
        for part in plan.parts
        for one in part.inputs
        if one.name in plan.model.input_names
    }
    with load_plan(folder).session() as loaded, plan.session() as unsaved, saved.session() as written:
        results = [session.run(feeds) for session in (loaded, unsaved, written)]
    for name in plan.model.output_names:
        assert all(np.array_equal(result[name], results[0][name]) for result in results)


@pytest.mark.parametrize("output_on", ["device", "server", "any"])
def test_where_the_outputs_are_wanted(graphs, output_on, tmp_path):
    graph = graphs["several"]
    here = partition(graph, "1kbps", output_on=output_on, **faster_server(graph))
    there = partition(graph, "10Gbps", rtt=0, output_on=output_on, **faster_server(graph))
    sizes = graph.graph["tensors"]
    output_bytes = sum(sizes[one].size_bytes for one in graph.graph["outputs"])
    kept, sent = named(here, "all on the device"), named(there, "all on the server")
    assert kept.uplink_bytes == (output_bytes if output_on == "server" else 0)
    assert kept.downlink_bytes == 0
    assert sent.downlink_bytes == (output_bytes if output_on == "device" else 0)
    assert here.output_on == output_on
    assert not there.layers_on_device
    for number, plan in enumerate((here, there)):
        check_runs(plan, tmp_path / str(number))


def test_an_output_that_is_an_input_goes_to_the_server_only_if_wanted_there():
    handed_through = model([node("Tanh", "x", "y")], {"x": (1, 4), "u": (2,)}, [value("y", [1, 4]), value("u", [2])])
    on_device = partition(handed_through, "wifi", cut=["x", "u"])
    assert [message.tensors for message in on_device.messages] == [("x",), ("y",)]
    on_server = partition(handed_through, "wifi", cut=["x", "u"], output_on="server")
    assert [message.tensors for message in on_server.messages] == [("x", "u")]
    with pytest.raises(ModelError, match="the path u escapes it"):
        partition(handed_through, "wifi", cut=["x"])


def test_inputs_that_stay_on_the_device(graphs):
    graph = graphs["several"]
    fast = {"bandwidth": "10Gbps", "rtt": 0, **faster_server(graph)}
    free, kept = partition(graph, **fast), partition(graph, keep_inputs=True, **fast)
    inputs = set(graph.graph["inputs"])
    sent = {name for message in free.messages for name in message.tensors}
    assert sent & inputs
    assert not {name for message in kept.messages for name in message.tensors} & inputs
    assert kept.optimal
    assert kept.value >= free.value
    readers = {layer for name in inputs for layer in graph.graph["tensors"][name].consumers}
    assert readers <= kept.layers_on_device
    assert kept.keep_inputs
    assert not free.keep_inputs
    assert [one.name for one in kept.estimates] == ["this plan", "all on the device"]
    assert "least latency with the inputs kept on the device, proven optimal" in str(kept)
    with pytest.raises(InputError, match=r"keep_inputs holds input '.*' on the device, and this cut puts layer '"):
        partition(graph, cut=graph.graph["inputs"], keep_inputs=True, **fast)
    handed_through = model([node("Tanh", "x", "y")], {"x": (1, 4), "u": (2,)}, [value("y", [1, 4]), value("u", [2])])
    with pytest.raises(InputError, match="as an output of the model it is wanted on the server"):
        partition(handed_through, "wifi", output_on="server", keep_inputs=True)
    with pytest.raises(InputError, match="keep_inputs is 'no'; give True or False"):
        partition(graph, "wifi", keep_inputs="no")


def test_an_input_that_is_only_moved_counts_as_the_input(tmp_path):
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0]),
        node("Cast", "t", "c", to=1),
        node("Tanh", "c", "y"),
        node("Exp", "y", "z"),
    ]
    moved = graph_io.load_graph(model(nodes, {"x": (64, 64)}, [value("z", [64, 64])]), granularity="node")
    plan = partition(moved, "10Gbps", rtt=0, keep_inputs=True, **faster_server(moved))
    assert plan.cut in ((), ("y",))
    plan.save(tmp_path / "out")
    assert load_plan(tmp_path / "out").keep_inputs


# --- a cut given ------------------------------------------------------------------------------------------------


def test_a_given_cut_is_the_plan_and_is_compared(graphs):
    graph = graphs["squeezenet"]
    cut = graph_io.single_tensor_cuts(graph)[4]
    plan = partition(graph, "wifi", cut=[cut])
    assert plan.cut == (cut,)
    assert plan.chosen_by == "user"
    assert [one.name for one in plan.estimates] == [
        "this plan",
        "the optimum",
        "all on the device",
        "all on the server",
    ]
    best = partition(graph, "wifi")
    assert named(plan, "the optimum").objective_value == best.value
    assert plan.bound == best.bound <= plan.value
    assert not plan.optimal
    assert plan.relative_gap == pytest.approx(plan.value / plan.bound - 1)
    assert "your own cut" in str(plan)
    assert plan.layers_on_device == graph_io.head_of_cut(graph, [cut])


def test_one_name_is_a_cut_of_one_tensor(graphs):
    as_text, as_list = (partition(graphs["chain"], "wifi", cut=cut) for cut in ("t1", ["t1"]))
    assert as_text.to_json() == as_list.to_json()


def test_the_best_cut_given_is_proven(graphs):
    graph = graphs["squeezenet"]
    machines = faster_server(graph)
    best = partition(graph, "100Mbps", **machines)
    given = partition(graph, "100Mbps", cut=best.cut, **machines)
    assert given.optimal
    assert given.relative_gap == 0
    assert given.value == best.value
    assert "proven" in str(given)


@pytest.mark.parametrize("name", ["chain", "several", "squeezenet"])
def test_cuts_at_the_ends(graphs, name):
    graph = graphs[name]
    at_inputs = partition(graph, "wifi", cut=graph.graph["inputs"])
    assert not at_inputs.layers_on_device
    assert at_inputs.value == named(at_inputs, "all on the server").objective_value
    at_outputs = partition(graph, "wifi", cut=graph.graph["outputs"])
    assert at_outputs.layers_on_device == frozenset(graph.nodes)
    assert at_outputs.messages == ()
    assert at_outputs.value == named(at_outputs, "all on the device").objective_value


def test_a_cut_of_several_tensors(tmp_path):
    nodes = [node("Tanh", "x", "left"), node("Relu", "x", "right"), node("Mul", "left right", "y")]
    graph = graph_io.load_graph(model(nodes, {"x": (1, 8)}, [value("y", [1, 8])]), granularity="node")
    plan = partition(graph, "wifi", cut=["left", "right"])
    assert set(plan.cut) == {"left", "right"}
    assert plan.estimates[0].uplink_bytes == 2 * 8 * 4
    assert [message.delay_s for message in plan.messages] == [0.01, 0.01]  # a delay for a message, not for a tensor
    check_runs(plan, tmp_path / "out")


def test_what_both_sides_read_crosses_too(graphs, tmp_path):
    """The tensors u and sum are read in front of the cut and behind it, so both travel."""
    plan = partition(graphs["several"], "wifi", cut=["sum", "left", "u"])
    assert plan.layers_on_device == {"Add_0", "Tanh_1"}
    assert set(plan.cut) == {"sum", "left", "u"}
    check_runs(plan, tmp_path / "out")


def test_the_cut_of_any_plan_can_be_given_back(graphs):
    """A skip connection from the cut's own head is part of the optimum here, and of what a user may ask for."""
    nodes = [
        node("Relu", "x", "skip", "stem"),
        node("Slice", "skip starts ends axes", "small", "front"),
        node("Tanh", "small", "deep", "back"),
        node("Concat", "skip deep", "y", "join", axis=1),
    ]
    weights = {"starts": np.array([0]), "ends": np.array([2]), "axes": np.array([1])}
    graph = graph_io.load_graph(model(nodes, {"x": (1, 8)}, ["y"], weights), granularity="node")
    device = timings_of(graph, {"stem": 1e-3, "front": 1e-3, "back": 9.0, "join": 9.0}, "slow")
    server = timings_of(graph, {"stem": 9.0, "front": 9.0, "back": 1e-3, "join": 1e-3}, "fast")
    best = partition(graph, "wifi", device=device, server=server)
    assert set(best.cut) == {"skip", "small"}
    again = partition(graph, "wifi", device=device, server=server, cut=best.cut)
    assert again.layers_on_device == best.layers_on_device
    assert again.optimal


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        (["nowhere"], "tensor 'nowhere' is not in the model"),
        (["left"], "the path u -> y escapes it; add 'u' to the cut"),
        (["sum", "left", "y"], "tensor 'y' is downstream of 'left'"),
        (["sum", "left"], "the path u -> y escapes it; add 'u' to the cut"),
        (["x"], "escapes it"),
    ],
)
def test_illegal_cuts_are_refused(graphs, cut, problem):
    with pytest.raises(ModelError, match=problem):
        partition(graphs["several"], "wifi", cut=cut)


def test_an_empty_cut_is_everything_on_the_device(graphs):
    plan = partition(graphs["several"], "wifi", cut=[])
    whole = {one.name: one.latency_s for one in plan.estimates}["all on the device"]
    assert (plan.cut, plan.chosen_by, plan.latency_s) == ((), "user", whole)
    assert plan.layers_on_device == frozenset(graphs["several"])
    assert partition(graphs["several"], "wifi", cut=plan.cut).value == plan.value
    with pytest.raises(ModelError, match="the cut is empty"):
        partition(graphs["several"], "wifi", cut=[], output_on="server")


def test_a_cut_inside_a_fused_layer_names_the_way_out(light_graph):
    graph = light_graph("squeezenet")
    inner = next(layer for _, layer in graph.nodes(data="layer") if len(layer.nodes) > 1)
    proto = graph.graph["model"].proto
    inside = next(
        one.output[0] for one in proto.graph.node if one.name in inner.nodes and one.output[0] not in inner.outputs
    )
    with pytest.raises(ModelError, match="granularity") as caught:
        partition(graph, "wifi", cut=[inside])
    assert inner.id in str(caught.value)
    assert inner.outputs[0] in str(caught.value)
    assert partition(proto, "wifi", granularity="node", cut=[inside]).cut == (inside,)


# --- energy -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_layers():
    """x (1, 100) -> Tanh -> t -> Slice to 10 -> y: 400 bytes, 400 bytes, 40 bytes."""
    nodes = [node("Tanh", "x", "t", "first"), node("Slice", "t starts ends axes", "y", "second")]
    weights = {"starts": np.array([0]), "ends": np.array([10]), "axes": np.array([1])}
    return graph_io.load_graph(model(nodes, {"x": (1, 100)}, [value("y", [1, 10])], weights), granularity="node")


ENERGY_LINK = Link(uplink_bits_per_s=80_000.0, downlink_bits_per_s=8_000.0, rtt_s=0.2)


def test_energy_by_hand(two_layers):
    device = machine(memory_bytes_per_s=1000.0, layer_overhead_s=0.01)
    server = timings_of(two_layers, {"first": 0.02, "second": 0.03})
    first, second = (two_layers.nodes[layer]["layer"] for layer in ("first", "second"))
    first_s = (first.input_bytes + first.output_bytes + first.weight_bytes) / 1000 + 0.01
    # A slice reads only what it puts out.
    second_s = (2 * second.output_bytes + second.weight_bytes) / 1000 + 0.01
    assert first_s == pytest.approx(0.81)
    up_s, down_s = 400 * 8 / 80_000, 40 * 8 / 8_000
    idle_s = 0.2  # a request and an answer, half a round trip each
    by_hand = {
        ("x",): 2.0 * up_s + 0.5 * (0.02 + 0.03 + idle_s) + 1.0 * down_s,
        ("t",): 4.0 * first_s + 2.0 * up_s + 0.5 * (0.03 + idle_s) + 1.0 * down_s,
        ("y",): 4.0 * (first_s + second_s),
    }
    for cut, joules in by_hand.items():
        plan = partition(two_layers, ENERGY_LINK, device=device, server=server, objective="energy", cut=cut)
        assert plan.value == pytest.approx(joules, rel=1e-12)
        assert plan.estimates[0].objective_value == plan.value
        assert plan.latency_s != pytest.approx(plan.value)
        assert "J" in str(plan)
    best = partition(two_layers, ENERGY_LINK, device=device, server=server, objective="energy")
    assert best.value == pytest.approx(min(by_hand.values()), rel=1e-12)
    assert best.optimal
    assert any("energy is the device's" in one for one in best.assumptions)


@pytest.mark.parametrize("state", ["compute_watts", "idle_watts", "send_watts", "receive_watts"])
def test_each_power_state_counts(two_layers, state):
    def joules(power):
        return partition(
            two_layers,
            ENERGY_LINK,
            device=machine(power=power),
            server=timings_of(two_layers, 0.02),
            objective="energy",
            cut=["t"],
        ).value

    assert joules(dataclasses.replace(POWER, **{state: getattr(POWER, state) * 2})) > joules(POWER)


def test_energy_is_not_latency_when_they_disagree(two_layers):
    # The server is slower here, but waiting costs the device next to nothing.
    patient = dataclasses.replace(POWER, idle_watts=0)
    machines = {"device": machine(layer_overhead_s=0.05, power=patient), "server": timings_of(two_layers, 0.5)}
    link = Link(1e9, 1e9, 0.0)
    assert len(partition(two_layers, link, **machines).layers_on_device) == 2
    assert not partition(two_layers, link, objective="energy", **machines).layers_on_device


def test_energy_needs_power(graphs):
    for device in ("raspberry-pi-4", machine(power=None), timings_of(graphs["chain"], 1e-3)):
        with pytest.raises(InputError, match=r"needs the power of the device '.*'.*fill in 'power'"):
            partition(graphs["chain"], "wifi", device=device, objective="energy")


# --- encoded inputs -------------------------------------------------------------------------------------------------


def test_an_encoded_input_is_priced_and_does_not_run_here(graphs, tmp_path):
    graph = graphs["squeezenet"]
    link, machines = Link(8e6, 8e6, 0.0), faster_server(graph)
    (name,) = graph.graph["inputs"]
    raw = partition(graph, link, cut=[name], **machines)
    plan = partition(graph, link, cut=[name], input_bytes={name: "15.2kB"}, **machines)
    assert plan.messages[0].size_bytes == plan.estimates[0].uplink_bytes == 15_200
    assert plan.encoded_inputs == {name: 15_200}
    saved_s = (graph.graph["tensors"][name].size_bytes - 15_200) * 8 / 8e6
    assert raw.value - plan.value == pytest.approx(saved_s, rel=1e-9)
    assert any(name in one and "encoded in 15200 bytes" in one for one in plan.assumptions)
    plan.save(tmp_path / "out")
    for one in (plan, load_plan(tmp_path / "out")):
        assert one.encoded_inputs == {name: 15_200}
        with pytest.raises(InputError, match=f"input '{name}' was priced as 15200 encoded bytes.*encoder"):
            one.session()


def test_an_encoded_input_that_is_not_sent_runs(graphs, tmp_path):
    graph = graphs["chain"]
    plan = partition(graph, "1kbps", input_bytes={"x": 8})
    assert plan.layers_on_device == frozenset(graph.nodes)
    check_runs(plan, tmp_path / "out")


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"nowhere": 5}, "input_bytes: 'nowhere' is not an input of the model; its inputs are x"),
        ({"x": -5}, "input_bytes of 'x'"),
        ({"x": "15KB"}, "ambiguous unit 'KB'"),
        ({"x": 1.5}, "input_bytes of 'x'"),
    ],
)
def test_encoded_inputs_that_cannot_be(graphs, sizes, problem):
    with pytest.raises(InputError, match=problem):
        partition(graphs["chain"], "wifi", input_bytes=sizes)


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"objective": "speed"}, InputError, "objective 'speed' is unknown; use 'latency', 'energy'"),
        ({"output_on": "moon"}, InputError, "output_on 'moon' is unknown"),
        ({"method": "magic"}, SolverError, "there is no method 'magic'; choose from auto, chain, dp, min-cut"),
        ({"dims": {"seq": 3}}, InputError, "dims belong to loading"),
        ({"device": "toaster"}, InputError, "unknown machine 'toaster'"),
        ({"rtt": "5"}, InputError, "rtt '5' has no unit"),
        ({"downlink": "mbps"}, InputError, "downlink 'mbps'"),
    ],
)
def test_arguments_that_cannot_be(graphs, arguments, error, problem):
    with pytest.raises(error, match=problem):
        partition(graphs["chain"], "wifi", **arguments)


def test_what_was_assumed_is_listed(graphs):
    plan = partition(graphs["chain"], "5Mbps")
    text = "\n".join(plan.assumptions)
    assert "link: downlink = uplink" in text
    assert "link: rtt 40 ms" in text
    assert text.count("not measured") == 2
    assert (plan.device.name, plan.server.name) == ("raspberry-pi-4", "xeon-server")
    told = partition(graphs["chain"], "5Mbps", downlink="6Mbps", rtt="1ms", **faster_server(graphs["chain"]))
    assert told.assumptions == ()
    assert repr(told).count("\n") == 0
    assert "ms" in repr(told)
