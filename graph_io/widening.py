"""A model of one Cast, for tensors of the types that the runtime has and NumPy has not (bfloat16, float8, int4)."""

from onnx import ModelProto, TensorProto, helper

from graph_io.dtypes import dtype_of_runtime, element_type
from graph_io.errors import ModelError

# The first opset whose Cast takes all of these types, and the IR version that came with it.
_OPSET, _IR_VERSION = 21, 10
_NEWER_OPSET, _NEWER_TYPES = 25, frozenset({"float8e8m0", "int2", "uint2"})
WIDENED_INPUT, WIDENED_OUTPUT = "narrow", "wide"


def widening_model(runtime_type: str) -> bytes:
    """Return a model that turns a tensor of any shape into float32, which holds every value of a narrower float.

    Parameters
    ----------
    runtime_type : str
        As the runtime prints it, such as ``"tensor(bfloat16)"``.

    Raises
    ------
    ModelError
        Not a tensor of numbers.
    """
    dtype = dtype_of_runtime(runtime_type)
    if dtype is None:
        raise ModelError(f"a value of type {runtime_type} is not a tensor of numbers, so it cannot be compared")
    graph = helper.make_graph(
        [helper.make_node("Cast", [WIDENED_INPUT], [WIDENED_OUTPUT], to=TensorProto.FLOAT)],
        "widening",
        [helper.make_tensor_value_info(WIDENED_INPUT, element_type(dtype), None)],
        [helper.make_tensor_value_info(WIDENED_OUTPUT, TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", _NEWER_OPSET if dtype in _NEWER_TYPES else _OPSET)]
    made: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return made.SerializeToString()
