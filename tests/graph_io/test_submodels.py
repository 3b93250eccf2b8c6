"""What a part keeps of the whole, and what must not be copied into it."""

import copy

import numpy as np
import onnx
import pytest
from onnx import helper

import graph_io
from tests.graph_io.hard_models import HARD_MODELS, if_node, ramp
from tests.graph_io.running import inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node, relu_chain, value


def finest(source, **options):
    graph = graph_io.load_graph(source, granularity="node", **options)
    return graph, graph_io.split(graph, [[layer] for layer in graph])


def test_metadata_is_kept():
    source = relu_chain()
    source.producer_name, source.producer_version, source.domain = "exporter", "1.2", "my.domain"
    source.model_version, source.doc_string = 7, "what it is"
    source.metadata_props.add(key="labels", value="cat,dog")
    source.graph.doc_string = "about the graph"
    source.graph.metadata_props.add(key="graph", value="one")
    source.graph.node[0].doc_string = "about the node"
    source.graph.node[0].metadata_props.add(key="node", value="first")
    source.graph.quantization_annotation.add(tensor_name="t0").quant_parameter_tensor_names.add(key="K", value="x")
    _, parts = finest(source)
    for part in parts:
        for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
            assert getattr(part.proto, field) == getattr(source, field)
        assert list(part.proto.metadata_props) == list(source.metadata_props)
        assert list(part.proto.opset_import) == list(source.opset_import)
        assert part.proto.graph.doc_string == "about the graph"
        assert list(part.proto.graph.metadata_props) == list(source.graph.metadata_props)
    assert parts[0].proto.graph.node[0] == source.graph.node[0]
    annotated = [[note.tensor_name for note in part.proto.graph.quantization_annotation] for part in parts]
    assert annotated == [["t0"], ["t0"], []]


def test_domains_and_functions_are_kept():
    for name in ("several_domains", "local_functions"):
        source = HARD_MODELS[name]()
        for part in finest(source)[1]:
            assert list(part.proto.opset_import) == list(source.opset_import)
            kept = copy.deepcopy(list(part.proto.functions))
            for function in kept:
                for entry in function.node:
                    entry.ClearField("name")
            assert kept == list(source.functions)


@pytest.mark.parametrize("name", HARD_MODELS)
def test_parts_are_valid_onnx(name):
    graph, parts = finest(HARD_MODELS[name]())
    tensors = graph.graph["tensors"]
    for part in parts:
        if name != "several_domains":  # the checker does not know the runtime's own operators
            onnx.checker.check_model(part.proto, full_check=name != "sparse_weights")
        assert part.inputs == tuple(value.name for value in part.proto.graph.input)
        assert part.outputs == tuple(value.name for value in part.proto.graph.output)
        assert set(part.inputs) <= set(tensors)
        assert [entry.name for entry in part.proto.graph.node if entry.name in part.layers] == list(part.layers)
    produced = [output for part in parts for output in part.outputs]
    assert len(produced) == len(set(produced)), "one tensor, one producer"
    handed_through = {name for name in graph.graph["outputs"] if name in graph.graph["inputs"]}
    assert set(produced) | handed_through >= set(graph.graph["outputs"])


def test_parts_outlive_the_model():
    source = relu_chain()
    graph, parts = finest(source)
    before = [part.proto.SerializeToString() for part in parts]
    for entry in graph.graph["model"].proto.graph.node:
        entry.op_type = "Broken"
    parts[0].proto.graph.node[0].name = "renamed"
    assert [part.proto.SerializeToString() for part in parts[1:]] == before[1:]


def test_order_of_inputs_and_outputs():
    nodes = [node("Add", "b a", "s"), node("Sub", "a b", "d"), node("Mul", "s d", "z"), node("Add", "z d", "w")]
    source = model(nodes, {"a": (2,), "b": (2,)}, ["w", "d"])
    graph = graph_io.load_graph(source, granularity="node")
    order = list(graph)
    head, tail = graph_io.split(graph, [order[:2], order[2:]])
    assert head.inputs == ("a", "b")
    assert head.outputs == ("d", "s"), "outputs of the model first"
    assert tail.inputs == ("s", "d")
    assert tail.outputs == ("w",)


