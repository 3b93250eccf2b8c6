"""Type and shape of every tensor of an optimised graph, those that the runtime invented included."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TypeProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from graph_io.dtypes import dtype_name
from graph_io.shapes import ShapeAndType, concrete_type

# Of the runtime's own operators these do not put out what their first input looks like; products are worked out.
_OWN_SHAPE = frozenset({"Attention", "EmbedLayerNormalization", "MultiHeadAttention", "QLinearConv", "Gather", "Pad"})
_PRODUCTS = frozenset({"FusedMatMul", "FusedGemm", "TransposeMatMul"})


def deployed_shapes(
    graph: GraphProto, known: Mapping[str, ShapeAndType], originals: Mapping[str, str]
) -> tuple[dict[str, ShapeAndType], frozenset[str]]:
    """Find type and shape of the tensors of an optimised graph.

    Parameters
    ----------
    graph : onnx.GraphProto
        Nodes in topological order.
    known : mapping of str to (str, tuple of int)
        Of the original tensors.
    originals : mapping of str to str
        Renamed tensors to the original ones with the same values.

    Returns
    -------
    shapes : dict
        By name in the optimised graph. A tensor that the runtime invented gets the shape that follows from its node;
        where none follows it is left out.
    constants : frozenset of str
        The initializers.

    Notes
    -----
    A tensor in a blocked layout has the shape of the original one: the layout is the kernel's affair.
    """
    shapes: dict[str, ShapeAndType] = {}
    values: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        dtype = dtype_name(tensor.data_type)
        if dtype is not None:
            shapes[tensor.name] = (dtype, tuple(tensor.dims))
            if not uses_external_data(tensor) and len(tensor.dims) <= 1 and dtype.startswith("int"):
                values[tensor.name] = numpy_helper.to_array(tensor)
    constants = frozenset(tensor.name for tensor in graph.initializer)
    shapes |= {value.name: known[value.name] for value in graph.input if value.name in known}
    for node in graph.node:
        for name in node.input:
            if name and name not in shapes and originals.get(name, name) in known:
                shapes[name] = known[originals.get(name, name)]
        invented = []
        for name in node.output:
            original = originals.get(name, name)
            if original in known:
                shapes[name] = known[original]
            elif name:
                invented.append(name)
        if invented:
            shapes |= _invented(node, shapes, values)
    return shapes, constants


def _invented(
    node: NodeProto, shapes: Mapping[str, ShapeAndType], values: Mapping[str, np.ndarray]
) -> dict[str, ShapeAndType]:
    """Return what can be said of the outputs of a node that are not known yet."""
    inputs = [name for name in node.input if name]
    if not inputs or inputs[0] not in shapes:
        return {}
    if node.op_type in _PRODUCTS:
        first = _product(node, shapes)
        return {} if first is None else {node.output[0]: first}
    if not node.domain:
        found = _inferred(node, shapes, values)
        return {name: shape for name, shape in found.items() if name not in shapes}
    # The runtime's own operators that are left keep the shape of their first input, but for those that name another.
    return {} if node.op_type in _OWN_SHAPE or node.output[0] in shapes else {node.output[0]: shapes[inputs[0]]}


def _product(node: NodeProto, shapes: Mapping[str, ShapeAndType]) -> ShapeAndType | None:
    if node.input[1] not in shapes:
        return None
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    dtype, left = shapes[node.input[0]]
    right = shapes[node.input[1]][1]
    if min(len(left), len(right)) < 2:
        return None
    rows = left[-1] if attributes.get("transA") else left[-2]
    columns = right[-2] if attributes.get("transB") else right[-1]
    outer = left[:-2] if len(left) >= len(right) else right[:-2]
    return dtype, (*outer, rows, columns)


def _inferred(
    node: NodeProto, shapes: Mapping[str, ShapeAndType], values: Mapping[str, np.ndarray]
) -> dict[str, ShapeAndType]:
    """Ask ONNX's shape inference about one node of the standard domain."""
    types: dict[str, TypeProto] = {}
    data = {}
    try:
        schema = onnx.defs.get_schema(node.op_type)
        for name in node.input:
            if name and name in shapes:
                dtype, shape = shapes[name]
                types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
                if name in values:
                    data[name] = numpy_helper.from_array(values[name], name)
        found = onnx.shape_inference.infer_node_outputs(schema, node, types, data)
    except Exception:  # InferenceError, ValidationError, SchemaError, a type that NumPy lacks: nothing is known then
        return {}
    known = {name: concrete_type(value) for name, value in found.items()}
    return {name: shape for name, shape in known.items() if shape is not None}
