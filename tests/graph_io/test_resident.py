"""Models whose weights the runtime reads where they lie in memory."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_io import load_graph
from graph_io.resident import resident


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64])
def test_a_session_on_weights_in_memory_gives_the_same(dtype):
    weight = np.arange(2000).reshape(2, 1000).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["w", "shape"], ["moved"]), helper.make_node("Add", ["moved", "x"], ["y"])],
        "add",
        [helper.make_tensor_value_info("x", kind, [1000, 2])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1000, 2]), "shape")],
    )
    if dtype in (np.int8, np.uint8):
        graph.node[1].op_type = "BitwiseXor"
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    before = whole.SerializeToString()
    options = onnxruntime.SessionOptions()

    bare, held = resident(whole, options)

    assert whole.SerializeToString() == before
    assert len(held) == 1
    assert bare.graph.initializer[0].data_location == TensorProto.EXTERNAL
    assert bare.graph.initializer[1].HasField("raw_data")
    session = onnxruntime.InferenceSession(bare.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = np.ones((1000, 2), dtype)
    wanted = weight.reshape(1000, 2) ^ x if dtype in (np.int8, np.uint8) else weight.reshape(1000, 2) + x
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], wanted)


def test_rare_types_stay_in_the_model():
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [4096], b"\0" * 8192, raw=True)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "same",
        [],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [4096])],
        [weight],
    )
    bare, held = resident(helper.make_model(graph), onnxruntime.SessionOptions())
    assert not held
    assert bare.graph.initializer[0].raw_data == onnx.TensorProto.FromString(weight.SerializeToString()).raw_data


def test_long_lists_of_sizes_and_names_that_are_there_twice_stay_in_the_model():
    """The runtime reads the first before it asks for weights in memory; of the others it takes one alone."""
    sizes, weight = np.full(200, 5), np.arange(1000, dtype=np.float32)
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),  # a run alone tells how many
        helper.make_node("Split", ["x", "sizes"], [f"part{number}" for number in range(200)]),
        helper.make_node("Add", ["x", "twice"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "split",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])],
        [
            helper.make_tensor_value_info("places", TensorProto.INT64, None),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("part199", "sum")),
        ],
        [numpy_helper.from_array(sizes, "sizes"), *[numpy_helper.from_array(weight, "twice")] * 2],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert resident(whole, onnxruntime.SessionOptions())[1] == []
    found = {tensor.name: tensor.shape for tensor in load_graph(whole).graph["tensors"].values()}
    assert found["places"] == (1, 1000)
    assert found["part199"] == (5,)
