"""Quantised models: integers cross, each reader has its DequantizeLinear, and the parts still compute the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graph_io import cut_reasons, head_of_cut, load_graph, load_model, single_tensor_cuts, split
from graph_io.quantised_cuts import one_dequantize_per_reader
from tests.graph_io.running import identical, inputs_of, run_parts, run_whole, session, worst_error
from tests.models import model, node, random_model, value
from tests.scale import scaled

STEP = 0.05


def rounded(name):
    """Quantise a tensor and read it back: q_NAME and d_NAME."""
    return [
        node("QuantizeLinear", f"{name} scale zero", f"q_{name}", f"Q_{name}"),
        node("DequantizeLinear", f"q_{name} scale zero", f"d_{name}", f"D_{name}"),
    ]


def quantised(nodes, inputs, outputs, weights=None, **more):
    """Make a model that knows ``scale`` and ``zero``."""
    steps = {"scale": np.float32(STEP), "zero": np.uint8(128)}
    return model(nodes, inputs, outputs, steps | (weights or {}), **more)


def residual():
    """A small convolutional network in QDQ form: a skip connection, and operators that have no integer kernel."""
    generator = np.random.default_rng(0)
    weights = {
        "w_scale": np.float32(0.02),
        "w_zero": np.int8(0),
        "w1": generator.integers(-20, 20, (8, 3, 3, 3)).astype(np.int8),
        "w2": generator.integers(-20, 20, (8, 8, 3, 3)).astype(np.int8),
    }
    nodes = [
        *rounded("x"),
        node("DequantizeLinear", "w1 w_scale w_zero", "d_w1"),
        node("Conv", "d_x d_w1", "c1", "Conv1", pads=[1] * 4),
        *rounded("c1"),
        node("DequantizeLinear", "w2 w_scale w_zero", "d_w2"),
        node("Conv", "d_c1 d_w2", "c2", "Conv2", pads=[1] * 4),
        *rounded("c2"),
        node("Add", "d_c2 d_c1", "sum", "Sum"),
        *rounded("sum"),
        node("HardSwish", "d_sum", "h", "Swish"),
        *rounded("h"),
        node("GlobalAveragePool", "d_h", "y", "Pool"),
    ]
    return quantised(nodes, {"x": (1, 3, 8, 8)}, ["y"], weights)


def check_prefixes(graph, source, *, worst):
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    layers = list(graph)
    for length in range(1, len(layers)):
        parts = [part.proto for part in split(graph, [layers[:length], layers[length:]])]
        assert worst_error(run_parts(parts, feeds, list(reference)), reference) <= worst


def readers_of(graph, op_type):
    """Return for each node of a type the nodes that read it."""
    return {
        one.name: [other.name for other in graph.node if one.output[0] in other.input]
        for one in graph.node
        if one.op_type == op_type
    }


# --- a DequantizeLinear for each reader -----------------------------------------------------------------------------


def test_one_dequantize_per_reader():
    nodes = [
        *rounded("x"),
        node("Mul", "d_x d_x", "a", "A"),
        node("Tanh", "d_x", "b", "B"),
        node("Sum", "a b d_x", "y", "C"),
    ]
    source = quantised(nodes, {"x": (2, 4)}, ["y"])
    loaded = load_model(source)
    made = readers_of(loaded.proto.graph, "DequantizeLinear")
    assert made == {"D_x": ["A"], "D_x_2": ["B"], "D_x_3": ["C"]}
    assert loaded.notes == ("DequantizeLinear is copied to each reader, so that integers cross: 2 more nodes",)
    feeds = inputs_of(source)
    assert identical(run_whole(loaded.proto, feeds), run_whole(source, feeds))
    assert readers_of(load_model(loaded.proto).proto.graph, "DequantizeLinear") == made


def test_fresh_names_are_not_taken():
    body = helper.make_graph([node("Neg", "a", "d_x_3", "D_x_2")], "body", [], [value("d_x_3", (2, 4))])
    nodes = [
        *rounded("x"),
        node("Tanh", "d_x", "a", "A"),
        node("Tanh", "d_x", "d_x_2", "D_x_4"),
        node("If", "flag", "i", "If", then_branch=body, else_branch=body),
        node("Sum", "a d_x_2 i", "y"),
    ]
    inputs = [value("x", (2, 4)), value("flag", (), TensorProto.BOOL)]
    proto = quantised(nodes, inputs, ["y"])
    assert one_dequantize_per_reader(proto.graph) == 1
    copy = proto.graph.node[2]
    assert (copy.name, copy.output[0]) == ("D_x_3", "d_x_4")
    session(proto)


def test_an_output_and_a_body_keep_the_name():
    body = helper.make_graph([node("Neg", "d_x", "n")], "body", [], [value("n", (2, 4))])
    nodes = [
        *rounded("x"),
        node("If", "flag", "i", "If", then_branch=body, else_branch=body),
        node("Tanh", "d_x", "t", "T"),
        node("Add", "i t", "y"),
    ]
    inputs = [value("x", (2, 4)), value("flag", (), TensorProto.BOOL)]
    captured = load_model(quantised(nodes, inputs, ["y"])).proto
    assert readers_of(captured.graph, "DequantizeLinear") == {"D_x": [], "D_x_2": ["T"]}
    put_out = load_model(quantised([*rounded("x"), node("Tanh", "d_x", "y", "T")], {"x": (2, 4)}, ["y", "d_x"])).proto
    assert readers_of(put_out.graph, "DequantizeLinear") == {"D_x": [], "D_x_2": ["T"]}


def test_weights_and_scales_of_the_run_stay_shared():
    nodes = [
        node("DequantizeLinear", "w scale zero", "dw", "W"),
        node("Mul", "x dw", "a"),
        node("Add", "a dw", "b"),
        node("DynamicQuantizeLinear", "b", "q s z", "Q"),
        node("DequantizeLinear", "q s z", "d", "D"),
        node("Tanh", "d", "t"),
        node("Add", "d t", "y"),
    ]
    proto = quantised(nodes, {"x": (2, 4)}, ["y"], {"w": np.full((2, 4), 130, np.uint8)})
    assert one_dequantize_per_reader(proto.graph) == 0


# --- layers and cuts ------------------------------------------------------------------------------------------------


def test_integers_cross_between_layers():
    source = residual()
    graph = load_graph(source)
    tensors = graph.graph["tensors"]
    assert {name: one.dtype for name, one in tensors.items() if name not in ("x", "y")} == dict.fromkeys(
        ("q_x", "q_c1", "q_c2", "q_sum", "q_h"), "uint8"
    )
    operators = {layer: data["layer"].op_types for layer, data in graph.nodes(data=True)}
    assert operators["Conv1"] == ("DequantizeLinear", "Conv", "QuantizeLinear")
    assert operators["Sum"] == ("DequantizeLinear", "DequantizeLinear", "Add", "QuantizeLinear")
    assert operators["Swish"] == ("DequantizeLinear", "HardSwish", "QuantizeLinear")
    # In the middle of the skip connection both sides cross as integers.
    assert cut_reasons(graph)["q_c2"].cut_bytes == 2 * 8 * 8 * 8
    check_prefixes(graph, source, worst=1e-5)


def test_every_single_cut_between_nodes():
    source = residual()
    graph = load_graph(source, granularity="node")
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    cuts = single_tensor_cuts(graph)
    assert {"q_x", "d_x", "c1", "q_c1", "sum"} < set(cuts)
    for name in cuts:
        head = head_of_cut(graph, [name])
        halves = [[one for one in graph if one in head], [one for one in graph if one not in head]]
        if all(halves):
            parts = [part.proto for part in split(graph, halves)]
            # A cut between nodes may keep the runtime from an integer kernel: one step of the pool's input, averaged.
            assert np.max(np.abs(run_parts(parts, feeds, ["y"])["y"] - reference["y"])) <= STEP, name


def test_a_float_that_others_read_stays_between_layers():
    nodes = [node("Tanh", "x", "t", "T"), *rounded("t"), node("Neg", "d_t", "n", "N"), node("Add", "n t", "y", "Y")]
    graph = load_graph(quantised(nodes, {"x": (2, 4)}, ["y"]))
    assert graph.nodes["Q_t"]["layer"].op_types == ("QuantizeLinear",)
    assert {"t", "q_t"} < set(graph.graph["tensors"])
    put_out = load_graph(quantised(nodes[:3], {"x": (2, 4)}, ["t", "d_t"]))
    assert "Q_t" in put_out


def test_dynamic_quantisation():
    generator = np.random.default_rng(1)
    weights = {f"w{index}": generator.integers(-9, 9, (16, 16)).astype(np.int8) for index in range(2)}
    weights["w_scale"] = np.float32(0.05)
    nodes, data = [], "x"
    for index in range(2):
        nodes += [
            node("DynamicQuantizeLinear", data, f"q{index} s{index} z{index}", f"Q{index}"),
            node("MatMulInteger", f"q{index} w{index} z{index}", f"i{index}", f"M{index}"),
            node("Cast", f"i{index}", f"f{index}", to=TensorProto.FLOAT),
            node("Mul", f"s{index} w_scale", f"k{index}"),
            node("Mul", f"f{index} k{index}", f"p{index}"),
            node("Tanh", f"p{index}", f"t{index}", f"T{index}"),
        ]
        data = f"t{index}"
    source = model(nodes, {"x": (3, 16)}, ["t1"], weights)
    graph = load_graph(source)
    assert (
        next(one for one in graph.nodes.values() if "q1" in one["layer"].outputs)["layer"].op_types[-1]
        == "DynamicQuantizeLinear"
    )
    reason = cut_reasons(graph)["q1"]
    assert (set(reason.beside), reason.cut_bytes) == ({"s1", "z1"}, 3 * 16 + 4 + 1)
    assert head_of_cut(graph, ["q1", "s1", "z1"])
    check_prefixes(graph, source, worst=1e-5)


# --- any graph ------------------------------------------------------------------------------------------------------


def randomly_quantised(seed):
    """Round about half of the tensors of a random graph."""
    generator = np.random.default_rng(seed)
    source = random_model(seed)
    nodes = list(load_model(source).proto.graph.node)
    outputs = {one.name for one in source.graph.output}
    made = []
    for one in nodes:
        made.append(one)
        for name in one.output:
            if name and not name.endswith("_order") and name not in outputs and generator.random() < 0.5:
                made += rounded(name)
    renamed = {one.input[0]: one.output[0].replace("q_", "d_", 1) for one in made if one.op_type == "QuantizeLinear"}
    for one in made:
        if one.op_type != "QuantizeLinear":
            for slot, name in enumerate(one.input):
                one.input[slot] = renamed.get(name, name)
    steps = {"scale": np.float32(STEP), "zero": np.uint8(128)}
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in source.graph.initializer}
    return model(made, list(source.graph.input), list(source.graph.output), weights | steps)


@pytest.mark.parametrize("seed", range(scaled(15, 300)))
def test_random_graphs(seed):
    source = randomly_quantised(seed)
    graph = load_graph(source)
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    normalised = graph.graph["model"].proto
    assert worst_error(run_whole(normalised, feeds), reference) <= 1e-5
    assert sorted(name for _, data in graph.nodes(data=True) for name in data["layer"].nodes) == sorted(
        name for _, data in load_graph(source, granularity="node").nodes(data=True) for name in data["layer"].nodes
    )
    assert not any("depend on each other" in note for note in graph.graph["notes"])
