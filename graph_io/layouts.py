"""Tensors that the runtime keeps in a layout of its own, and what it costs a part to hand them out or take them in.

Convolutions on a CPU work on channels in blocks. Between two of them a tensor stays in blocks; cut there, the part in
front has to put it back into rows, and the part behind has to put it into blocks again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from graph_io.kernel_features import BLOCKED_DOMAIN, KernelFeatures, TypedShapes, kernel_features
from graph_io.model import Model, load_model

ENTERING, LEAVING = "ReorderInput", "ReorderOutput"
REORDERS = (ENTERING, LEAVING)
# Of how many channels a block is at most, and of how many a multiple has to be there for a convolution to read blocks.
_CHANNEL_BLOCK, _CHANNEL_GROUP = 16, 4
# Which input of a blocked convolution is the other summand, where it took over a sum.
ADDEND = 3
# How the runtime calls the weights of convolutions that it made of something else.
_SCALES = ("bn_scale", "mul_scale")


@dataclass(frozen=True, slots=True)
class Extra:
    """Kernels of one sort that a part has besides those of the whole model; a negative number of them is saved."""

    operator: str
    shape: tuple[int, ...]
    count: int
    features: KernelFeatures = field(compare=False)


@dataclass(frozen=True, slots=True)
class LayoutConversion:
    """What two parts have to do on a tensor that passes between them, and the whole model has not.

    Attributes
    ----------
    tensor : str
    leaving : tuple of Extra
        In the part in front: the reorder behind the producer, unless the whole model has it, too.
    entering : tuple of Extra
        In the part behind: reorders in front of what reads blocks. What the tensor is added to or joined with is then
        kept in rows as well, and so on until a convolution starts new blocks.
    """

    tensor: str
    leaving: tuple[Extra, ...]
    entering: tuple[Extra, ...]

    def seconds(self, seconds_of: Callable[[Extra], float]) -> tuple[float, float]:
        """Return what leaving and entering take, each 0 or more, given what one kernel of each sort takes.

        What a part saves counts against what it has to do besides, not against its layers.
        """
        leaving_s, entering_s = (
            max(0.0, sum(extra.count * seconds_of(extra) for extra in extras))
            for extras in (self.leaving, self.entering)
        )
        return leaving_s, entering_s


def find_conversions(
    optimized: GraphProto,
    inside: Mapping[str, Sequence[str]],
    shapes: TypedShapes,
    *,
    resident_bytes: int,
) -> tuple[LayoutConversion, ...]:
    """Find the tensors of an optimised graph that cannot cross from part to part as they are.

    Parameters
    ----------
    optimized : onnx.GraphProto
        Nodes in topological order.
    inside : mapping of str to sequence of str
        For outputs of its nodes the original tensors that they are, or that their nodes keep to themselves.
    shapes : mapping of str to (str, tuple of int)
        Type and shape of both by name.
    resident_bytes : int
        See `kernel_features`.

    Returns
    -------
    tuple of LayoutConversion
        In the order of computing; none for a graph without blocks.

    Notes
    -----
    For a part that holds all that follows from the tensor, and takes in no other one that is kept in blocks. Quadratic
    in the number of nodes at worst; what follows of a tensor mostly ends after a few.
    """
    blocks = _Blocks.of(optimized)
    found = []
    for number, node in enumerate(optimized.node):
        name = node.output[0]
        if node.op_type == ENTERING or name not in blocks.names or name not in inside:
            continue
        entering = blocks.behind(name, number)
        for tensor in inside[name]:
            # What a kernel keeps to itself leaves it only for the cut.
            leaves_anyway = name in blocks.leaving and tensor == inside[name][0]
            leaving = {} if leaves_anyway else {(LEAVING, tensor): 1}
            sides = [
                tuple(
                    Extra(operator, shape, count, _features(operator, shape, resident_bytes))
                    for (operator, shape), count in _by_shape(extras, shapes).items()
                )
                for extras in (leaving, entering)
            ]
            if any(sides):
                found.append(LayoutConversion(tensor, sides[0], sides[1]))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """An optimised graph with the names of its tensors in blocks, and of those among them that also leave."""

    nodes: Sequence[NodeProto]
    names: frozenset[str]
    leaving: frozenset[str]
    last_reader: Mapping[str, int]

    @classmethod
    def of(cls, optimized: GraphProto) -> "_Blocks":
        names: set[str] = set()
        leaving: set[str] = set()
        last_reader: dict[str, int] = {}
        for number, node in enumerate(optimized.node):
            last_reader.update(dict.fromkeys(node.input, number))
            if node.op_type == LEAVING:
                leaving.add(node.input[0])
            # Sums, activations and concatenations of blocks are made by the ordinary kernels, in blocks.
            elif node.domain == BLOCKED_DOMAIN or not names.isdisjoint(node.input):
                names.update(node.output)
        return cls(optimized.node, frozenset(names), frozenset(leaving), last_reader)

    def behind(self, tensor: str, producer: int) -> Counter[tuple[str, str]]:
        """Follow a tensor that arrives in rows: how often each operator is computed besides, or saved, by tensor."""
        extras: Counter[tuple[str, str]] = Counter()
        rows, end, number = {tensor}, self.last_reader.get(tensor, -1), producer
        while number < end:
            number += 1
            node = self.nodes[number]
            if rows.isdisjoint(node.input):
                continue
            results: Sequence[str] = ()
            if node.op_type == LEAVING:
                # That of the tensor itself is in the part in front.
                extras[LEAVING, node.input[0]] -= node.input[0] != tensor
            elif node.domain == BLOCKED_DOMAIN and not _is_scaling(node) and not _stays_in_rows(node, tensor):
                if node.input[0] in rows:
                    extras[ENTERING, node.input[0]] = 1
                if len(node.input) > ADDEND and node.input[ADDEND] in rows:
                    # The sum that the convolution took over comes apart, and stays in rows.
                    results = node.output
                    extras["Add", results[0]] += 1
                    if _is_activated(node):
                        extras["Relu", results[0]] += 1
                    extras[LEAVING, results[0]] += 1
            else:
                results = node.output
                if _is_scaling(node) and _is_activated(node):
                    extras["Relu", results[0]] += 1
                mixed = [name for name in node.input if name in self.names - rows - self.leaving]
                extras.update({(LEAVING, name): 1 - extras[LEAVING, name] for name in mixed})
            rows.update(results)
            end = max(end, *(self.last_reader.get(name, -1) for name in results)) if results else end
        return extras


def _is_scaling(node: NodeProto) -> bool:
    """Whether a convolution on blocks stands for a normalisation or a product, which are left as they are in rows."""
    return node.op_type == "Conv" and node.input[1].startswith(_SCALES)


def _stays_in_rows(node: NodeProto, tensor: str) -> bool:
    """Whether the runtime leaves a pooling over whole images in rows: it puts only what a part takes in into blocks."""
    return node.op_type.startswith("Global") and node.input[0] != tensor


def _is_activated(node: NodeProto) -> bool:
    """Whether a kernel took over an activation, which is a kernel of its own in rows; any counts as a Relu does."""
    return any(one.name == "activation" for one in node.attribute)


def _by_shape(extras: Mapping[tuple[str, str], int], shapes: TypedShapes) -> Counter[tuple[str, tuple[int, ...]]]:
    added: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for (operator, name), count in extras.items():
        if count:
            added[operator, shapes[name][1]] += count
    return added


def _features(operator: str, shape: tuple[int, ...], resident_bytes: int) -> KernelFeatures:
    inputs = ["before", "beside"] if operator == "Add" else ["before"]
    node = helper.make_node(operator, inputs, ["after"], domain=BLOCKED_DOMAIN if operator in REORDERS else "")
    all_alike = dict.fromkeys((*inputs, "after"), ("float32", shape))
    return kernel_features(node, all_alike, frozenset(), resident_bytes=resident_bytes)


def conversion_benchmark(shape: Iterable[int]) -> Model:
    """Return a model with each operator of an `Extra` of this shape: a kernel on blocks, a sum and an activation.

    Its tensors have the channels of the next larger group, where the runtime takes no others into blocks.
    """
    images, channels, *image = (int(size) for size in shape)
    channels = -(-channels // _CHANNEL_GROUP) * _CHANNEL_GROUP
    sizes = [images, channels, *image]
    # The cheapest convolution that the runtime puts into blocks.
    groups = channels if channels % _CHANNEL_BLOCK == 0 else 1
    weights = np.ones((channels, channels // groups, *(1 for _ in image)), dtype=np.float32)
    weight = numpy_helper.from_array(weights, "weight")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("before", "after")]
    nodes = [
        helper.make_node("Conv", ["before", "weight"], ["convolved"], "convolution", group=groups),
        helper.make_node("Add", ["convolved", "before"], ["added"], "sum"),
        helper.make_node("Relu", ["added"], ["after"], "activation"),
    ]
    graph = helper.make_graph(nodes, "reorders", values[:1], values[1:], [weight])
    return load_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
