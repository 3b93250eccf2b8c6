"""Write K submodels whose composition is the whole model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, NodeProto, TypeProto, ValueInfoProto

from graph_io.dataflow import Dataflow, dataflow, node_reads
from graph_io.dtypes import element_type
from graph_io.errors import ModelError
from graph_io.external import embed
from graph_io.graph import LayerGraph, Tensor
from graph_io.shapes import declared_dims
from graph_io.skeleton import without_graph


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One submodel.

    Attributes
    ----------
    proto : onnx.ModelProto
        Opset, functions and metadata of the whole; weights of this part alone, or references to where they lie.
    inputs, outputs : tuple of str
        Tensor names, model inputs and outputs first in the model's order, then in the order of production.
    layers : tuple of str
        Its layers, in topological order.
    weights : pathlib.Path or None
        The folder in whose files large weights lie, as in `Model`.
    """

    proto: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[str, ...]
    weights: Path | None = None

    def embedded(self) -> ModelProto:
        """Return the submodel with all its weights in it.

        Raises
        ------
        ModelError
            The files of the weights have gone, or they are more than 2.1 GB.
        """
        return self.proto if self.weights is None else embed(self.proto, self.weights)


def split(graph: LayerGraph, parts: Sequence[Sequence[str]]) -> tuple[Part, ...]:
    """Split a model into parts that run one after the other.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.
    parts : sequence of sequences of str
        Layer ids of each part, in the order of running; together every layer exactly once, none empty.

    Returns
    -------
    tuple of Part
        Constants, and nodes that compute constants, are copied to each part that reads them. A part puts out what a
        later part or the user reads. Weights that the model holds are copied; those that lie in files of their own
        stay there (`Part.embedded` reads them).

    Raises
    ------
    ModelError
        A layer that is missing, unknown or named twice; an empty part; a part that reads from a later one.

    Notes
    -----
    Tensors between parts keep dimensions that the model leaves open; their types are those found by shape inference.
    Linear in the size of the model.
    """
    part_of = _assignment(graph, parts)
    _check_order(graph, part_of)
    flow = dataflow(graph.graph["model"].proto)
    layer_of = {node: layer for layer, data in graph.nodes(data=True) for node in data["layer"].nodes}
    emitter = _Emitter(graph, flow, declared_dims(graph.graph["model"]))
    emitted = []
    for number, (inputs, outputs) in enumerate(part_interfaces(graph, parts)):
        nodes = [node for node in flow.nodes if part_of[layer_of[node.name]] == number]
        layers = tuple(layer for layer in graph.nodes if part_of[layer] == number)
        proto = emitter.emit(nodes, inputs, outputs)
        emitted.append(Part(proto, inputs, outputs, layers, graph.graph["model"].weights))
    return tuple(emitted)


def _assignment(graph: LayerGraph, parts: Sequence[Sequence[str]]) -> dict[str, int]:
    part_of: dict[str, int] = {}
    for number, layers in enumerate(parts):
        if not layers:
            raise ModelError(f"part {number} holds no layer; leave empty parts out")
        for layer in layers:
            if layer not in graph:
                raise ModelError(f"part {number}: layer '{layer}' is not in the model")
            if layer in part_of:
                raise ModelError(f"layer '{layer}' is named twice: in part {part_of[layer]} and in part {number}")
            part_of[layer] = number
    missing = next((layer for layer in graph.nodes if layer not in part_of), None)
    if missing is not None:
        raise ModelError(f"layer '{missing}' is in no part; every layer belongs to exactly one")
    return part_of


def _check_order(graph: LayerGraph, part_of: Mapping[str, int]) -> None:
    for producer, consumer, data in graph.edges(data=True):
        if part_of[producer] > part_of[consumer]:
            raise ModelError(
                f"part {part_of[consumer]} reads tensor '{data['tensors'][0]}' of the later part {part_of[producer]}; "
                "parts run in order, so split it into more parts"
            )


