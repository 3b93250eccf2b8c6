"""Models that are legal ONNX and awkward to split: each builder shows one way in which a splitter can go wrong."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models import FLOAT, model, node, value

HARD_MODELS = {}


def hard(builder):
    HARD_MODELS[builder.__name__] = builder
    return builder


def ramp(*shape, start=-1.0, stop=1.0):
    return np.linspace(start, stop, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@hard
def several_outputs_of_one_node():
    nodes = [
        node("Split", "x sizes", "a b c", axis=1),
        node("Tanh", "a", "ta"),
        node("Mul", "ta c", "ac"),
        node("Sigmoid", "b", "sb"),
        node("Add", "ac sb", "y"),
    ]
    return model(nodes, {"x": (2, 6)}, ["y"], {"sizes": np.array([2, 2, 2])})


@hard
def unread_outputs():
    nodes = [
        node("Tanh", "x", "t"),
        node("TopK", "t k", "unread order", axis=1),
        node("Cast", "order", "cast", to=FLOAT),
        node("TopK", "cast k", "values unread2", axis=1),
        node("Neg", "values", "y"),
    ]
    return model(nodes, {"x": (2, 6)}, ["y"], {"k": np.array([3])})


@hard
def omitted_inputs():
    nodes = [
        node("Tanh", "x", "t"),
        node("Clip", "t _ top", "clipped"),
        node("Resize", "clipped _ scales", "resized"),
        node("Clip", "resized bottom", "y"),
    ]
    weights = {"top": np.float32(0.5), "bottom": np.float32(-0.25), "scales": np.float32([1, 1, 2, 2])}
    return model(nodes, {"x": (1, 2, 3, 3)}, ["y"], weights)


@hard
def recurrent_with_omitted_slots():
    nodes = [
        node("Tanh", "x", "t"),
        node("LSTM", "t w r _ _ h0", "_ hidden", hidden_size=3),
        node("Neg", "hidden", "n"),
        node("GRU", "t gw gr", "sequence", hidden_size=3),
        node("ReduceMean", "sequence", "mean", axes=[0], keepdims=0),
        node("Add", "n mean", "y"),
    ]
    weights = {
        "w": ramp(1, 12, 4),
        "r": ramp(1, 12, 3),
        "h0": ramp(1, 1, 3),
        "gw": ramp(1, 9, 4, stop=0.5),
        "gr": ramp(1, 9, 3, stop=0.5),
    }
    return model(nodes, {"x": (5, 1, 4)}, ["y"], weights)


@hard
def output_read_inside():
    nodes = [node("Tanh", "x", "a"), node("Neg", "a", "b"), node("Mul", "a b", "c"), node("Exp", "c", "d")]
    return model(nodes, {"x": (2, 3)}, ["b", "d", "a"])


@hard
def constant_outputs():
    nodes = [
        node("Constant", "", "k", value=numpy_helper.from_array(ramp(3))),
        node("Neg", "k", "computed"),
        node("Tanh", "x", "t"),
        node("Add", "t computed", "y"),
        node("Mul", "y w", "z"),
    ]
    return model(nodes, {"x": (2, 3)}, [value("computed", [3]), value("w", [3]), "z", value("k", [3])], {"w": ramp(3)})


@hard
def read_twice_by_one_node():
    nodes = [node("Tanh", "x", "t"), node("Mul", "t t", "square"), node("Concat", "square t square", "y", axis=0)]
    return model(nodes, {"x": (2, 3)}, ["y"])


@hard
def names_of_nodes_clash():
    nodes = [
        node("Relu", "x", "a"),
        node("Tanh", "a", "b", "Relu_0"),
        node("Tanh", "b", "c", "same"),
        node("Neg", "c", "d", "same"),
        node("Exp", "d", "e", "same_3"),
        node("Relu", "e", "y", "Relu_0_1"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"])


@hard
def nodes_out_of_order():
    nodes = [node("Add", "a b", "y"), node("Neg", "a", "b"), node("Mul", "w2 w1", "w"), node("Add", "x w", "a")]
    return model(nodes, {"x": (2, 3)}, ["y"], {"w1": ramp(3), "w2": ramp(3, start=2)})


@hard
def dropout_mask_unused():
    nodes = [node("Tanh", "x", "a"), node("Dropout", "a ratio", "b mask"), node("Neg", "b", "y")]
    return model(nodes, {"x": (2, 3)}, ["y"], {"ratio": np.float32(0.3)})


@hard
def dropout_mask_used():
    nodes = [
        node("Tanh", "x", "a"),
        node("Dropout", "a", "b mask"),
        node("Cast", "mask", "weight", to=FLOAT),
        node("Add", "b weight", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y", value("mask", [2, 3], TensorProto.BOOL)])


@hard
def computed_constants_on_both_sides():
    nodes = [
        node("ConstantOfShape", "shape", "filled", value=numpy_helper.from_array(np.float32([0.7]))),
        node("Mul", "filled w", "scaled"),
        node("Transpose", "scaled", "turned"),
        node("MatMul", "x scaled", "a"),
        node("Tanh", "a", "b"),
        node("MatMul", "b turned", "c"),
        node("MatMul", "c scaled", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"], {"shape": np.array([3, 4]), "w": ramp(3, 4)})


@hard
def weight_shared_by_both_sides():
    nodes = [node("MatMul", "x w", "a"), node("Tanh", "a", "b"), node("MatMul", "b w", "c"), node("Tanh", "c", "y")]
    return model(nodes, {"x": (2, 3)}, ["y"], {"w": ramp(3, 3)})


def if_node(condition, target, then_nodes, else_nodes, result_shape=None):
    def body(name, nodes):
        return helper.make_graph(nodes, name, [], [value(f"{name}_result", result_shape)])

    return node("If", condition, target, then_branch=body("then", then_nodes), else_branch=body("else", else_nodes))


@hard
def if_with_captures():
    nodes = [
        node("Tanh", "x", "a"),
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total zero", "condition"),
        node("Exp", "a", "b"),
        if_node(
            "condition",
            "chosen",
            [node("Mul", "a w", "inner_t"), node("Add", "inner_t b", "then_result")],
            [node("Sub", "x b", "inner_e"), node("Mul", "inner_e computed", "else_result")],
            [2, 3],
        ),
        node("Neg", "w", "computed"),
        node("Add", "chosen a", "y"),
    ]
    nodes.insert(0, nodes.pop(5))
    return model(nodes, {"x": (2, 3)}, ["y"], {"zero": np.float32(0), "w": ramp(3)})


@hard
def nested_bodies():
    inner = if_node(
        "condition", "then_result", [node("Mul", "a a", "then_result2")], [node("Add", "early w", "else_result2")]
    )
    for attribute in inner.attribute:
        attribute.g.output[0].name = attribute.g.node[0].output[0]
        attribute.g.name += "2"
    nodes = [
        node("Tanh", "x", "early"),
        node("Cos", "early", "a"),
        node("Greater", "x zero", "positive"),
        node("Cast", "positive", "positive_int", to=TensorProto.INT32),
        node("ReduceMax", "positive_int", "any_int", keepdims=0),
        node("Cast", "any_int", "condition", to=TensorProto.BOOL),
        node("Sin", "a", "b"),
        if_node("condition", "chosen", [inner], [node("Sub", "b early", "else_result")], [2, 3]),
        node("Add", "chosen b", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"], {"zero": np.float32(0), "w": ramp(3)})


@hard
def loop_with_captures():
    body = helper.make_graph(
        [
            node("Mul", "state decay", "shrunk"),
            node("Add", "shrunk a", "next"),
            node("Identity", "go", "go_on"),
            node("Neg", "next", "scanned"),
        ],
        "body",
        [
            value("step", [], TensorProto.INT64),
            value("go", [], TensorProto.BOOL),
            value("state", [2, 3]),
        ],
        [value("go_on", [], TensorProto.BOOL), value("next", [2, 3]), value("scanned", [2, 3])],
    )
    nodes = [
        node("Tanh", "x", "a"),
        node("Exp", "a", "start"),
        node("Loop", "trips _ start", "last all", body=body),
        node("ReduceMean", "all", "mean", axes=[0], keepdims=0),
        node("Add", "mean last", "b"),
        node("Mul", "b a", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"], {"trips": np.array(3), "decay": np.float32(0.5)})


@hard
def scan_with_captures():
    body = helper.make_graph(
        [node("Add", "carry row", "sum"), node("Mul", "sum gain", "next_carry"), node("Tanh", "next_carry", "row_out")],
        "body",
        [value("carry", [3]), value("row", [3])],
        [value("next_carry", [3]), value("row_out", [3])],
    )
    nodes = [
        node("Sigmoid", "x", "rows"),
        node("ReduceMean", "rows", "gain", axes=[0], keepdims=0),
        node("Scan", "start rows", "last stacked", body=body, num_scan_inputs=1),
        node("Add", "stacked last", "y"),
    ]
    return model(nodes, {"x": (4, 3)}, ["y"], {"start": ramp(3)})


@hard
def local_functions():
    base = [helper.make_opsetid("", 17)]
    inner = helper.make_function("local", "Square", ["u"], ["v"], [node("Mul", "u u", "v")], base)
    outer = helper.make_function(
        "local",
        "SquarePlus",
        ["u", "w"],
        ["v", "s"],
        [helper.make_node("Square", ["u"], ["s"], domain="local"), node("Add", "s w", "v")],
        [*base, helper.make_opsetid("local", 1)],
    )
    nodes = [
        node("Tanh", "x", "a"),
        helper.make_node("SquarePlus", ["a", "w"], ["b", "s"], domain="local"),
        node("Neg", "b", "c"),
        helper.make_node("SquarePlus", ["c", "a"], ["d", ""], domain="local"),
        helper.make_node("Square", ["w"], ["w2"], domain="local"),
        node("Add", "d s", "e"),
        node("Add", "e w2", "y"),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return model(nodes, {"x": (2, 3)}, ["y"], {"w": ramp(3)}, functions=[inner, outer], opset_imports=opsets)


@hard
def several_domains():
    nodes = [
        helper.make_node("Scaler", ["x"], ["a"], domain="ai.onnx.ml", offset=[0.5], scale=[2.0]),
        helper.make_node("Gelu", ["a"], ["b"], domain="com.microsoft"),
        helper.make_node("Tanh", ["b"], ["y"], domain="ai.onnx"),
    ]
    opsets = [helper.make_opsetid(*pair) for pair in (("", 17), ("ai.onnx.ml", 3), ("com.microsoft", 1))]
    return model(nodes, {"x": (2, 3)}, [value("y", [2, 3])], opset_imports=opsets)


@hard
def initializers_as_inputs():
    nodes = [
        node("MatMul", "x w", "a"),
        node("Tanh", "a", "b"),
        node("Reshape", "b shape", "c"),
        node("Add", "c w", "y"),
    ]
    inputs = [value("w", [3, 3]), value("x", [3, 3]), value("shape", [2], TensorProto.INT64)]
    weights = {"w": ramp(3, 3), "shape": np.array([3, 3])}
    return model(nodes, inputs, ["y"], weights, opset=9, ir_version=3)


@hard
def stale_value_info():
    made = model([node("Tanh", "x", "a"), node("Neg", "a", "b"), node("Exp", "b", "y")], {"x": (2, 3)}, ["y"])
    made.graph.value_info.append(value("a", [7, 9]))
    made.graph.value_info.append(value("gone", [7, 9]))
    return made


@hard
def sparse_weights():
    made = model([node("MatMul", "x w", "a"), node("Tanh", "a", "b"), node("MatMul", "b w", "y")], {"x": (2, 3)}, ["y"])
    values = numpy_helper.from_array(np.float32([1.5, -2.0]), "w")
    indices = numpy_helper.from_array(np.array([1, 6]), "w_indices")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 3]))
    return made


@hard
def input_handed_through():
    nodes = [node("Tanh", "x", "a"), node("Neg", "a", "y")]
    return model(nodes, {"x": (2, 3), "unused": (1, 2), "through": (5,)}, ["through", "y", "x"])


@hard
def shapes_and_scalars_cross():
    nodes = [
        node("Tanh", "x", "a"),
        node("Shape", "a", "shape"),
        node("ReduceMax", "a", "largest", keepdims=0),
        node("Gather", "shape one", "columns"),
        node("Cast", "columns", "columns_float", to=FLOAT),
        node("Greater", "a zero", "positive"),
        node("Where", "positive largest columns_float", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"], {"one": np.array(1), "zero": np.float32(0)})


@hard
def narrow_types_cross():
    nodes = [
        node("Tanh", "x", "a"),
        node("Cast", "a", "half", to=TensorProto.FLOAT16),
        node("Cast", "half", "wide", to=FLOAT),
        node("QuantizeLinear", "wide scale zero", "quantised"),
        node("Neg", "wide", "negative"),
        node("DequantizeLinear", "quantised scale zero", "back"),
        node("Cast", "back", "double", to=TensorProto.DOUBLE),
        node("Cast", "double", "single", to=FLOAT),
        node("Mul", "single negative", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"], {"scale": np.float32(0.0625), "zero": np.int8(0)})


@hard
def empty_tensor_crosses():
    nodes = [
        node("Tanh", "x", "a"),
        node("Slice", "a zero zero one", "nothing"),
        node("Neg", "nothing", "still_nothing"),
        node("Concat", "still_nothing a", "y", axis=1),
    ]
    return model(nodes, {"x": (2, 3)}, ["y"], {"zero": np.array([0]), "one": np.array([1])})


@hard
def only_identities():
    nodes = [node("Identity", "x", "a"), node("Identity", "a", "b"), node("Dropout", "b", "y")]
    return model(nodes, {"x": (2, 3)}, ["y", "a"])


@hard
def equal_nodes():
    nodes = [
        node("Tanh", "x", "a"),
        node("Exp", "a", "b1"),
        node("Exp", "a", "b2"),
        node("Exp", "a", "b3"),
        node("Add", "b1 b2", "c"),
        node("Mul", "c b3", "y"),
    ]
    return model(nodes, {"x": (2, 3)}, ["y", "b3"])


@hard
def fusion_with_exposed_middle():
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a s b m v", "n"),
        node("Relu", "n", "r"),
        node("Conv", "r w", "c", pads=[1, 1, 1, 1]),
        node("Add", "c r", "sum"),
        node("Relu", "sum", "y"),
    ]
    weights = {"w": ramp(16, 16, 3, 3)} | {key: ramp(16, start=0.5) for key in "sbmv"}
    return model(nodes, {"x": (1, 16, 6, 6)}, ["y", "n"], weights)


@hard
def names_that_mislead():
    nodes = [
        node("Conv", "my_x w", "a_nchwc", "zeros.bin", pads=[1, 1, 1, 1]),
        node("Relu", "a_nchwc", "reorder_token_1", "reorder"),
        node("Conv", "reorder_token_1 w", "a", "a_nchwc", pads=[1, 1, 1, 1]),
        node("Tanh", "a", "wären/../b", "a"),
        node("Neg", "wären/../b", "y_kernel_time", "y_kernel_time"),
    ]
    return model(nodes, {"my_x": (1, 16, 6, 6)}, ["y_kernel_time"], {"w": ramp(16, 16, 3, 3)})


@hard
def unused_branch():
    nodes = [node("Tanh", "x", "a"), node("Neg", "a", "dead"), node("Exp", "dead", "deader"), node("Exp", "a", "y")]
    return model(nodes, {"x": (2, 3), "side": (2,)}, ["y"], {"unread": ramp(3)})


@hard
def pooling_with_indices():
    nodes = [
        node("MaxPool", "x", "pooled indices", kernel_shape=[2, 2], strides=[2, 2]),
        node("Tanh", "pooled", "a"),
        node("MaxUnpool", "a indices", "b", kernel_shape=[2, 2], strides=[2, 2]),
        node("Neg", "b", "y"),
    ]
    return model(nodes, {"x": (1, 2, 4, 4)}, ["y"])


@hard
def two_towers():
    nodes = [
        node("Tanh", "left", "a"),
        node("Neg", "right", "b"),
        node("Exp", "a", "c"),
        node("Sigmoid", "b", "d"),
        node("Add", "c d", "e"),
        node("Neg", "c", "only_left"),
        node("Exp", "e", "y"),
    ]
    return model(nodes, {"left": (2, 3), "right": (2, 3)}, ["y", "only_left"])


def with_external_weights(folder):
    """Write a model whose weights lie in a second file beside it, and return its path and the same model in memory."""
    weights = {"w": ramp(64, 64), "b": ramp(64)}
    made = model(
        [node("MatMul", "x w", "a"), node("Tanh", "a", "t"), node("MatMul", "t w", "c"), node("Add", "c b", "y")],
        {"x": (2, 64)},
        ["y"],
        weights,
    )
    path = folder / "whole.onnx"
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    onnx.save_model(copy, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path, made
