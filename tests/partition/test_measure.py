"""Measuring a model on this machine, and planning with what was measured. No time itself is asserted."""

import copy
import dataclasses
import time

import numpy as np
import onnx
import pytest

import graph_io
from graph_io import ModelError
from partition import InputError, Timings, annotate, load_machine, load_timings, measure, partition
from partition.files import write_json
from partition.latency.annotate import latencies_for, sharing_weights
from partition.latency.measure import _unattributed
from partition.latency.profiling import read_profile
from partition.latency.timings import LayerTiming
from tests.models import model, node, relu_chain, value
from tests.partition.costs import timings_of

# Three runs to warm up, then one that counts.
ONE_OF_FOUR = (False, False, False, True)


@pytest.fixture(scope="module")
def squeezenet():
    return graph_io.light_model("squeezenet")


@pytest.fixture(scope="module")
def measured(squeezenet):
    return measure(squeezenet, threads=1, name="here")


@pytest.mark.parametrize("pause_s", [-0.1, 11, float("nan"), True, "1s"])
def test_refuses_a_pause_out_of_range(pause_s):
    with pytest.raises(InputError, match=r"pause_s is .*; give 0 to 10 seconds"):
        measure(relu_chain(), threads=1, pause_s=pause_s)


def test_rests_before_each_run():
    begun_s = time.monotonic()
    timings = measure(relu_chain(2, (256, 1024)), threads=1, pause_s=0.01)
    assert time.monotonic() - begun_s > 0.01 * 2 * timings.whole_model.runs
    assert any("0.01 s of rest before each run" in note for note in timings.notes)


def test_the_layers_add_up_to_the_whole_run(measured, light_graph):
    layers = {layer.id: layer.latency_s for layer in measured.layers}
    assert list(layers) == list(light_graph("squeezenet"))
    assert sum(layers.values()) == pytest.approx(measured.whole_model.latency_s, rel=1e-9)
    assert all(seconds >= 0 for seconds in layers.values())
    nodes = [data["layer"].nodes for _, data in light_graph("squeezenet").nodes(data=True)]
    assert [layer.nodes for layer in measured.layers] == nodes
    assert max(layers.values()) > 0
    assert measured.whole_model.runs >= 10


def test_what_was_measured_and_how_is_kept(measured, light_graph):
    import onnxruntime

    assert measured.name == "here"
    assert measured.model.name == "squeezenet"
    assert measured.model.structure_sha256 == light_graph("squeezenet").graph["structure_sha256"]
    assert measured.model.granularity == "layer"
    assert measured.model.input_shapes == {"data_0": (1, 3, 224, 224)}
    assert measured.runtime.threads == 1
    assert measured.runtime.version == onnxruntime.__version__
    assert measured.hardware["processors_available"] >= 1


def test_round_trip_through_a_file(measured, tmp_path):
    write_json(tmp_path / "t.json", measured.to_json())
    assert load_timings(tmp_path / "t.json") == measured
    assert Timings.from_json(measured.to_json(), "t.json") == measured
    assert load_machine(tmp_path / "t.json") == measured


def test_measured_on_either_side_as_object_and_as_file(measured, squeezenet, tmp_path):
    write_json(tmp_path / "t.json", measured.to_json())
    on_device = partition(squeezenet, "1kbps", device=measured)
    assert on_device.latency_s == pytest.approx(measured.whole_model.latency_s, rel=1e-9)
    assert (on_device.device.name, on_device.device.kind) == ("here", "measured")
    assert "onnxruntime" in on_device.device.description
    from_file = partition(squeezenet, "1kbps", device=tmp_path / "t.json")
    assert from_file.to_json() == on_device.to_json()
    on_server = partition(squeezenet, "wifi", server=str(tmp_path / "t.json"), cut=["data_0"])
    assert on_server.estimates[0].server_s == pytest.approx(measured.whole_model.latency_s, rel=1e-9)
    assert on_server.server.kind == "measured"


def test_every_node_can_be_measured_apart():
    timings = measure(relu_chain(4, (64, 512)), granularity="node", threads=1)
    assert [layer.id for layer in timings.layers] == ["n0", "n1", "n2", "n3"]
    assert sum(layer.latency_s for layer in timings.layers) == pytest.approx(timings.whole_model.latency_s, rel=1e-9)
    assert partition(relu_chain(4, (64, 512)), "wifi", granularity="node", device=timings, server=timings).optimal


