"""Quantised models: how coarsely the outputs are rounded on their way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from graph_io.dataflow import FunctionKey, called_function, functions_by_key, node_bodies, node_reads
from graph_io.features import DATA_MOVEMENT
from graph_io.model import Model

# One step of a type that values are rounded to, as a share of the largest value: the range of an asymmetric integer
# type is at most twice the largest value, and a float8 value is at most a unit in the last place of the largest off.
_EIGHT_BITS = 1 / 127
_RELATIVE_STEPS: dict[int, float] = {
    TensorProto.INT4: 1 / 7,
    TensorProto.UINT4: 1 / 7,
    TensorProto.INT8: _EIGHT_BITS,
    TensorProto.UINT8: _EIGHT_BITS,
    TensorProto.INT16: 1 / 32767,
    TensorProto.UINT16: 1 / 32767,
    TensorProto.FLOAT8E4M3FN: 2.0**-3,
    TensorProto.FLOAT8E4M3FNUZ: 2.0**-3,
    TensorProto.FLOAT8E5M2: 2.0**-2,
    TensorProto.FLOAT8E5M2FNUZ: 2.0**-2,
}
_FLOAT8 = frozenset(range(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2FNUZ + 1))
# Round what they read to eight bits inside; what they put out is wide again.
_ROUND_INSIDE = frozenset(
    {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "QEmbedLayerNormalization"}
)
# Values that differ by one step still do after these, whose data is their first input (all inputs of a Concat).
_KEEP_STEPS = (DATA_MOVEMENT - {"ConstantOfShape", "Shape", "Size"}) | {"MaxPool", "Relu"}


@dataclass(frozen=True, slots=True)
class OutputStep:
    """How coarsely one output of a model is rounded.

    Attributes
    ----------
    size : float or None
        One quantisation step in the output's own unit: the scale of the DequantizeLinear that makes it (the largest of
        a scale per channel), or 1 for an integer that a quantising operator makes. None where operators compute in
        between.
    relative : float
        One step of the coarsest type that the values pass, as a share of the largest value.
    """

    size: float | None
    relative: float


def output_steps(model: Model) -> dict[str, OutputStep]:
    """Find the outputs of a model whose values were quantised on their way.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        Output name to its step. Weights that are stored as integers and computed with in floats do not count: they are
        the same wherever the model is cut.

    Notes
    -----
    Rounding can turn the noise of the last bit, which a cut changes, into a whole step. Linear in the graph's size.
    """
    proto = model.proto
    constants = _small_constants(proto)
    functions = functions_by_key(proto)
    variable = {value.name for value in proto.graph.input}
    relative: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for node in proto.graph.node:
        reads = [name for name in node_reads(node) if name in variable]
        if not reads:
            continue  # computed from weights alone, or drawn
        variable.update(node.output)
        own = max((_rounding(inner, constants) for inner in _with_inner(node, functions, set())), default=0.0)
        coarsest = max([own, *(relative.get(name, 0.0) for name in reads)])
        if coarsest:
            relative.update(dict.fromkeys(node.output, coarsest))
            sizes.update(_step_sizes(node, constants, relative, sizes))
    return {
        value.name: OutputStep(sizes.get(value.name), relative[value.name])
        for value in proto.graph.output
        if value.name in relative
    }


def _rounding(node: NodeProto, constants: Mapping[str, TensorProto]) -> float:
    """Return the relative step of the type that a node rounds to; 0 if it rounds no more than floats do."""
    if node.op_type == "Cast":
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
        return _RELATIVE_STEPS[to] if to in _FLOAT8 else 0.0
    if node.op_type == "QuantizeLinear":
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        to = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        return _RELATIVE_STEPS.get(zero.data_type if zero is not None else to, _EIGHT_BITS)
    quantises = node.op_type in _ROUND_INSIDE or node.op_type in ("DynamicQuantizeLinear", "QGemm")
    return _EIGHT_BITS if quantises or node.op_type.startswith("QLinear") else 0.0


def _step_sizes(
    node: NodeProto,
    constants: Mapping[str, TensorProto],
    relative: Mapping[str, float],
    sizes: Mapping[str, float],
) -> dict[str, float]:
    """Return the step of each output of a node in its own unit, where it has one."""
    if node.op_type == "DequantizeLinear":
        scale = constants.get(node.input[1])
        if scale is None or node.input[0] not in sizes:
            return {}
        largest = float(np.max(np.abs(numpy_helper.to_array(scale).astype(np.float64)), initial=0.0))
        return {node.output[0]: largest * sizes[node.input[0]]}
    if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
        return {node.output[0]: 1.0}
    if node.op_type == "DynamicQuantizeLinear":
        return {node.output[0]: 1.0, node.output[2]: 1.0} if len(node.output) > 2 else {node.output[0]: 1.0}
    if node.op_type in _KEEP_STEPS and node.domain == "":
        data = [name for name in (node.input if node.op_type == "Concat" else node.input[:1]) if name in relative]
        if data and all(name in sizes for name in data):
            return dict.fromkeys(node.output, max(sizes[name] for name in data))
    return {}


def _small_constants(proto: ModelProto) -> dict[str, TensorProto]:
    found = {tensor.name: tensor for tensor in proto.graph.initializer if not uses_external_data(tensor)}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    return found


def _with_inner(
    node: NodeProto, functions: Mapping[FunctionKey, FunctionProto], seen: set[FunctionKey]
) -> Iterator[NodeProto]:
    """Yield a node and those of its bodies and of the functions that it calls, each function once."""
    yield node
    for body in node_bodies(node):
        for inner in body.node:
            yield from _with_inner(inner, functions, seen)
    key = called_function(node)
    if key in functions and key not in seen:
        seen.add(key)
        for inner in functions[key].node:
            yield from _with_inner(inner, functions, seen)
