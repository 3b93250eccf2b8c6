"""Who produces and who reads each tensor of a graph, and which tensors never depend on an input."""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

# Operators that draw a new value at each run: two copies of one would disagree, so they are never treated as constants.
_NONDETERMINISTIC = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Dataflow:
    """The tensors of a normalised graph.

    Attributes
    ----------
    nodes : tuple of onnx.NodeProto
        Nodes that compute something at each run, in topological order; index into it is a node's number here.
    reads : tuple of tuple of str
        For each node the tensors that it reads and that depend on the run, captures of its bodies included.
    constants_read : tuple of tuple of str
        For each node the tensors that it reads and that are the same at each run.
    producer : dict
        Tensor name to the number of the node that produces it; model inputs are not in it.
    consumers : dict
        Tensor name to the numbers of the nodes that read it, ascending.
    constant_producer : dict
        Constant tensor name to the node that computes it; initializers are not in it.
    inputs, outputs : tuple of str
        Names of the model's inputs and outputs.
    """

    nodes: tuple[NodeProto, ...]
    reads: tuple[tuple[str, ...], ...]
    constants_read: tuple[tuple[str, ...], ...]
    producer: dict[str, int]
    consumers: dict[str, tuple[int, ...]]
    constant_producer: dict[str, NodeProto]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def is_variable(self, tensor: str) -> bool:
        """Say whether a tensor depends on the run: a model input, or made by a node that is not constant."""
        return tensor in self.producer or tensor in self.inputs


def node_reads(node: NodeProto) -> tuple[str, ...]:
    """Return the tensors that a node reads, captures of its bodies included, each once, in order."""
    names = [name for name in node.input if name]
    for body in node_bodies(node):
        names.extend(captured_names(body))
    return tuple(dict.fromkeys(names))


def node_bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs that a control-flow node holds."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def captured_names(body: GraphProto) -> tuple[str, ...]:
    """Return the names that a body reads from the graphs around it, each once, in order."""
    known = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    known.update(tensor.values.name for tensor in body.sparse_initializer)
    captured: dict[str, None] = {}
    for node in body.node:
        captured.update((name, None) for name in node_reads(node) if name not in known)
        known.update(node.output)
    captured.update((value.name, None) for value in body.output if value.name not in known)
    return tuple(captured)


def dataflow(proto: ModelProto) -> Dataflow:
    """Trace the tensors of a normalised model. Linear in the size of the graph."""
    graph = proto.graph
    functions = {(function.domain, function.name): function for function in proto.functions}
    inputs = tuple(value.name for value in graph.input)
    variable = set(inputs)
    nodes: list[NodeProto] = []
    reads: list[tuple[str, ...]] = []
    constants_read: list[tuple[str, ...]] = []
    producer: dict[str, int] = {}
    consumers: dict[str, list[int]] = {}
    constant_producer: dict[str, NodeProto] = {}
    for node in graph.node:
        names = node_reads(node)
        varying = tuple(name for name in names if name in variable)
        if not varying and not _draws(node, functions):
            constant_producer.update((name, node) for name in node.output if name)
            continue
        number = len(nodes)
        nodes.append(node)
        reads.append(varying)
        constants_read.append(tuple(name for name in names if name not in variable))
        for name in varying:
            consumers.setdefault(name, []).append(number)
        for name in node.output:
            if name:
                producer[name] = number
                variable.add(name)
    return Dataflow(
        nodes=tuple(nodes),
        reads=tuple(reads),
        constants_read=tuple(constants_read),
        producer=producer,
        consumers={name: tuple(numbers) for name, numbers in consumers.items()},
        constant_producer=constant_producer,
        inputs=inputs,
        outputs=tuple(value.name for value in graph.output),
    )


def _draws(node: NodeProto, functions: dict[tuple[str, str], FunctionProto]) -> bool:
    if node.op_type in _NONDETERMINISTIC or (node.op_type == "Dropout" and len(node.input) > 2):
        return True
    if any(_draws(inner, functions) for body in node_bodies(node) for inner in body.node):
        return True
    function = functions.get((node.domain, node.op_type))
    return function is not None and any(_draws(inner, functions) for inner in function.node)