def test_progress_rises_to_the_end():
    shares = []
    measure(relu_chain(2, (256, 1024)), threads=1, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all(0 <= share <= 1 for share in shares)


def test_open_dimensions_and_inputs_of_ones_own():
    proto = model([node("Tanh", "x", "y")], {"x": ("batch", "seq")}, [value("y", ["batch", "seq"])])
    feeds = {"x": np.ones((64, 2048), dtype=np.float32)}
    timings = measure(proto, dims={"seq": 2048, "batch": 64}, threads=1, inputs=feeds)
    assert timings.whole_model.latency_s > 0
    assert timings.model.input_shapes == {"x": (64, 2048)}
    with pytest.raises(ModelError, match="unknown dimension 'seq'"):
        measure(proto)


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "input 'x' is missing; the model's inputs are x"),
        ({"x": np.ones((2, 4), np.float32), "z": np.ones(1)}, "input 'z' is not in the model; its inputs are x"),
        ({"x": [[1.0]]}, "input 'x' is a list; pass a numpy array"),
        ({"x": np.ones((2, 4))}, "input 'x' is of type float64, the model's is float32"),
        ({"x": np.ones((3, 4), np.float32)}, "dimension 'batch' is given as 2, but axis 0 of input 'x' has 3"),
        ({"x": np.ones((2, 5), np.float32)}, r"input 'x' has shape \[2, 5\], the model takes \['batch', 4\]"),
    ],
)
def test_inputs_that_do_not_fit(inputs, problem):
    with pytest.raises(ModelError, match=problem):
        measure(relu_chain(shape=("batch", 4)), dims={"batch": 2}, inputs=inputs)


def test_a_model_that_fails_in_a_run_is_a_model_error_of_one_line():
    weights = {"table": np.zeros((2, 4), np.float32)}
    proto = model([node("Gather", "table i", "y")], [value("i", [1], onnx.TensorProto.INT64)], ["y"], weights)
    with pytest.raises(ModelError, match=r"model 'small' cannot run in onnxruntime: .*out of data bounds") as caught:
        measure(proto, threads=1, inputs={"i": np.array([9])})
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "  ", 3])
def test_a_blank_name_is_refused_before_anything_is_loaded(name):
    with pytest.raises(InputError, match=r"the machine's name is .*; give a text that is not blank"):
        measure("no-such-model.onnx", name=name)


def test_an_error_of_the_callers_own_passes_through():
    def stop(share):
        raise RuntimeError("stopped by the caller")

    with pytest.raises(RuntimeError, match=r"^stopped by the caller$"):
        measure(relu_chain(), threads=1, progress=stop)


# --- the profile ----------------------------------------------------------------------------------------------------


def events(*kernels, runs=4):
    """Make a profile: `kernels` are (name, operator, start, duration) in each run, in microseconds."""
    return [
        {
            "cat": "Node",
            "name": f"{name}_kernel_time",
            "ts": run * 1000 + start,
            "dur": duration,
            "args": {"op_name": operator},
        }
        for run in range(runs)
        for name, operator, start, duration in kernels
    ]


def test_what_lies_in_a_body_is_not_counted_beside_it():
    # The last of the body starts after the rounded end of the loop, and the next kernel at that end.
    kernels = [("i", "Add", 1, 3), ("i", "Add", 5, 4), ("late", "Add", 11, 1), ("loop", "Loop", 0, 10)]
    profile = read_profile(events(*kernels, ("t", "Tanh", 10, 30)), ONE_OF_FOUR, {"loop", "t"})
    assert set(profile.total_s) == set(profile.kernels_s) == {"loop", "t"}
    assert profile.total_s["t"] == pytest.approx(120e-6)
    assert profile.kernels_s["t"] == pytest.approx([30e-6])
    assert _unattributed("m", {"loop": ("l",), "t": ("t",)}, profile) == ()


def test_kernels_without_a_layer_are_named_or_refused():
    kernels = {"t": ("t",), "gone": ("t",)}
    profile = read_profile(events(("t", "Tanh", 0, 995), ("odd", "Relu", 995, 5)), ONE_OF_FOUR, kernels)
    assert _unattributed("m", kernels, profile) == (
        "1 kernels did not appear in the profile and count as 0: gone",
        "0.50% of the profiled time belongs to no layer and is left out: 'odd'",
    )
    profile = read_profile(events(("t", "Tanh", 0, 900), ("odd", "Relu", 900, 100)), ONE_OF_FOUR, kernels)
    with pytest.raises(InputError, match=r"model 'm': 10.0% of the profiled time is in kernels .*\('odd'\)"):
        _unattributed("m", kernels, profile)
    with pytest.raises(InputError, match=r"100.0% of the profiled time .*did not run every time"):
        _unattributed("m", kernels, read_profile(events(("t", "Tanh", 0, 900), runs=3), ONE_OF_FOUR, kernels))


