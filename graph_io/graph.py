"""The layer graph: what the rest of the library sees of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Literal, TypeAlias

import networkx as nx

from graph_io.dataflow import Dataflow, dataflow
from graph_io.dtypes import size_bytes
from graph_io.errors import ModelError
from graph_io.features import node_flops, traffic_bytes, unpriced
from graph_io.fusion import Group, fused_groups, optimized_graph, single_groups
from graph_io.glue import glued_groups
from graph_io.inputs import Array, bind_inputs
from graph_io.model import Model, ModelSource, load_model
from graph_io.quantised_cuts import is_quantiser
from graph_io.shapes import ShapeAndType, fix_input_dims, value_types
from graph_io.skeleton import structure_sha256
from graph_io.weights import body_constants, constant_bytes, stored_constants

Granularity: TypeAlias = Literal["layer", "node"]
LayerGraph: TypeAlias = "nx.DiGraph[str]"


@dataclass(frozen=True, slots=True)
class Layer:
    """The atom of partition: original nodes that the runtime executes as one.

    Attributes
    ----------
    id : str
        Name of the group's node with the most arithmetic; unique in the graph.
    nodes : tuple of str
        Names of the original nodes, in topological order.
    op_types : tuple of str
        Their operator types, in the same order.
    inputs, outputs : tuple of str
        Tensors that enter from other layers or the user, and tensors that others or the user read.
    constants : tuple of str
        Constants that it reads, as they are stored: weights, and values computed from weights alone.
    flops : float
        Floating-point operations of one inference; a multiply-add counts as two.
    input_bytes, output_bytes, weight_bytes : int
        Sizes of these tensors, each counted once.
    traffic_bytes : int
        What one inference moves to and from memory: inputs, outputs and weights, of a table that is looked up only the
        rows, and nothing if the layer only gives data another shape.
    """

    id: str
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]
    flops: float
    input_bytes: int
    output_bytes: int
    weight_bytes: int
    traffic_bytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value between layers, or between a layer and the user.

    Attributes
    ----------
    name : str
    dtype : str
        NumPy-style name, such as ``"float32"``.
    shape : tuple of int
    size_bytes : int
    producer : str or None
        Layer id; None for a model input.
    consumers : tuple of str
        Layer ids in topological order, each once; empty for a model output that no layer reads.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    producer: str | None
    consumers: tuple[str, ...]


def load_graph(
    source: ModelSource | Model,
    *,
    dims: Mapping[str, int] | None = None,
    granularity: Granularity = "layer",
    inputs: Mapping[str, Array] | None = None,
) -> LayerGraph:
    """Load an ONNX model as a graph of layers.

    Parameters
    ----------
    source : path, onnx.ModelProto or Model
    dims : mapping of str to int, optional
        Values of symbolic dimensions, such as ``{"seq": 128}``; a dimension without a name is ``"input.axis"``. An
        unnamed or batch dimension on axis 0 becomes 1, which ``notes`` says.
    granularity : {"layer", "node"}
        Group nodes as the runtime fuses them, or keep every node apart.
    inputs : mapping of str to numpy.ndarray, optional
        One array for each input of the model, of its own type. They tell the open dimensions, so ``dims`` can be left
        out, and take the place of random ones where a shape can only be found by running the model.

    Returns
    -------
    networkx.DiGraph
        Node: layer id, in topological order, with the attribute ``layer: Layer`` (and ``latency_s: {machine: seconds}``
        once annotated). Edge: ``tensors: tuple[str, ...]``, the tensors that pass. Graph attributes: ``name`` (str),
        ``model`` (`Model`), ``tensors`` (name to `Tensor`), ``inputs`` and ``outputs`` (names, of the model),
        ``constant_outputs`` (name to `Tensor`, of outputs that no input reaches), ``granularity``, ``dims`` (dict, with
        what inputs tell), ``given_inputs`` (name to array, or None), ``input_shapes`` (name to shape), ``shapes`` (name
        of every tensor to its type and shape), ``constant_bytes``
        (name to int), ``structure_sha256`` (str), ``cache`` (dict, of what is found out later and copies share),
        ``notes`` (tuple of str: what was assumed or changed).

    Raises
    ------
    ModelError
        See `load_model`, `fix_input_dims`, `bind_inputs`, `value_types` and `fused_groups`.
    """
    if granularity not in ("layer", "node"):
        raise ModelError(f"granularity {granularity!r} is unknown; use 'layer' or 'node'")
    model = source if isinstance(source, Model) else load_model(source)
    flow = dataflow(model.proto)
    if not flow.nodes:
        raise ModelError(f"model '{model.name}' has no compute node: its outputs do not depend on its inputs")
    bound_dims: Mapping[str, int] = dims or {}
    dim_notes: tuple[str, ...] = ()
    if inputs is None:
        input_shapes, dim_notes = fix_input_dims(model, bound_dims)
    else:
        input_shapes, bound_dims = bind_inputs(model, inputs, bound_dims)
    if granularity == "layer":
        groups, group_notes = fused_groups(model, flow)
    else:
        optimized_graph(model, level="none")
        groups, group_notes = single_groups(flow), ()
    types = value_types(model, flow, input_shapes, given=inputs)
    shapes = types.shapes
    groups = glued_groups(flow, groups, types.no_tensors)

    tensors = _tensors(flow, groups)
    bytes_of = {name: size_bytes(dtype, shape) for name, (dtype, shape) in shapes.items()} | types.text_bytes
    sizes = constant_bytes(flow, shapes)
    sizes |= {name: size for name, size in types.text_bytes.items() if name in sizes}
    layers = _layers(flow, groups, shapes, tensors, sizes, bytes_of)
    ids = {number: layer.id for number, layer in enumerate(layers)}
    graph: LayerGraph = nx.DiGraph(
        name=model.name,
        model=model,
        inputs=flow.inputs,
        outputs=flow.outputs,
        granularity=granularity,
        constant_outputs={
            name: Tensor(name, *shapes[name], bytes_of[name], None, ())
            for name in flow.outputs
            if name not in tensors and name in shapes
        },
        dims={name: index(size) for name, size in bound_dims.items()},
        given_inputs=None if inputs is None else dict(inputs),
        input_shapes=input_shapes,
        shapes=shapes,
        cache={},
        constant_bytes=sizes,
        structure_sha256=structure_sha256(model.proto),
        notes=(*model.notes, *dim_notes, *types.notes, *group_notes, *unpriced(flow.nodes)),
    )
    for layer in layers:
        graph.add_node(layer.id, layer=layer)
    named: dict[str, Tensor] = {}
    passing: dict[tuple[str, str], list[str]] = {}
    for name, (producer, consumers) in tensors.items():
        dtype, shape = shapes[name]
        readers = tuple(ids[number] for number in consumers)
        owner = None if producer is None else ids[producer]
        named[name] = Tensor(name, dtype, shape, bytes_of[name], owner, readers)
        for reader in readers:
            if owner is not None:
                passing.setdefault((owner, reader), []).append(name)
    graph.graph["tensors"] = named
    for (owner, reader), names in passing.items():
        graph.add_edge(owner, reader, tensors=tuple(names))
    return graph


def _tensors(flow: Dataflow, groups: tuple[Group, ...]) -> dict[str, tuple[int | None, tuple[int, ...]]]:
    """Find the tensors that cross from group to group, or from or to the user: name to producer and consumers."""
    member = {node: number for number, group in enumerate(groups) for node in group}
    crossing: dict[str, tuple[int | None, tuple[int, ...]]] = {}
    for name in (*flow.inputs, *flow.producer):
        producer = member[flow.producer[name]] if name in flow.producer else None
        consumers = sorted({member[node] for node in flow.consumers.get(name, ())} - {producer})
        if producer is None or consumers or name in flow.outputs:
            crossing[name] = (producer, tuple(number for number in consumers if number is not None))
    return crossing


def _layers(
    flow: Dataflow,
    groups: tuple[Group, ...],
    shapes: Mapping[str, ShapeAndType],
    tensors: Mapping[str, tuple[int | None, tuple[int, ...]]],
    stored_bytes: Mapping[str, int],
    sizes: Mapping[str, int],
) -> list[Layer]:
    dims = {name: shape for name, (_, shape) in shapes.items()}
    layers = []
    for number, group in enumerate(groups):
        nodes = [flow.nodes[index] for index in group]
        flops = [node_flops(node, dims) for node in nodes]
        # Of as much arithmetic, what a quantised model computes tells more than how it rounds.
        leader = max(range(len(nodes)), key=lambda at: (flops[at], not is_quantiser(nodes[at])))
        inputs = _once(name for index in group for name in flow.reads[index] if _is_foreign(name, number, tensors))
        outputs = _once(name for node in nodes for name in node.output if name in tensors)
        read = {name: stored_constants(flow, name) for index in group for name in flow.constants_read[index]}
        read |= {name: (name,) for node in nodes for name in body_constants(node)}
        constants = _once(source for sources in read.values() for source in sources)
        read_bytes = {name: sum(stored_bytes[source] for source in sources) for name, sources in read.items()}
        read_bytes |= {name: sizes[name] for name in inputs}
        layers.append(
            Layer(
                id=nodes[leader].name,
                nodes=tuple(node.name for node in nodes),
                op_types=tuple(node.op_type for node in nodes),
                inputs=inputs,
                outputs=outputs,
                constants=constants,
                flops=sum(flops),
                input_bytes=sum(sizes[name] for name in inputs),
                output_bytes=sum(sizes[name] for name in outputs),
                weight_bytes=sum(stored_bytes[name] for name in constants),
                traffic_bytes=traffic_bytes(nodes, read_bytes, {name: sizes[name] for name in outputs}, sizes),
            )
        )
    return layers


def _is_foreign(name: str, number: int, tensors: Mapping[str, tuple[int | None, tuple[int, ...]]]) -> bool:
    return name in tensors and tensors[name][0] != number


def _once(names: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))  # type: ignore[call-overload]