def part_interfaces(
    graph: LayerGraph, parts: Sequence[Sequence[str]]
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return the names of what each part reads and puts out, without writing it.

    Parameters
    ----------
    graph : networkx.DiGraph
    parts : sequence of sequences of str
        As for `split`.

    Returns
    -------
    tuple of pairs of tuples of str
        Inputs and outputs of each part; outputs of the model come first. An output that is an input of the model is in
        no part; one that is constant is put out by the first.
    """
    part_of = {layer: number for number, layers in enumerate(parts) for layer in layers}
    tensors: dict[str, Tensor] = graph.graph["tensors"]
    model_outputs: tuple[str, ...] = graph.graph["outputs"]
    inputs: list[list[str]] = [[] for _ in parts]
    outputs: list[list[str]] = [[] for _ in parts]
    for name in model_outputs:
        if name not in tensors:
            outputs[0].append(name)
        elif (producer := tensors[name].producer) is not None:
            outputs[part_of[producer]].append(name)
    for tensor in tensors.values():
        owner = None if tensor.producer is None else part_of[tensor.producer]
        readers = {part_of[reader] for reader in tensor.consumers}
        for number in sorted(readers - {owner}):
            inputs[number].append(tensor.name)
        if owner is not None and tensor.name not in model_outputs and readers - {owner}:
            outputs[owner].append(tensor.name)
    return tuple((tuple(read), tuple(put_out)) for read, put_out in zip(inputs, outputs, strict=True))


class _Emitter:
    """Builds the ModelProto of one part after the other from the tables of the whole model."""

    def __init__(
        self,
        graph: LayerGraph,
        flow: Dataflow,
        declared_dims: Mapping[str, tuple[int | str | None, ...]],
    ) -> None:
        self._source: ModelProto = graph.graph["model"].proto
        self._name: str = graph.graph["name"]
        self._tensors: dict[str, Tensor] = graph.graph["tensors"]
        self._flow = flow
        self._declared_dims = declared_dims
        whole = self._source.graph
        self._inputs: dict[str, ValueInfoProto] = {value.name: value for value in whole.input}
        self._outputs: dict[str, ValueInfoProto] = {value.name: value for value in whole.output}
        self._order = {node.name: index for index, node in enumerate(whole.node)}

    def emit(self, nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> ModelProto:
        whole = self._source.graph
        constants, constant_nodes = self._constants(nodes, outputs)
        part = without_graph(self._source)
        part.graph.name = self._name
        part.graph.doc_string = whole.doc_string
        part.graph.metadata_props.extend(whole.metadata_props)
        part.graph.node.extend(sorted([*constant_nodes, *nodes], key=lambda node: self._order[node.name]))
        part.graph.input.extend(self._value_info(name, self._inputs) for name in inputs)
        part.graph.output.extend(self._value_info(name, self._outputs) for name in outputs)
        part.graph.initializer.extend(tensor for tensor in whole.initializer if tensor.name in constants)
        part.graph.sparse_initializer.extend(t for t in whole.sparse_initializer if t.values.name in constants)
        present = constants.union(inputs, *(node.output for node in part.graph.node))
        part.graph.quantization_annotation.extend(
            annotation for annotation in whole.quantization_annotation if annotation.tensor_name in present
        )
        return part

    def _constants(self, nodes: Sequence[NodeProto], outputs: Sequence[str]) -> tuple[set[str], list[NodeProto]]:
        """Find the constants that nodes read, and the nodes that compute them, however far back they reach."""
        pending = [name for node in nodes for name in node_reads(node) if not self._flow.is_variable(name)]
        pending += [name for name in outputs if not self._flow.is_variable(name)]
        constants: set[str] = set()
        makers: dict[str, NodeProto] = {}
        while pending:
            name = pending.pop()
            if name in constants:
                continue
            constants.add(name)
            maker = self._flow.constant_producer.get(name)
            if maker is not None and maker.name not in makers:
                makers[maker.name] = maker
                pending.extend(node_reads(maker))
        return constants, list(makers.values())

    def _value_info(self, name: str, interface: Mapping[str, ValueInfoProto]) -> ValueInfoProto:
        # As the whole declares it, but for an output that a later part reads: the runtime only warns of a stale shape
        # on an output, and refuses to run with one on an input.
        declared = interface.get(name)
        if declared is not None and (declared.type.tensor_type.HasField("shape") or name not in self._tensors):
            return declared
        # Between layers, or an output whose shape the model does not say.
        tensor = self._tensors[name]
        value = ValueInfoProto(name=name, type=TypeProto())
        value.type.tensor_type.elem_type = element_type(tensor.dtype)
        shape = value.type.tensor_type.shape
        shape.SetInParent()  # a scalar has a shape without dimensions, not none
        # What inference knows without the planning dimensions; the rank alone where it knows nothing: what one run
        # showed may depend on its data.
        for dim in self._declared_dims.get(name, (None,) * len(tensor.shape)):
            if isinstance(dim, int):
                shape.dim.add(dim_value=dim)
            elif dim is None:
                shape.dim.add()
            else:
                shape.dim.add(dim_param=dim)
        return value