def test_a_kernel_that_belongs_to_no_layer_is_not_dropped(monkeypatch):
    known = graph_io.kernel_list
    monkeypatch.setattr(graph_io, "kernel_list", lambda graph, *, level: known(graph, level=level)[:2])
    with pytest.raises(InputError, match=r"of the profiled time .*\('n2'\)"):
        measure(relu_chain(shape=(64, 512)), threads=1)


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2", 1025, 2**40])
def test_threads_that_cannot_be(threads):
    with pytest.raises(InputError, match=r"threads is .*; give a whole number of 1 or more"):
        measure(relu_chain(), threads=threads)


def test_timings_that_do_not_fit_are_refused(measured, squeezenet):
    with pytest.raises(InputError, match="are of another model"):
        partition(relu_chain(), "wifi", device=measured)
    with pytest.raises(InputError, match="have the granularity 'layer', asked for is 'node'"):
        partition(squeezenet, "wifi", device=measured, granularity="node")


def test_timings_of_another_input_shape_are_refused():
    proto = model([node("Tanh", "x", "y")], {"x": ("batch", "seq")}, [value("y", ["batch", "seq"])])
    timings = timings_of(graph_io.load_graph(proto, dims={"seq": 4}), 1e-3)
    assert partition(proto, "wifi", dims={"seq": 4}, device=timings).optimal
    with pytest.raises(InputError) as caught:
        partition(proto, "wifi", dims={"seq": 2048}, device=timings)
    assert "measured with the input 'x' of shape [1, 4], the model at hand has it as [1, 2048]" in str(caught.value)
    assert str(caught.value).endswith("dnn-partition profile MODEL --dim seq=2048 -o timings.json")
    for shapes, problem in (({}, "lack the shape of the input 'x'"), ({"x": (1, 4), "z": (1,)}, "a shape for 'z'")):
        other = dataclasses.replace(timings, model=dataclasses.replace(timings.model, input_shapes=shapes))
        with pytest.raises(InputError, match=problem):
            partition(proto, "wifi", dims={"seq": 4}, device=other)


# --- other groups of the same nodes ---------------------------------------------------------------------------------


def grouped(graph, groups):
    """Make timings of the nodes of a graph in groups of our own: nodes to seconds."""
    layers = tuple(LayerTiming(names[0], tuple(names), seconds, 0.0) for names, seconds in groups.items())
    return dataclasses.replace(timings_of(graph, 0.0), layers=layers)


@pytest.fixture
def uneven():
    """A product that takes long, two light nodes that read it, and a layer graph whose groups are ours to choose."""
    weights = {"w": np.ones((512, 512), np.float32)}
    nodes = [node("MatMul", "x w", "p", "p"), node("Tanh", "p", "q", "q"), node("Tanh", "q", "y", "y")]
    return graph_io.load_graph(model(nodes, {"x": (64, 512)}, ["y"], weights), granularity="node")


def test_the_same_groups_are_taken_as_they_are(uneven):
    timings = grouped(uneven, {("y",): 0.25, ("p",): 0.5, ("q",): 0.125})
    assert latencies_for(timings, uneven) == ({"p": 0.5, "q": 0.125, "y": 0.25}, ())


def test_measured_layers_that_lie_in_one_are_added_up(uneven):
    layer = dataclasses.replace(uneven.nodes["p"]["layer"], nodes=("p", "q"))
    uneven.remove_node("q")
    uneven.nodes["p"]["layer"] = layer
    timings = grouped(uneven, {("p",): 0.5, ("q",): 0.25, ("y",): 1.0})
    latencies, notes = latencies_for(timings, uneven)
    assert latencies == {"p": 0.75, "y": 1.0}
    assert notes == (
        "bench groups the nodes into other layers than this host: the times of 1 of 2 layers are put together from "
        "measured ones",
    )


def test_a_measured_layer_that_lies_in_several_is_shared_out_by_predicted_time(uneven):
    timings = grouped(uneven, {("p", "q"): 0.5, ("y",): 0.25})
    latencies, (note,) = latencies_for(timings, uneven)
    assert latencies["y"] == 0.25
    assert latencies["p"] + latencies["q"] == pytest.approx(0.5)
    weights = sharing_weights({layer: data["layer"] for layer, data in uneven.nodes(data=True)})
    assert latencies["p"] / latencies["q"] == pytest.approx(weights["p"] / weights["q"])
    assert latencies["p"] > 2 * latencies["q"] > 0
    assert note.endswith(
        "2 of 3 layers are put together from measured ones; 1 measured layers lie in several, by predicted time"
    )
    assert annotate(uneven, {"server": timings, "device": "laptop-4-core"}) == (f"server: {note}",)
    assert {layer: data["latency_s"]["server"] for layer, data in uneven.nodes(data=True)} == latencies


