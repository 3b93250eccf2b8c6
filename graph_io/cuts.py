"""Legal cuts: sets of tensors that separate a model's inputs from its outputs."""

from collections.abc import Iterable, Iterator

from onnx import NodeProto

from graph_io.dataflow import node_bodies
from graph_io.errors import ModelError
from graph_io.graph import LayerGraph, Tensor


def head_of_cut(graph: LayerGraph, cut: Iterable[str]) -> frozenset[str]:
    """Return the layers in front of a cut: the ancestors of its tensors, their producers included.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.
    cut : iterable of str
        Tensor names. The model's inputs are the cut with everything behind it, its outputs the one with nothing.

    Raises
    ------
    ModelError
        An unknown tensor, one inside a layer, one that does not cross because it lies in front of another, or a path
        around the cut, which is named.

    Notes
    -----
    Legal: every path from a model input to a model output meets the cut, and every member crosses from the head to the
    rest, or is an output. So a member may be downstream of another only if that one is also read behind the cut, as the
    short side of a skip connection is. Linear in the size of the graph.
    """
    names = tuple(dict.fromkeys(cut))
    if not names:
        raise ModelError("the cut is empty; name at least one tensor (the model's inputs put everything behind it)")
    tensors = _tensors(graph)
    for name in names:
        _check_known(graph, name)
    head: set[str] = set()
    pending = [tensors[name].producer for name in names]
    while pending:
        layer = pending.pop()
        if layer is not None and layer not in head:
            head.add(layer)
            pending.extend(graph.predecessors(layer))
    crossing = {
        tensor.name
        for tensor in tensors.values()
        if (tensor.producer is None or tensor.producer in head) and not head.issuperset(tensor.consumers)
    }
    for name in names:
        readers_in_head = [reader for reader in tensors[name].consumers if reader in head]
        if readers_in_head and name not in crossing and name not in graph.graph["outputs"]:
            below = next(other for other in names if _leads_to(graph, readers_in_head, tensors[other].producer))
            raise ModelError(f"cut: tensor '{below}' is downstream of '{name}'; a legal cut holds only one of them")
    _refuse_escape(graph, frozenset(names), crossing)
    _refuse_unnamed(graph, frozenset(names), crossing)
    return frozenset(head)


def single_tensor_cuts(graph: LayerGraph) -> tuple[str, ...]:
    """Return every tensor that is a legal cut by itself, from the inputs to the outputs. Linear in the graph's size."""
    tensors = _tensors(graph)
    last_use: dict[str, int] = {}
    position = {layer: index for index, layer in enumerate(graph.nodes)}
    outputs = set(graph.graph["outputs"])
    for tensor in tensors.values():
        uses = [position[reader] for reader in tensor.consumers]
        last_use[tensor.name] = len(position) if tensor.name in outputs else max(uses, default=-1)
    open_tensors = {name for name in graph.graph["inputs"] if last_use[name] >= 0}
    found: dict[str, None] = dict.fromkeys(open_tensors) if len(open_tensors) == 1 else {}
    closing: dict[int, list[str]] = {}
    for name, index in last_use.items():
        closing.setdefault(index, []).append(name)
    reached = reached_tensors(graph)
    for index, layer in enumerate(graph.nodes):
        open_tensors.update(reached.intersection(graph.nodes[layer]["layer"].outputs))
        open_tensors.difference_update(closing.get(index, ()))
        if len(open_tensors) == 1:
            found.update(dict.fromkeys(open_tensors))
    return tuple(found)


def _tensors(graph: LayerGraph) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = graph.graph["tensors"]
    return tensors


def reached_tensors(graph: LayerGraph) -> set[str]:
    """Return the tensors that an input reaches; what only random draws reach lies on no path that a cut must meet."""
    reached = set(graph.graph["inputs"])
    for _, data in graph.nodes(data=True):
        if not reached.isdisjoint(data["layer"].inputs):
            reached.update(data["layer"].outputs)
    return reached


