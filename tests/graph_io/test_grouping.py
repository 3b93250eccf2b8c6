"""Models whose tensors the runtime renames: layers stay fine, and cuts stay where they are cheap."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import graph_io
from graph_io.features import traffic_bytes
from partition import partition


def _model(nodes, inputs, outputs, constants, opset=13) -> ModelProto:
    def values(entries):
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in entries.items()]

    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "grouping", values(inputs), values(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def half_precision_perceptron(n_blocks: int = 6) -> ModelProto:
    generator = np.random.default_rng(0)
    nodes, constants, data = [], {}, "x"
    for block in range(n_blocks):
        constants[f"w{block}"] = (generator.standard_normal((64, 64)) * 0.1).astype(np.float16)
        constants[f"b{block}"] = (generator.standard_normal(64) * 0.1).astype(np.float16)
        nodes += [
            helper.make_node("MatMul", [data, f"w{block}"], [f"m{block}"]),
            helper.make_node("Add", [f"m{block}", f"b{block}"], [f"a{block}"]),
            helper.make_node("Relu", [f"a{block}"], [f"r{block}"]),
        ]
        data = f"r{block}"
    kind = (TensorProto.FLOAT16, [1, 64])
    return _model(nodes, {"x": kind}, {data: kind}, constants)


def channels_last_network(n_blocks: int = 8) -> ModelProto:
    generator = np.random.default_rng(0)
    nodes, constants, data = [], {}, "x"
    for block in range(n_blocks):
        constants[f"w{block}"] = (generator.standard_normal((8, 8, 3, 3)) * 0.1).astype(np.float32)
        constants[f"b{block}"] = generator.standard_normal(8).astype(np.float32)
        nodes += [
            helper.make_node("Transpose", [data], [f"t{block}"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", [f"t{block}", f"w{block}"], [f"v{block}"], pads=[1, 1, 1, 1]),
            helper.make_node("Transpose", [f"v{block}"], [f"u{block}"], perm=[0, 2, 3, 1]),
            helper.make_node("Add", [f"u{block}", f"b{block}"], [f"a{block}"]),
            helper.make_node("Sigmoid", [f"a{block}"], [f"s{block}"]),
        ]
        data = f"s{block}"
    kind = (TensorProto.FLOAT, [1, 16, 16, 8])
    return _model(nodes, {"x": kind}, {data: kind}, constants)


def quantised_network(dtype: type, n_blocks: int = 5) -> ModelProto:
    generator = np.random.default_rng(0)
    constants = {"scale": np.float32(0.02), "zero": np.array(0, dtype), "zero_w": np.array(0, np.int8)}
    nodes, data = [], "x"
    for block in range(n_blocks):
        constants[f"w{block}"] = generator.integers(-100, 100, (8, 8, 3, 3)).astype(np.int8)
        nodes += [
            helper.make_node("QuantizeLinear", [data, "scale", "zero"], [f"q{block}"]),
            helper.make_node("DequantizeLinear", [f"q{block}", "scale", "zero"], [f"d{block}"]),
            helper.make_node("DequantizeLinear", [f"w{block}", "scale", "zero_w"], [f"e{block}"]),
            helper.make_node("Conv", [f"d{block}", f"e{block}"], [f"v{block}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"v{block}"], [f"r{block}"]),
        ]
        data = f"r{block}"
    nodes += [
        helper.make_node("QuantizeLinear", [data, "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    kind = (TensorProto.FLOAT, [1, 8, 16, 16])
    return _model(nodes, {"x": kind}, {"y": kind}, constants)


def _verify_every_cut(model: ModelProto, graph, tolerance: float | None = None) -> None:
    for cut in graph_io.single_tensor_cuts(graph)[1:-1]:
        verification = partition(graph, "wifi", cut=[cut]).verify(tolerance=tolerance)
        assert verification.ok, (cut, verification)
        assert verification.depends_on_input


def test_half_precision_keeps_its_layers():
    model = half_precision_perceptron()
    graph = graph_io.load_graph(model)
    assert len(graph) >= 6
    assert len(graph_io.single_tensor_cuts(graph)) >= 7
    assert any("grouped by rule" in note for note in graph.graph["notes"])
    # float16: the default tolerance follows the model's precision.
    _verify_every_cut(model, graph)


def test_channels_last_keeps_its_layers():
    model = channels_last_network()
    graph = graph_io.load_graph(model)
    assert max(len(data["layer"].nodes) for _, data in graph.nodes(data=True)) <= 6
    assert len(graph_io.single_tensor_cuts(graph)) >= 9
    _verify_every_cut(model, graph)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantised_tensors_are_cuts(dtype):
    model = quantised_network(dtype)
    graph = graph_io.load_graph(model)
    cuts = graph_io.single_tensor_cuts(graph)
    assert {f"q{block}" for block in range(5)} <= set(cuts)
    assert all(graph.graph["tensors"][f"q{block}"].size_bytes == 8 * 16 * 16 for block in range(5))
    # One quantisation step of the output, relative to its largest value.
    _verify_every_cut(model, graph, tolerance=1 / 127)


def test_quantised_weights_count_as_stored():
    graph = graph_io.load_graph(quantised_network(np.int8))
    stored = 5 * 8 * 8 * 3 * 3
    assert stored <= sum(graph.graph["constant_bytes"].values()) <= stored + 16
    assert sum(data["layer"].weight_bytes for _, data in graph.nodes(data=True)) < 2 * stored


def test_a_table_is_charged_by_the_rows_read():
    table = np.random.default_rng(0).standard_normal((30_000, 16)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"]), helper.make_node("MatMul", ["rows", "w"], ["y"])]
    model = _model(
        nodes,
        {"ids": (TensorProto.INT64, [1, 8])},
        {"y": (TensorProto.FLOAT, [1, 8, 16])},
        {"table": table, "w": weights},
    )
    graph = graph_io.load_graph(model, granularity="node")
    layer = next(data["layer"] for _, data in graph.nodes(data=True) if data["layer"].op_types == ("Gather",))
    assert layer.weight_bytes == table.nbytes
    assert layer.traffic_bytes == 8 * 8 + 2 * 8 * 16 * 4


def test_views_move_nothing():
    reshape = helper.make_node("Reshape", ["x", "shape"], ["y"])
    assert traffic_bytes([reshape], {"x": 4000, "shape": 16}, {"y": 4000}, {}) == 0
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert traffic_bytes([relu], {"x": 4000}, {"y": 4000}, {}) == 8000


def test_operators_without_a_price_are_named():
    function = helper.make_function(
        "local",
        "Heavy",
        ["p", "q"],
        ["o"],
        [helper.make_node("MatMul", ["p", "q"], ["o"])],
        [helper.make_opsetid("", 13)],
    )
    model = _model(
        [helper.make_node("Heavy", ["x", "w"], ["a"], domain="local"), helper.make_node("Relu", ["a"], ["y"])],
        {"x": (TensorProto.FLOAT, [4, 4])},
        {"y": (TensorProto.FLOAT, [4, 4])},
        {"w": np.eye(4, dtype=np.float32)},
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    assert any("Heavy (1)" in note for note in graph_io.load_graph(model).graph["notes"])


def test_a_weight_is_no_place_to_cut():
    graph = graph_io.load_graph(quantised_network(np.uint8))
    for name in ("w0", "e0"):
        with pytest.raises(graph_io.ModelError, match=f"tensor '{name}' is a constant, which never crosses"):
            graph_io.head_of_cut(graph, [name])


def test_half_precision_convolutions_can_be_profiled():
    generator = np.random.default_rng(0)
    constants = {f"w{n}": (generator.standard_normal((16, 16, 3, 3)) * 0.1).astype(np.float16) for n in range(3)}
    nodes = []
    for number, (before, after) in enumerate(zip(("x", "a", "b"), ("a", "b", "y"), strict=True)):
        nodes.append(helper.make_node("Conv", [before, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [after]))
    kind = (TensorProto.FLOAT16, [1, 16, 32, 32])
    graph = graph_io.load_graph(_model(nodes, {"x": kind}, {"y": kind}, constants))
    kernels = graph_io.deployed_kernels(graph)
    assert {layer for layers in kernels.values() for layer in layers} == set(graph)
