"""Who produces and who reads each tensor of a graph, and which tensors never depend on an input."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

# Operators that draw a new value at each run: two copies of one would disagree, so they are never treated as constants.
_NONDETERMINISTIC = frozenset(
    {
        *(("", name) for name in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")),
        *(("", name) for name in ("Multinomial", "Bernoulli")),
        ("com.microsoft", "Sampling"),
    }
)
# Operators that draw only while they train, and which of their inputs says that they do.
_TRAINING_INPUT = {
    ("", "Dropout"): 2,
    ("com.microsoft", "BitmaskDropout"): 2,
    ("com.microsoft", "BiasDropout"): 4,
    ("com.microsoft", "BitmaskBiasDropout"): 4,
}
FunctionKey = tuple[str, str, str]
# Every attribute of every node is asked for its type several times, and protobuf looks its constants up slowly.
GRAPH_KINDS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


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
        kind = attribute.type
        if kind not in GRAPH_KINDS:
            continue
        if kind == AttributeProto.GRAPH:
            yield attribute.g
        else:
            yield from attribute.graphs


def every_node(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes, each followed by those of its bodies, however deep."""
    for node in nodes:
        yield node
        for body in node_bodies(node):
            yield from every_node(body.node)


def called_function(node: NodeProto) -> FunctionKey:
    """Return the key of the function that a node calls, if the model has it."""
    return node.domain, node.op_type, node.overload


def functions_by_key(proto: ModelProto) -> dict[FunctionKey, FunctionProto]:
    """Return a model's functions by what identifies them: domain, name, overload."""
    return {(function.domain, function.name, function.overload): function for function in proto.functions}


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
    drawing = _drawing_functions(proto)
    inputs = tuple(value.name for value in graph.input)
    switched_off = _switched_off(graph.node, graph.initializer, inputs)
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
        if not varying and not _draws(node, drawing, switched_off):
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


def _draws(node: NodeProto, drawing: set[FunctionKey], switched_off: set[str]) -> bool:
    """Say whether a node draws values, in its bodies or by calling a function too."""
    for inner in every_node([node]):
        operator = ("" if inner.domain == "ai.onnx" else inner.domain, inner.op_type)
        if operator in _NONDETERMINISTIC or called_function(inner) in drawing:
            return True
        training = _TRAINING_INPUT.get(operator, len(inner.input))
        if training < len(inner.input) and inner.input[training] and inner.input[training] not in switched_off:
            return True
    return False


def _drawing_functions(proto: ModelProto) -> set[FunctionKey]:
    """Find the functions that draw values, or call one that does. Linear; takes functions that call themselves."""
    functions = functions_by_key(proto)
    callers: dict[FunctionKey, list[FunctionKey]] = {}
    found: list[FunctionKey] = []
    for key, function in functions.items():
        switched_off = _switched_off(function.node, (), function.input)
        if any(_draws(node, set(), switched_off) for node in function.node):
            found.append(key)
        for node in every_node(function.node):
            if called_function(node) in functions:
                callers.setdefault(called_function(node), []).append(key)
    drawing = set(found)
    for key in found:
        new = [caller for caller in callers.get(key, ()) if caller not in drawing]
        drawing.update(new)
        found.extend(dict.fromkeys(new))
    return drawing


def _switched_off(nodes: Iterable[NodeProto], initializers: Iterable[TensorProto], inputs: Iterable[str]) -> set[str]:
    """Return the names that are false constants wherever they are bound, as the switch of an idle Dropout.

    Sibling bodies may bind one name to different values, so one other binding in any body is enough to drop a name.
    """
    off: set[str] = set()
    other = set(inputs)

    def see(tensors: Iterable[TensorProto]) -> None:
        for tensor in tensors:
            (off if _is_false(tensor) else other).add(tensor.name)

    see(initializers)
    for node in every_node(nodes):
        for body in node_bodies(node):
            see(body.initializer)
            other.update(value.name for value in body.input)
            other.update(tensor.values.name for tensor in body.sparse_initializer)
        (off if _is_false_constant(node) else other).update(node.output)
    return off - other


def _is_false_constant(node: NodeProto) -> bool:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return False
    return any(attribute.name == "value" and _is_false(attribute.t) for attribute in node.attribute)


def _is_false(tensor: TensorProto) -> bool:
    if tensor.data_type != TensorProto.BOOL:
        return False  # before its data is looked at, which would copy all of it
    values = tensor.raw_data or tensor.int32_data
    return len(values) > 0 and not any(values)