def names_in_bodies(node: NodeProto) -> Iterator[str]:
    """Yield the names that the bodies of a control-flow node have for their own tensors; none for another node."""
    for body in node_bodies(node):
        yield from (value.name for value in body.input)
        yield from (tensor.name for tensor in body.initializer)
        for inner in body.node:
            yield from (name for name in inner.output if name)
            yield from names_in_bodies(inner)


def _check_known(graph: LayerGraph, name: str) -> None:
    if name in _tensors(graph):
        return
    maker = next((node.name for node in graph.graph["model"].proto.graph.node if name in node.output), None)
    for layer, data in graph.nodes(data=True):
        if maker in data["layer"].nodes:
            outputs = ", ".join(f"'{output}'" for output in data["layer"].outputs)
            if name not in graph.graph["shapes"]:
                raise ModelError(
                    f"cut: '{name}' is a sequence, an optional or a map, which never crosses; cut at {outputs}"
                )
            if graph.graph["granularity"] == "node":
                raise ModelError(
                    f"cut: tensor '{name}' lies inside the layer '{layer}', which a sequence, an optional or a map "
                    f"holds together; cut at {outputs}"
                )
            raise ModelError(
                f"cut: tensor '{name}' lies inside the layer '{layer}', which the runtime runs as one; "
                f"cut at {outputs}, or use granularity='node' (--granularity node)"
            )
    proto = graph.graph["model"].proto
    constants = {tensor.name for tensor in proto.graph.initializer} | set(graph.graph["constant_outputs"])
    if maker is not None or name in constants:
        raise ModelError(f"cut: tensor '{name}' is a constant, which never crosses; cut where an input reaches")
    around = next((node.name for node in proto.graph.node if name in names_in_bodies(node)), None)
    if around is not None:
        raise ModelError(
            f"cut: tensor '{name}' lies in a body of the node '{around}', which runs as one; cut before or behind that"
        )
    raise ModelError(f"cut: tensor '{name}' is not in the model; `dnn-partition inspect` lists the tensors to cut at")


def _leads_to(graph: LayerGraph, start: list[str], goal: str | None) -> bool:
    seen, pending = set(start), list(start)
    while pending:
        layer = pending.pop()
        if layer == goal:
            return True
        fresh = [successor for successor in graph.successors(layer) if successor not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    return False


def _refuse_escape(graph: LayerGraph, cut: frozenset[str], crossing: set[str]) -> None:
    tensors, outputs = _tensors(graph), set(graph.graph["outputs"])
    came_from: dict[str, str | None] = {name: None for name in graph.graph["inputs"] if name not in cut}
    pending = list(came_from)
    while pending:
        name = pending.pop()
        if name in outputs:
            path = [name]
            while (previous := came_from[path[-1]]) is not None:
                path.append(previous)
            path.reverse()
            shown = path if len(path) <= 6 else [*path[:3], "...", *path[-2:]]
            # Only what crosses can be added: what lies in front of a member is no place to cut any more.
            advice = next((f"'{one}'" for one in path if one in crossing), f"the output '{path[-1]}'")
            raise ModelError(f"cut: the path {' -> '.join(shown)} escapes it; add {advice} to the cut")
        for reader in tensors[name].consumers:
            for output in graph.nodes[reader]["layer"].outputs:
                if output not in cut and output not in came_from:
                    came_from[output] = name
                    pending.append(output)


def _refuse_unnamed(graph: LayerGraph, cut: frozenset[str], crossing: set[str]) -> None:
    """Refuse a cut that a tensor crosses unnamed, behind one member and beside another, though an input reaches it."""
    reached = reached_tensors(graph)
    missing = next((name for name in _tensors(graph) if name in crossing and name in reached and name not in cut), None)
    if missing is not None:
        raise ModelError(
            f"cut: tensor '{missing}' crosses it too, since layers on both sides read it; add it to the cut"
        )