def test_nodes_of_another_model_are_refused(uneven):
    with pytest.raises(InputError, match=r"lack the node 'p' and 1 more of the model; measure again: .*--granularity"):
        latencies_for(grouped(uneven, {("y",): 0.5}), uneven)
    surplus = grouped(uneven, {("p", "q"): 0.5, ("y",): 0.25, ("z",): 0.0})
    with pytest.raises(InputError, match="layer 'z' has the node 'z', which the model lacks; measure again"):
        latencies_for(surplus, uneven)


def test_timings_of_another_version(measured, squeezenet, tmp_path):
    write_json(tmp_path / "t.json", measured.to_json() | {"version": 2})
    with pytest.raises(InputError, match=r"t\.json' has version 2; this release reads version 1"):
        partition(squeezenet, "wifi", device=tmp_path / "t.json")


# --- annotated graphs ----------------------------------------------------------------------------------------------


def test_annotate_adds_seconds_by_role():
    graph = graph_io.load_graph(relu_chain())
    before = copy.deepcopy(dict(graph.nodes(data=True)))
    annotate(graph, {"device": load_machine("raspberry-pi-4")})
    annotate(graph, {"server": timings_of(graph, 0.25), "gateway": load_machine("laptop-4-core")})
    for layer, data in graph.nodes(data=True):
        assert set(data) == {"layer", "latency_s", "deviation_s"}
        assert list(data["latency_s"]) == ["device", "server", "gateway"]
        assert data["latency_s"]["server"] == 0.25
        assert data["layer"] == before[layer]["layer"]
    annotate(graph, {"device": timings_of(graph, 0.5)})
    assert {data["latency_s"]["device"] for _, data in graph.nodes(data=True)} == {0.5}
    assert {data["latency_s"]["server"] for _, data in graph.nodes(data=True)} == {0.25}


def test_annotate_takes_names_and_paths(tmp_path):
    graph = graph_io.load_graph(relu_chain())
    machine = load_machine("raspberry-pi-4")
    machine.save(tmp_path / "m.json")
    assert annotate(graph, {"name": "raspberry-pi-4", "path": tmp_path / "m.json", "object": machine}) == ()
    for _, data in graph.nodes(data=True):
        assert len(set(data["latency_s"].values())) == 1


def test_annotate_refuses_timings_of_another_model_and_leaves_the_graph(measured):
    graph = graph_io.load_graph(relu_chain())
    with pytest.raises(InputError, match="are of another model"):
        annotate(graph, {"server": "xeon-server", "device": measured})
    with pytest.raises(InputError, match="unknown machine 'abacus'"):
        annotate(graph, {"server": "xeon-server", "device": "abacus"})
    assert all(set(data) == {"layer"} for _, data in graph.nodes(data=True))


def test_planning_an_annotated_graph_uses_the_machines_of_the_call():
    graph = graph_io.load_graph(relu_chain())
    expected = partition(graph, "wifi").to_json()
    annotate(graph, {"device": timings_of(graph, 9.0)})
    assert partition(graph, "wifi").to_json() == expected
    assert {data["latency_s"]["device"] for _, data in graph.nodes(data=True)} == {9.0}


def test_kernels_without_a_name_are_timed():
    """The runtime inlines Softsign's function body here and leaves its nodes without names."""
    import onnx

    function = onnx.helper.make_function(
        "local",
        "Soft",
        ["p"],
        ["q"],
        [
            onnx.helper.make_node("Abs", ["p"], ["a"]),
            onnx.helper.make_node("Exp", ["a"], ["e"]),
            onnx.helper.make_node("Div", ["p", "e"], ["q"]),
        ],
        [onnx.helper.make_opsetid("", 17)],
    )
    nodes = [onnx.helper.make_node("Soft", ["x"], ["t"], domain="local"), onnx.helper.make_node("Tanh", ["t"], ["y"])]
    kind = (onnx.TensorProto.FLOAT, [64, 4096])
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "f",
            [onnx.helper.make_tensor_value_info("x", *kind)],
            [onnx.helper.make_tensor_value_info("y", *kind)],
        ),
        functions=[function],
        opset_imports=[onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("local", 1)],
        ir_version=8,
    )
    timings = measure(proto, threads=1)
    assert all(layer.latency_s > 0 for layer in timings.layers)
    assert sum(layer.latency_s for layer in timings.layers) == pytest.approx(timings.whole_model.latency_s)
