"""What a node costs in arithmetic, from shapes alone. One multiply-add counts as two floating-point operations."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from onnx import NodeProto, helper

from graph_io.dataflow import node_bodies

Shapes = Mapping[str, tuple[int, ...]]

# These give the same bytes another shape; the runtime moves nothing.
_VIEWS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
# These read only the rows that they are asked for.
_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
# Of these the arithmetic does not follow from the sizes of inputs and outputs by a rule below.
_UNKNOWN = frozenset(
    {"Attention", "Col2Im", "DFT", "DeformConv", "Det", "NonMaxSuppression", "RotaryEmbedding", "STFT", "TopK"}
)

# Per output element, for operators that do more than one operation on each.
_OPERATIONS_PER_ELEMENT = {
    "BatchNormalization": 2,
    "Elu": 3,
    "Erf": 8,
    "Exp": 4,
    "Gelu": 10,
    "GroupNormalization": 8,
    "InstanceNormalization": 8,
    "LayerNormalization": 8,
    "LogSoftmax": 6,
    "Sigmoid": 5,
    "Softmax": 5,
    "Tanh": 6,
}
DATA_MOVEMENT = frozenset(
    {
        *("Cast", "Concat", "ConstantOfShape", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather"),
        *("GatherElements", "GatherND", "Identity", "Pad", "Reshape", "Shape", "Size", "Slice", "SpaceToDepth"),
        *("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
"""Operators that move or relabel data and compute nothing; their cost is in their bytes."""


def node_flops(node: NodeProto, shapes: Shapes) -> float:
    """Count the floating-point operations of one node.

    Convolutions, matrix products, recurrent layers and pooling are counted exactly (padding included); elementwise
    operators by their output; an operator without a rule of its own counts one operation per element it reads.

    Parameters
    ----------
    node : onnx.NodeProto
    shapes : mapping
        Tensor name to shape; a tensor that is not in it counts as a scalar.
    """
    rule = _RULES.get(node.op_type)
    if rule is not None:
        return rule(node, shapes)
    if node.op_type in DATA_MOVEMENT:
        return 0.0
    written = sum(_elements(name, shapes) for name in node.output)
    if node.op_type in _OPERATIONS_PER_ELEMENT:
        return float(written * _OPERATIONS_PER_ELEMENT[node.op_type])
    return float(max(written, *(_elements(name, shapes) for name in node.input), 0))


def traffic_bytes(
    nodes: Sequence[NodeProto], read: Mapping[str, int], written: Mapping[str, int], sizes: Mapping[str, int]
) -> int:
    """Count the bytes that a group of nodes moves to and from memory in one inference.

    Parameters
    ----------
    nodes : sequence of onnx.NodeProto
        The group.
    read, written : mapping of str to int
        Bytes of what enters (constants included) and leaves the group.
    sizes : mapping of str to int
        Bytes of every tensor.
    """
    if all(node.op_type in _VIEWS for node in nodes):
        return 0
    total = sum(written.values())
    for name, size in read.items():
        readers = [node for node in nodes if name in node.input]
        if readers and all(node.op_type in _LOOKUPS and node.input[0] == name for node in readers):
            total += min(size, sum(sizes.get(node.output[0], size) for node in readers))
        else:
            total += size
    return total


def unpriced(nodes: Sequence[NodeProto]) -> tuple[str, ...]:
    """Name the operators whose arithmetic is unknown here: control flow, functions, foreign domains, and a few more."""
    unknown = Counter(node.op_type for node in nodes if _is_unpriced(node))
    if not unknown:
        return ()
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
    return (f"operators priced by the size of their tensors alone, too low if they compute more: {listed}",)


def _is_unpriced(node: NodeProto) -> bool:
    return bool(node.domain) or node.op_type in _UNKNOWN or any(True for _ in node_bodies(node))


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _elements(name: str, shapes: Shapes) -> int:
    return prod(shapes.get(name, ())) if name else 0


def _convolution(node: NodeProto, shapes: Shapes) -> float:
    weight = shapes.get(node.input[1], ())
    per_output = 2 * prod(weight[1:])
    bias = 1 if len(node.input) > 2 and node.input[2] else 0
    return float(_elements(node.output[0], shapes) * (per_output + bias))


def _transposed_convolution(node: NodeProto, shapes: Shapes) -> float:
    weight = shapes.get(node.input[1], ())
    return float(2 * _elements(node.input[0], shapes) * prod(weight[1:]))


def _matrix_product(node: NodeProto, shapes: Shapes) -> float:
    left = shapes.get(node.input[0], ())
    inner = left[-1] if left else 1
    return float(2 * _elements(node.output[0], shapes) * inner)


def _gemm(node: NodeProto, shapes: Shapes) -> float:
    left = shapes.get(node.input[0], (1, 1))
    inner = left[0] if _attributes(node).get("transA") else left[-1]
    bias = 1 if len(node.input) > 2 and node.input[2] else 0
    return float(_elements(node.output[0], shapes) * (2 * inner + bias))


def _pooling(node: NodeProto, shapes: Shapes) -> float:
    return float(_elements(node.output[0], shapes) * prod(_attributes(node).get("kernel_shape", (1,))))


def _global_pooling(node: NodeProto, shapes: Shapes) -> float:
    return float(_elements(node.input[0], shapes))


def _local_response_normalization(node: NodeProto, shapes: Shapes) -> float:
    return float(_elements(node.output[0], shapes) * (2 * _attributes(node).get("size", 1) + 3))


def _recurrent(gates: int) -> Callable[[NodeProto, Shapes], float]:
    def flops(node: NodeProto, shapes: Shapes) -> float:
        data = shapes.get(node.input[0], (1, 1, 1))
        weight, recurrent = shapes.get(node.input[1], ()), shapes.get(node.input[2], ())
        steps = prod(data[:2])
        hidden = recurrent[-1] if recurrent else 1
        directions = weight[0] if weight else 1
        return float(steps * (2 * (prod(weight) + prod(recurrent)) + 8 * gates * hidden * directions))

    return flops


def _einsum(node: NodeProto, shapes: Shapes) -> float:
    equation = _attributes(node).get("equation", b"").decode().replace(" ", "")
    sizes: dict[str, int] = {}
    for term, name in zip(equation.split("->")[0].split(","), node.input, strict=False):
        sizes.update(zip(term, shapes.get(name, ()), strict=False))
    return float(2 * prod(sizes.values()))


_RULES: dict[str, Callable[[NodeProto, Shapes], float]] = {
    "AveragePool": _pooling,
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "GRU": _recurrent(3),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pooling,
    "GlobalMaxPool": _global_pooling,
    "LRN": _local_response_normalization,
    "LSTM": _recurrent(4),
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "MaxPool": _pooling,
    "QLinearConv": lambda node, shapes: float(
        2 * _elements(node.output[0], shapes) * prod(shapes.get(node.input[3], ())[1:])
    ),
    "QLinearMatMul": _matrix_product,
    "RNN": _recurrent(1),
}
