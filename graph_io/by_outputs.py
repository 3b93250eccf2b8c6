"""Cut a model by its outputs: what the first one needs, what the next one needs beyond that, and so on."""

from collections.abc import Mapping, Sequence

import networkx as nx
from onnx import ModelProto, TensorShapeProto

from graph_io.dataflow import dataflow
from graph_io.errors import ModelError
from graph_io.external import embed
from graph_io.graph import LayerGraph, load_graph
from graph_io.model import Model, select_outputs
from graph_io.shapes import BATCH_NAMES
from graph_io.submodels import split

_INFERRED = "unk__"  # how shape inference names what follows from a dimension without a name


def needed_nodes(model: Model, output: str) -> frozenset[str]:
    """Return the names of the nodes that an output needs and that depend on inputs; none if it is an input itself."""
    flow = dataflow(model.proto)
    needed: set[int] = set()
    pending = [flow.producer[output]] if output in flow.producer else []
    while pending:
        number = pending.pop()
        if number not in needed:
            needed.add(number)
            pending += [flow.producer[name] for name in flow.reads[number] if name in flow.producer]
    return frozenset(flow.nodes[number].name for number in needed)


def open_dims(model: Model) -> frozenset[str]:
    """Return what the dimensions may be called that a model's inputs leave open: their symbols, and "input.axis"."""
    return frozenset(
        name
        for value in model.proto.graph.input
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if _is_open(dim)
        for name in (dim.dim_param, f"{value.name}.{axis}")
        if name
    )


def split_by_outputs(
    model: Model, outputs: Sequence[str], *, dims: Mapping[str, int] | None = None
) -> tuple[ModelProto, ...]:
    """Cut a model into one part for each of some outputs: the layers that it needs and no earlier one does.

    Parameters
    ----------
    model : Model
    outputs : sequence of str
        Outputs of the model, in the order of running; layers that lead to none of them are dropped.
    dims : mapping of str to int, optional
        As for `load_graph`.

    Returns
    -------
    tuple of onnx.ModelProto
        With their weights. Each puts out its own output, and what later parts read; their inputs have the planned
        shape, but for a batch that neither the model nor `dims` tells.

    Raises
    ------
    ModelError
        An output that the model does not have, or that needs nothing of its own; what `load_graph` refuses; weights of
        more than 2.1 GB.
    """
    trimmed = select_outputs(model, outputs)
    graph = load_graph(trimmed, dims=dims)
    layers = _layers_by_output(graph, outputs)
    if not all(layers):
        raise ModelError(
            f"model '{model.name}': output '{outputs[layers.index([])]}' needs no layer that the outputs before it do "
            "not need; put it before them, or leave it out"
        )
    found: tuple[ModelProto, ...]
    if len(outputs) == 1:
        # A model that stays whole is left as it is, so that what was measured on it still belongs to it.
        found = (trimmed.proto if trimmed.weights is None else embed(trimmed.proto, trimmed.weights),)
    else:
        found = tuple(part.embedded() for part in split(graph, layers))
    for proto in found:
        _fix_inputs(proto, graph, dims or {})
    return found


def _layers_by_output(graph: LayerGraph, outputs: Sequence[str]) -> list[list[str]]:
    """Return for each output the layers that it needs and no earlier one does, in topological order."""
    taken: set[str] = set()
    found = []
    for name in outputs:
        layer = graph.graph["tensors"][name].producer
        own = (nx.ancestors(graph, layer) | {layer}) - taken
        found.append([one for one in graph if one in own])
        taken |= own
    return found


def _fix_inputs(proto: ModelProto, graph: LayerGraph, dims: Mapping[str, int]) -> None:
    """Give the inputs of a part the planned shape, but leave a batch open that the model leaves open.

    What crosses between two parts may have dimensions that no name of the user's tells, such as half a length.
    """
    inputs = graph.graph["model"].proto.graph.input
    with_batch = any(
        _is_batch(one.name, list(one.type.tensor_type.shape.dim), dims)
        and graph.graph["input_shapes"][one.name][0] == 1
        for one in inputs
    )
    for value in proto.graph.input:
        shape = list(value.type.tensor_type.shape.dim)
        planned = graph.graph["tensors"][value.name].shape
        stays = with_batch and _is_batch(value.name, shape, dims) and planned[0] == 1
        for axis, (dim, size) in enumerate(zip(shape, planned, strict=True)):
            if axis == 0 and stays:
                if dim.dim_param.startswith(_INFERRED):
                    dim.ClearField("dim_param")
            elif _is_open(dim):
                dim.dim_value = size


def _is_batch(name: str, shape: Sequence[TensorShapeProto.Dimension], dims: Mapping[str, int]) -> bool:
    """Say whether the first dimension is a batch that nothing tells."""
    if not shape or not _is_open(shape[0]) or f"{name}.0" in dims or shape[0].dim_param in dims:
        return False
    return shape[0].dim_param.lower() in BATCH_NAMES or shape[0].dim_param.startswith(_INFERRED)


def _is_open(dim: TensorShapeProto.Dimension) -> bool:
    return not dim.HasField("dim_value") or dim.dim_value < 0
