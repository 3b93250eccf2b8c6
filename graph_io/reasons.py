"""Why each tensor of a model is a place to cut, only together with others, or none at all."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

from onnx import GraphProto, NodeProto

from graph_io.cuts import names_in_bodies, reached_tensors
from graph_io.dataflow import node_bodies
from graph_io.graph import LayerGraph, Tensor

Place: TypeAlias = Literal["alone", "together", "drawn", "inside layer", "inside body", "constant", "unread", "type"]

# Of a cut through hundreds of tensors nobody reads every name, and listing all of them for each tensor is quadratic.
_NAMED_BESIDE = 8


@dataclass(frozen=True, slots=True)
class CutReason:
    """Whether a model can be cut at one tensor, and why not.

    Attributes
    ----------
    place : str
        "alone": a legal cut by itself. "together": only with the tensors `beside`. "drawn": no input reaches it, so
        no cut needs it; it crosses where its reader lies on the other side. The rest never cross: "inside layer",
        "inside body" (of a control-flow node), "constant" (copied to the parts that read it), "unread", "type" (no
        tensor, but a sequence, an optional or a map).
    beside : tuple of str
        For "together": the others of the legal cut of fewest tensors that the order of the layers shows, up to 8.
    n_beside : int
        How many others that cut has.
    cut_bytes : int
        For "alone" and "together": the size of the whole cut.
    inside : str or None
        For "inside layer" the layer, for "inside body" the control-flow node.
    """

    place: Place
    beside: tuple[str, ...] = ()
    n_beside: int = 0
    cut_bytes: int = 0
    inside: str | None = None

    @property
    def crosses(self) -> bool:
        """Whether the tensor can travel from one part to another."""
        return self.place in ("alone", "together", "drawn")


def cut_reasons(graph: LayerGraph) -> dict[str, CutReason]:
    """Say of every tensor of a model, constants and those of bodies included, whether and how it can be cut there.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.

    Returns
    -------
    dict of str to CutReason
        Tensors that cross come first, in the order of ``graph.graph["tensors"]``. A name that only a body knows stands
        for the first body that has it.

    Notes
    -----
    A cut of fewest tensors is sought among those between two layers next to each other in topological order: exact for
    "alone", and for the rest a legal cut, though perhaps not the smallest of all. O(n log n) in the size of the graph.
    """
    reasons = _crossing(graph)
    proto_graph: GraphProto = graph.graph["model"].proto.graph
    shapes: Mapping[str, object] = graph.graph["shapes"]
    layer_of = {node: layer for layer, data in graph.nodes(data=True) for node in data["layer"].nodes}
    read = {name for node in proto_graph.node for name in _all_reads(node)} | set(graph.graph["outputs"])
    for tensor in proto_graph.initializer:
        reasons.setdefault(tensor.name, CutReason("constant"))
    for sparse in proto_graph.sparse_initializer:
        reasons.setdefault(sparse.values.name, CutReason("constant"))
    for node in proto_graph.node:
        layer = layer_of.get(node.name)
        for name in node.output:
            if not name or name in reasons:
                continue
            if layer is None:
                reasons[name] = CutReason("constant")
            elif name not in read:
                reasons[name] = CutReason("unread", inside=layer)
            elif name not in shapes:
                reasons[name] = CutReason("type", inside=layer)
            else:
                reasons[name] = CutReason("inside layer", inside=layer)
    for node in proto_graph.node:
        for name in names_in_bodies(node):
            reasons.setdefault(name, CutReason("inside body", inside=node.name))
    return reasons


def _crossing(graph: LayerGraph) -> dict[str, CutReason]:
    """Sweep once over the layers for the size of each cut, find each tensor's best, sweep again for its names."""
    tensors: dict[str, Tensor] = graph.graph["tensors"]
    reached = reached_tensors(graph)
    position = {layer: index for index, layer in enumerate(graph.nodes, start=1)}
    # Cut number p lies behind the first p layers. An output stays open to the end.
    outputs = set(graph.graph["outputs"])
    opens: dict[int, list[Tensor]] = {}
    closes: dict[int, list[Tensor]] = {}
    for tensor in tensors.values():
        first = 0 if tensor.producer is None else position[tensor.producer]
        end = (
            len(position) + 1 if tensor.name in outputs else max((position[one] for one in tensor.consumers), default=0)
        )
        if tensor.name in reached and first < end:
            opens.setdefault(first, []).append(tensor)
            closes.setdefault(end, []).append(tensor)

    best: dict[str, int] = {}
    cut_bytes = [0] * (len(position) + 2)
    # Cuts that are the best of all between them and now, in ascending order of place and of (tensors, bytes).
    places: list[int] = []
    keys: list[tuple[int, int]] = []
    count = total = 0
    for place in range(len(position) + 2):
        for tensor in closes.get(place, ()):
            first = 0 if tensor.producer is None else position[tensor.producer]
            best[tensor.name] = places[bisect_left(places, first)]
            count, total = count - 1, total - tensor.size_bytes
        for tensor in opens.get(place, ()):
            count, total = count + 1, total + tensor.size_bytes
        while keys and keys[-1] > (count, total):
            keys.pop()
            places.pop()
        keys.append((count, total))
        places.append(place)
        cut_bytes[place] = total

    wanted = set(best.values())
    shown: dict[int, tuple[list[str], int]] = {}
    now_open: dict[str, None] = {}
    for place in range(len(position) + 1):
        for tensor in closes.get(place, ()):
            del now_open[tensor.name]
        now_open.update((tensor.name, None) for tensor in opens.get(place, ()))
        if place in wanted:
            shown[place] = list(islice(now_open, _NAMED_BESIDE + 1)), len(now_open) - 1

    reasons: dict[str, CutReason] = {}
    for name in tensors:
        if name not in reached:
            reasons[name] = CutReason("drawn")
        elif name not in best:
            reasons[name] = CutReason("unread")
        else:
            names, others = shown[best[name]]
            beside = tuple(other for other in names if other != name)[:_NAMED_BESIDE]
            place_name: Place = "together" if others else "alone"
            reasons[name] = CutReason(place_name, beside, others, cut_bytes[best[name]])
    return reasons


def _all_reads(node: NodeProto) -> Iterator[str]:
    """Yield what a node and its bodies read, their own tensors included."""
    yield from node.input
    for body in node_bodies(node):
        yield from (value.name for value in body.output)
        for inner in body.node:
            yield from _all_reads(inner)