def test_constants_are_copied_and_never_cross():
    graph, parts = finest(HARD_MODELS["computed_constants_on_both_sides"]())
    assert [part.inputs for part in parts] == [("x",), ("a",), ("b",), ("c",)]
    kinds = [[entry.op_type for entry in part.proto.graph.node] for part in parts]
    assert kinds == [
        ["ConstantOfShape", "Mul", "MatMul"],
        ["Tanh"],
        ["ConstantOfShape", "Mul", "Transpose", "MatMul"],
        ["ConstantOfShape", "Mul", "MatMul"],
    ]
    assert not set(graph.graph["tensors"]) & {"filled", "scaled", "turned"}
    assert [len(part.proto.graph.initializer) for part in parts] == [2, 0, 2, 2]


def test_shared_weight_is_in_every_part_that_reads_it():
    _, parts = finest(HARD_MODELS["weight_shared_by_both_sides"]())
    assert [[tensor.name for tensor in part.proto.graph.initializer] for part in parts] == [["w"], [], ["w"], []]


def test_captured_tensors_are_edges():
    graph, parts = finest(HARD_MODELS["if_with_captures"]())
    branch = next(data["layer"] for data in graph.nodes.values() if data["layer"].op_types == ("If",))
    assert set(branch.inputs) == {"condition", "a", "b", "x"}
    assert set(branch.constants) == {"w", "computed"}
    part = next(part for part in parts if branch.id in part.layers)
    assert set(part.inputs) == set(branch.inputs)
    assert [entry.op_type for entry in part.proto.graph.node] == ["Neg", "If"]


def drawing(kind):
    """Return nodes that draw a random tensor ``r`` of shape (2, 3), and functions and opsets that they need."""
    normal = node("RandomNormal", "", "r", shape=[2, 3])
    if kind == "source":
        return [normal], {}
    if kind == "like a weight":
        return [node("RandomUniformLike", "w", "r")], {}
    if kind == "bernoulli of a weight":
        return [node("Bernoulli", "probability", "r")], {}
    if kind == "dropout in training":
        return [node("Dropout", "w half true", "r")], {}
    if kind == "in a branch":
        inner = [node("RandomNormal", "", "then_result", shape=[2, 3])]
        return [if_node("true", "r", inner, [node("Identity", "w", "else_result")], [2, 3])], {}
    base = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Draw", [], ["v"], [node("RandomNormal", "", "v", shape=[2, 3])], base)
    opsets = [*base, helper.make_opsetid("local", 1)]
    return [helper.make_node("Draw", [], ["r"], domain="local")], {"functions": [function], "opset_imports": opsets}


@pytest.mark.parametrize(
    "kind", ["source", "like a weight", "bernoulli of a weight", "dropout in training", "in a branch", "in a function"]
)
def test_random_values_are_drawn_once(kind):
    """``y = (x + r) - r`` is ``x`` only if both sides see one draw."""
    nodes, more = drawing(kind)
    nodes += [node("Add", "x r", "a"), node("Tanh", "a", "t"), node("Sub", "a r", "y"), node("Neg", "t", "z")]
    weights = {
        "w": ramp(2, 3),
        "probability": np.full((2, 3), 0.5, np.float32),
        "half": np.float32(0.5),
        "true": np.array(True),
    }
    source = model(nodes, {"x": (2, 3)}, [value("y", [2, 3]), value("z", [2, 3])], weights, **more)
    graph = graph_io.load_graph(source, granularity="node")
    assert "r" in graph.graph["tensors"], "a draw is a tensor that crosses, not a constant"
    feeds = inputs_of(source)
    order = list(graph)
    for index in range(1, len(order)):
        parts = graph_io.split(graph, [order[:index], order[index:]])
        makers = [part for part in parts if any("r" in entry.output for entry in part.proto.graph.node)]
        assert len(makers) == 1
        got = run_parts([part.proto for part in parts], feeds, ["y"])
        np.testing.assert_allclose(got["y"], feeds["x"], atol=1e-5)


def test_quantised_tensor_crosses_at_a_quarter():
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("Tanh", "d", "y"),
    ]
    source = model(nodes, {"x": (8, 8)}, ["y"], {"scale": np.float32(0.05), "zero": np.uint8(128)})
    graph, parts = finest(source)
    assert graph.graph["tensors"]["q"].size_bytes * 4 == graph.graph["tensors"]["d"].size_bytes
    feeds = inputs_of(source)
    assert worst_error(run_parts([part.proto for part in parts], feeds, ["y"]), run_whole(source, feeds)) <= 1e-5
