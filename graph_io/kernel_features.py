"""Static features of one kernel as the runtime executes it: its type and the sizes that decide its time.

A kernel is a node of the runtime's optimised graph: what the runtime fused is one kernel, and its own reorders between
data layouts are kernels, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from onnx import NodeProto, helper

from graph_io.dtypes import size_bytes
from graph_io.features import node_flops

TypedShapes = Mapping[str, tuple[str, tuple[int, ...]]]

BLOCKED_DOMAIN = "com.microsoft.nchwc"
"""Domain of the kernels that work on channels in blocks."""
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "HardSigmoid", "HardSwish", "ThresholdedRelu", "PRelu", "Abs"})
_TRANSCENDENTAL = frozenset(
    {
        *("Sigmoid", "Tanh", "Erf", "Exp", "Log", "Elu", "Selu", "Softplus", "Softsign", "Celu", "Mish", "Swish"),
        *("Sin", "Cos", "Tan", "Atan", "Sqrt", "Reciprocal", "Pow", "Gelu", "BiasGelu", "FastGelu", "QuickGelu"),
    }
)
_ELEMENTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean", "Neg", "Floor", "Ceil", "Round", "Sign", "Mod"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "Where", "IsNaN"),
    }
)
_KINDS = {
    **dict.fromkeys(_ACTIVATIONS, "activation"),
    **dict.fromkeys(_TRANSCENDENTAL, "transcendental"),
    **dict.fromkeys(_ELEMENTWISE, "elementwise"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), "softmax"),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK"), "argmax"),
    **dict.fromkeys(("LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization"), "layer_norm"),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), "reorder"),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), "gather"),
    **dict.fromkeys(("Resize", "Upsample"), "resize"),
    **dict.fromkeys(("Cast", "CastLike"), "cast"),
    **dict.fromkeys(("Slice", "Split", "Concat", "Pad", "Transpose", "Expand", "Tile"), ""),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Shape", "Size"), "view"),
    "BatchNormalization": "batch_norm",
    "LRN": "lrn",
    "InstanceNormalization": "instance_norm",
    "GroupNormalization": "instance_norm",
    "LpNormalization": "layer_norm",
    "MeanVarianceNormalization": "instance_norm",
    "DepthToSpace": "transpose",
    "SpaceToDepth": "transpose",
}
_POOLS = {"MaxPool": "max_pool", "AveragePool": "average_pool", "LpPool": "average_pool"}
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
_PRODUCTS = frozenset({"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "TransposeMatMul"})
_RECURRENT = {"LSTM": ("lstm", 4), "GRU": ("gru", 3), "RNN": ("rnn", 1)}
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})

_LEAST_RANK = {
    **dict.fromkeys((*CONVOLUTIONS, "ConvTranspose", *_POOLS, *_GLOBAL_POOLS, *_RECURRENT), 3),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "GroupNormalization"), 2),
}

KINDS = tuple(
    sorted(
        {
            *(kind for kind in _KINDS.values() if kind),
            *("slice", "split", "concat", "pad", "transpose", "expand", "tile", "reduce"),
            *("conv", "depthwise_conv", "grouped_conv", "conv_transpose", "gemm", "matmul", "attention"),
            *("max_pool", "average_pool", "global_pool", "lstm", "gru", "rnn"),
        }
    )
)
"""The layer types that features are known of; what is none of them is ``"other:OPERATOR"``."""


@dataclass(frozen=True, slots=True)
class KernelFeatures:
    """What decides a kernel's time.

    Attributes
    ----------
    kind : str
        Its layer type, one of `KINDS`, or ``"other:OPERATOR"``; with ``":TYPE"`` behind it if it computes in another
        floating-point type than float32, or in 8 or 16 bits.
    op_type : str
        The runtime's operator.
    values : mapping of str to float
        All kinds: ``flops`` (a multiply-add is two), ``read_bytes`` (activations), ``write_bytes``, ``weight_bytes``,
        ``input_elements``, ``output_elements``, ``resident_bytes`` (of the whole model). Sizes besides, by kind: see
        `kernel_features`.
    """

    kind: str
    op_type: str
    values: Mapping[str, float] = field(hash=False)


def kernel_features(
    node: NodeProto, shapes: TypedShapes, constants: frozenset[str], *, resident_bytes: int
) -> KernelFeatures:
    """Return the features of a node of an optimised graph.

    Parameters
    ----------
    node : onnx.NodeProto
        With shapes for all its inputs and its first output.
    shapes : mapping of str to (str, tuple of int)
        Type and shape of tensors by name.
    constants : frozenset of str
        Names of tensors that do not depend on the run.
    resident_bytes : int
        How much memory a run of the whole model touches.

    Returns
    -------
    KernelFeatures
        Besides the values that all have: convolutions ``batch``, ``in_channels``, ``out_channels``, ``in_height``,
        ``in_width``, ``out_height``, ``out_width``, ``kernel_height``, ``kernel_width``, ``stride_height``,
        ``stride_width``, ``pad`` (both ends together, mean over the axes), ``dilation``, ``groups``, and 0 or 1 for
        ``activation``, ``bias``, ``sum``, ``blocked``; poolings the same without what they lack; matrix products
        ``batch``, ``m``, ``k``, ``n``, ``constant``, ``activation``, ``bias``; recurrent layers ``seq``, ``batch``,
        ``input_size``, ``hidden_size``, ``directions``; all others ``rows`` and ``row_length`` (of the axis worked on).
    """
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    unknown = [name for name in (*node.input, *node.output[:1]) if name and name not in shapes]
    read = [name for name in dict.fromkeys(node.input) if name and name in shapes]
    variable = [name for name in read if name not in constants]
    written = [name for name in node.output if name and name in shapes]
    base = {
        "read_bytes": float(sum(_bytes(name, shapes) for name in variable)),
        "write_bytes": float(sum(_bytes(name, shapes) for name in written)),
        "weight_bytes": float(sum(_bytes(name, shapes) for name in read if name in constants)),
        "input_elements": float(sum(_elements(name, shapes) for name in variable)),
        "output_elements": float(sum(_elements(name, shapes) for name in written)),
        "resident_bytes": float(resident_bytes),
    }
    if unknown or any(0 in shapes[name][1] for name in node.output[:1] if name):
        kind, own = f"other:{node.op_type}", {"rows": 1.0, "row_length": base["output_elements"]}
    else:
        kind, own = _own(node, attributes, shapes, constants)
    if kind == "gather" and read:
        # Only the rows that are asked for are read.
        table = node.input[0]
        side = "weight_bytes" if table in constants else "read_bytes"
        base[side] = base[side] - _bytes(table, shapes) + base["write_bytes"]
    main = written[0] if written else (variable[0] if variable else "")
    dtype = shapes[main][0] if main else "float32"
    if kind not in ("cast", "gather", "view", "argmax") and dtype not in ("float32", "int64", "int32", "bool"):
        kind = f"{kind}:{dtype}"
    flops = own.pop("flops", None)
    if flops is None:
        flops = max(base["output_elements"], base["input_elements"])
        if kind.startswith("other:"):
            flops = max(flops, node_flops(node, {name: shape for name, (_, shape) in shapes.items()}))
    base["flops"] = float(flops)
    return KernelFeatures(kind, node.op_type, {**base, **{name: float(value) for name, value in own.items()}})


def _bytes(name: str, shapes: TypedShapes) -> int:
    return size_bytes(*shapes[name])


def _elements(name: str, shapes: TypedShapes) -> int:
    return prod(shapes[name][1])


def _shape(node: NodeProto, position: int, shapes: TypedShapes) -> tuple[int, ...]:
    name = node.input[position] if position < len(node.input) else ""
    return shapes[name][1] if name in shapes else ()


def _out_shape(node: NodeProto, shapes: TypedShapes) -> tuple[int, ...]:
    return shapes[node.output[0]][1] if node.output and node.output[0] in shapes else ()


def _own(
    node: NodeProto, attributes: Mapping[str, Any], shapes: TypedShapes, constants: frozenset[str]
) -> tuple[str, dict[str, float]]:
    operator = node.op_type
    rank = len(_shape(node, 0, shapes))
    if rank < _LEAST_RANK.get(operator, 0):
        return f"other:{operator}", {"rows": 1.0, "row_length": float(prod(_out_shape(node, shapes)))}
    if operator in CONVOLUTIONS or operator == "ConvTranspose":
        return _convolution(node, attributes, shapes)
    if operator in _PRODUCTS:
        return _product(node, attributes, shapes, constants)
    if operator in _POOLS:
        return _POOLS[operator], _pooling(node, attributes, shapes)
    if operator in _GLOBAL_POOLS:
        shape = _shape(node, 0, shapes)
        return "global_pool", {"channels": shape[1], "rows": prod(shape[:2]), "row_length": prod(shape[2:])}
    if operator in _RECURRENT:
        kind, gates = _RECURRENT[operator]
        return kind, _recurrent(node, shapes, gates)
    if operator in ("Attention", "MultiHeadAttention"):
        return "attention", _attention(node, attributes, shapes)
    if operator.startswith("Reduce"):
        return "reduce", _reduction(node, shapes)
    kind = _KINDS.get(operator, f"other:{operator}")
    return kind or operator.lower(), _rows(node, attributes, shapes, kind)


def _convolution(node: NodeProto, attributes: Mapping[str, Any], shapes: TypedShapes) -> tuple[str, dict[str, float]]:
    data, weight, result = _shape(node, 0, shapes), _shape(node, 1, shapes), _out_shape(node, shapes)
    groups = int(attributes.get("group", 1))
    transposed = node.op_type == "ConvTranspose"
    rank = len(data) - 2
    if rank not in (1, 2) or len(result) != len(data):
        return f"other:{node.op_type}", {"rows": data[0] if data else 1, "row_length": prod(data[1:])}
    kernel = (1, *weight[2:])[-2:]
    strides = (1, *attributes.get("strides", (1,) * rank))[-2:]
    dilations = attributes.get("dilations", (1,) * rank)
    if transposed:
        kind = "conv_transpose"
        flops = 2.0 * prod(data) * weight[1] * prod(kernel)
    else:
        kind = "conv" if groups == 1 else "depthwise_conv" if groups == data[1] else "grouped_conv"
        flops = 2.0 * prod(result) * (prod(kernel) * data[1] // groups)
    return kind, {
        "flops": flops,
        "batch": data[0],
        "in_channels": data[1],
        "out_channels": result[1],
        "in_height": (1, *data[2:])[-2],
        "in_width": data[-1],
        "out_height": (1, *result[2:])[-2],
        "out_width": result[-1],
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": strides[0],
        "stride_width": strides[1],
        "pad": sum(attributes.get("pads", ())) / rank,
        "dilation": max(dilations),
        "groups": groups,
        "activation": float("activation" in attributes),
        "bias": float(len(node.input) > 2 and bool(node.input[2])),
        "sum": float(len(node.input) > 3 and bool(node.input[3])),
        "blocked": float(node.domain == BLOCKED_DOMAIN),
    }


def _product(
    node: NodeProto, attributes: Mapping[str, Any], shapes: TypedShapes, constants: frozenset[str]
) -> tuple[str, dict[str, float]]:
    left, right, result = _shape(node, 0, shapes), _shape(node, 1, shapes), _out_shape(node, shapes)
    inner = left[-2] if attributes.get("transA") and len(left) > 1 else (left[-1] if left else 1)
    columns = result[-1] if result and len(right) > 1 else 1
    constant = any(name in constants for name in node.input[:2])
    batch = prod(right[:-2])
    outputs = prod(result)
    return "gemm" if constant and batch == 1 else "matmul", {
        "flops": 2.0 * outputs * inner,
        "batch": batch,
        "m": outputs / max(1, columns * batch),
        "k": inner,
        "n": columns,
        "constant": float(constant),
        "transposed": float(bool(attributes.get("transA")) or bool(attributes.get("transB"))),
        "activation": float("activation" in attributes),
        "bias": float(len(node.input) > 2 and bool(node.input[2])),
    }


def _pooling(node: NodeProto, attributes: Mapping[str, Any], shapes: TypedShapes) -> dict[str, float]:
    data, result = _shape(node, 0, shapes), _out_shape(node, shapes)
    kernel = (1, *attributes.get("kernel_shape", ()))[-2:]
    strides = (1, *attributes.get("strides", (1,) * max(1, len(data) - 2)))[-2:]
    return {
        "flops": float(prod(result) * prod(kernel)),
        "batch": data[0],
        "channels": data[1],
        "in_height": (1, *data[2:])[-2],
        "in_width": data[-1],
        "out_height": (1, *result[2:])[-2],
        "out_width": result[-1],
        "kernel_height": kernel[0],
        "kernel_width": kernel[-1],
        "stride_height": strides[0],
        "stride_width": strides[-1],
        "pad": sum(attributes.get("pads", ())) / max(1, len(data) - 2),
        "blocked": float(node.domain == BLOCKED_DOMAIN),
    }


def _recurrent(node: NodeProto, shapes: TypedShapes, gates: int) -> dict[str, float]:
    data, weight, recurrent = (_shape(node, position, shapes) for position in range(3))
    seq, batch, inputs = (*data, 1, 1, 1)[:3]
    hidden, directions = (recurrent[-1] if recurrent else 1), (weight[0] if weight else 1)
    return {
        "flops": float(seq * batch * (2 * (prod(weight) + prod(recurrent)) + 8 * gates * hidden * directions)),
        "seq": seq,
        "batch": batch,
        "input_size": inputs,
        "hidden_size": hidden,
        "directions": directions,
    }


def _attention(node: NodeProto, attributes: Mapping[str, Any], shapes: TypedShapes) -> dict[str, float]:
    data, weight = _shape(node, 0, shapes), _shape(node, 1, shapes)
    batch, seq, width = (*data, 1, 1, 1)[:3]
    projection = prod(weight) if node.op_type == "Attention" else 0
    return {
        "flops": 2.0 * batch * seq * (projection + 2 * seq * width),
        "batch": batch,
        "seq": seq,
        "width": width,
        "projection": projection,
        "heads": float(attributes.get("num_heads", 1)),
    }


def _reduction(node: NodeProto, shapes: TypedShapes) -> dict[str, float]:
    data, result = _shape(node, 0, shapes), _out_shape(node, shapes)
    rows = max(1, prod(result))
    return {"rows": rows, "row_length": prod(data) / rows, "last": float(bool(data) and data[-1:] != result[-1:])}


def _rows(node: NodeProto, attributes: Mapping[str, Any], shapes: TypedShapes, kind: str) -> dict[str, float]:
    data, result = _shape(node, 0, shapes), _out_shape(node, shapes)
    own: dict[str, float] = {}
    if kind == "view":
        own["flops"] = 0.0
    if node.op_type in _ELEMENTWISE:
        inputs = [_shape(node, position, shapes) for position in range(len(node.input))]
        own["operands"] = float(sum(prod(shape) > 1 for shape in inputs))
        # A broadcast operand is smaller than the result.
        own["broadcast"] = float(any(1 < prod(shape) < prod(result) for shape in inputs))
    if kind == "gather":
        # How many elements lie together for each index.
        axis = int(attributes.get("axis", 0))
        own["together"] = float(prod(data[axis % len(data) + 1 :]) if data else 1)
    if kind == "lrn":
        own["flops"] = float(prod(data) * (2 * attributes.get("size", 1) + 3))
    if node.op_type in ("BatchNormalization", "InstanceNormalization", "GroupNormalization"):
        rows = prod(data[:2])
        return {**own, "rows": rows, "row_length": prod(data) / max(1, rows)}
    if node.op_type == "Transpose":
        own["inner"] = float(_unmoved(attributes.get("perm"), data))
    axis = attributes.get("axis", -1)
    shape = result if node.op_type == "Concat" else data
    position = axis % len(shape) if isinstance(axis, int) and shape and -len(shape) <= axis < len(shape) else -1
    row_length = prod(shape[position:]) if node.op_type in ("Concat", "Split") else (shape[position] if shape else 1)
    if node.op_type == "Concat":
        own["parts"] = float(len(node.input))
    elements = prod(shape)
    return {**own, "rows": elements / max(1, row_length), "row_length": row_length}


def _unmoved(permutation: Sequence[int] | None, shape: Sequence[int]) -> int:
    """Return the number of elements of the innermost axes that a transposition leaves where they are."""
    order = list(permutation) if permutation is not None else list(reversed(range(len(shape))))
    size, axis = 1, len(shape) - 1
    while axis >= 0 and order[axis] == axis:
        size *= shape[axis]
        axis -= 1
    return size
