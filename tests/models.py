"""Small ONNX models for the tests: a short way to write one, a transformer block, and random graphs of many shapes."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
FLOAT = TensorProto.FLOAT


def value(name, shape, element_type=FLOAT):
    """Describe an input or an output; a shape of None leaves even the rank open."""
    return helper.make_tensor_value_info(name, element_type, shape)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]] | Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str | onnx.ValueInfoProto],
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = OPSET,
    name: str = "small",
    **more,
) -> ModelProto:
    """Make a model of float inputs; outputs are named without a shape. ``more`` goes to ``onnx.helper.make_model``."""
    if isinstance(inputs, Mapping):
        inputs = [value(key, shape) for key, shape in inputs.items()]
    graph = helper.make_graph(
        list(nodes),
        name,
        list(inputs),
        [value(output, None) if isinstance(output, str) else output for output in outputs],
        [numpy_helper.from_array(array, key) for key, array in (weights or {}).items()],
    )
    more.setdefault("ir_version", IR_VERSION)
    more.setdefault("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, **more)


def node(op_type, inputs, outputs, name="", **attributes):
    """Make a node; inputs and outputs are names separated by blanks, with ``_`` for one that is left out."""
    split = [["" if part == "_" else part for part in names.split()] for names in (inputs, outputs)]
    return helper.make_node(op_type, *split, name=name, **attributes)


def relu_chain(length=3, shape=(1, 4)):
    """x -> t0 -> t1 -> ... -> y, each of which is a cut."""
    names = ["x", *(f"t{index}" for index in range(length - 1)), "y"]
    nodes = [node("Tanh", names[index], names[index + 1], f"n{index}") for index in range(length)]
    return model(nodes, {"x": shape}, ["y"])


def transformer_block(*, sequence: int | str = 12, width=32, heads=4, blocks=2, seed=0) -> ModelProto:
    """Stack encoder blocks written as exporters write them: MatMul, Add, scaled attention, LayerNormalization, Gelu."""
    generator = np.random.default_rng(seed)
    weights = {
        "split_shape": np.array([0, -1, heads, width // heads]),
        "join_shape": np.array([0, -1, width]),
        "scale": np.float32(1 / np.sqrt(width / heads)),
        "root_2": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    nodes = []

    def weight(name, *shape):
        weights[name] = (generator.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        return name

    def linear(source, target, columns, rows=width):
        nodes.append(node("MatMul", f"{source} {weight(target + '_w', rows, columns)}", f"{target}_product"))
        nodes.append(node("Add", f"{target}_product {weight(target + '_b', columns)}", target))

    def normalise(source, target):
        scale, bias = weight(target + "_scale", width), weight(target + "_bias", width)
        nodes.append(node("LayerNormalization", f"{source} {scale} {bias}", target, axis=-1))

    stream = "x"
    for block in range(blocks):
        at = f"b{block}_"
        for part, axes in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            linear(stream, at + part, width)
            nodes.append(node("Reshape", f"{at}{part} split_shape", f"{at}{part}_split"))
            nodes.append(node("Transpose", f"{at}{part}_split", f"{at}{part}_heads", perm=axes))
        nodes += [
            node("MatMul", f"{at}q_heads {at}k_heads", at + "scores"),
            node("Mul", f"{at}scores scale", at + "scaled"),
            node("Softmax", at + "scaled", at + "weights", axis=-1),
            node("MatMul", f"{at}weights {at}v_heads", at + "mixed"),
            node("Transpose", at + "mixed", at + "mixed_back", perm=[0, 2, 1, 3]),
            node("Reshape", f"{at}mixed_back join_shape", at + "joined"),
        ]
        linear(at + "joined", at + "projected", width)
        nodes.append(node("Add", f"{stream} {at}projected", at + "sum1"))
        normalise(at + "sum1", at + "norm1")
        linear(at + "norm1", at + "wide", 2 * width)
        nodes += [
            node("Div", f"{at}wide root_2", at + "wide_div"),
            node("Erf", at + "wide_div", at + "wide_erf"),
            node("Add", f"{at}wide_erf one", at + "wide_add"),
            node("Mul", f"{at}wide {at}wide_add", at + "wide_mul"),
            node("Mul", f"{at}wide_mul half", at + "gelu"),
        ]
        linear(at + "gelu", at + "narrow", width, 2 * width)
        nodes.append(node("Add", f"{at}norm1 {at}narrow", at + "sum2"))
        normalise(at + "sum2", at + "norm2")
        stream = at + "norm2"
    linear(stream, "y", 10)
    return model(nodes, {"x": [1, sequence, width]}, [value("y", [1, sequence, 10])], weights, name="transformer")


_BINARY = ("Add", "Mul", "Max", "Sub")
_UNARY = ("Relu", "Tanh", "Sigmoid", "Neg")
_WIDTH = 4


def random_model(seed: int, n_nodes: int = 12) -> ModelProto:
    """Draw a random graph on tensors of shape (2, 4).

    Several inputs, one of them possibly unused or handed through as an output; Split nodes with one output omitted or
    unread; outputs that are also read inside; weights, shared and computed by constant nodes; unnamed nodes and names
    used twice; node order shuffled at times.
    """
    generator = np.random.default_rng(seed)

    def chance(probability):
        return generator.random() < probability

    inputs = [f"in{index}" for index in range(generator.integers(1, 4))]
    weights = {f"w{index}": generator.standard_normal((2, _WIDTH)).astype(np.float32) for index in range(3)}
    nodes = [node("Neg", "w0", "c0"), node("Add", "c0 w1", "c1")]
    constants = ["w0", "w1", "w2", "c0", "c1"]
    variable = list(inputs[: max(1, len(inputs) - int(chance(0.3)))])  # the last input may stay unused
    read = set()

    def pick():
        # The latest tensors are taken more often, so that graphs are deep and have cuts of one tensor.
        index = len(variable) - 1 - min(int(generator.exponential(2.0)), len(variable) - 1)
        read.add(variable[index])
        return variable[index]

    for index in range(n_nodes):
        name = "" if chance(0.3) else ("same" if chance(0.2) else f"node{index}")
        out = f"t{index}"
        kind = generator.random()
        if kind < 0.25:
            nodes.append(node(str(generator.choice(_UNARY)), pick(), out, name))
            variable.append(out)
        elif kind < 0.55:
            first = pick()
            second = first if chance(0.15) else (str(generator.choice(constants)) if chance(0.3) else pick())
            pair = (first, second) if chance(0.5) else (second, first)
            nodes.append(node(str(generator.choice(_BINARY)), " ".join(pair), out, name))
            variable.append(out)
        elif kind < 0.7:
            nodes.append(node("Concat", f"{pick()} {pick()}", f"{out}_long", name, axis=1))
            nodes.append(node("Slice", f"{out}_long starts ends axes", out, name))
            weights |= {"starts": np.array([2]), "ends": np.array([2 + _WIDTH]), "axes": np.array([1])}
            variable.append(out)
        elif kind < 0.85:
            nodes.append(node("Split", f"{pick()} halves", f"{out}_a {out}_b", name, axis=1))
            weights["halves"] = np.array([1, 3])
            both = f"{out}_b {out}_a" if chance(0.7) else f"{out}_a {out}_b"
            nodes.append(node("Concat", both, out, "", axis=1))
            variable.append(out)
        else:
            weights["three"] = np.array([_WIDTH])
            outputs = [f"{out}_values", f"{out}_order"]
            nodes.append(node("TopK", f"{pick()} three", " ".join(outputs), name, axis=1))
            variable.append(outputs[0])
            if chance(0.5):
                nodes.append(node("Cast", outputs[1], out, name, to=FLOAT))
                variable.append(out)
    made = [name for name in variable if name not in inputs]
    outputs = [name for name in made if name not in read]
    outputs += [name for name in made if name in read and chance(0.1)]
    if chance(0.2):
        outputs.append(inputs[0])
    if chance(0.15):
        outputs.append("c1")
    if chance(0.3):
        nodes = [nodes[index] for index in generator.permutation(len(nodes))]
    shaped = [value(name, [2, _WIDTH]) for name in dict.fromkeys(outputs)]
    return model(nodes, dict.fromkeys(inputs, (2, _WIDTH)), shaped, weights, name=f"random{seed}")
