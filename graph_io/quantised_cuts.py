"""Quantised models are cut where their tensors are narrow: Q stays with its producer, DQ with its reader.

Between the float operators of a model in QDQ form a tensor exists twice, as floats and as integers of a quarter of
their size. What crosses should be the integers. So a QuantizeLinear belongs to the layer whose result it narrows, and
a DequantizeLinear to the layer that reads it; one with several readers is copied to each, as the runtime itself does.
"""

from collections.abc import Iterable, Sequence

from onnx import GraphProto, NodeProto

from graph_io.dataflow import Dataflow, node_bodies, node_reads

_DOMAINS = ("", "com.microsoft")
_NARROWING = ("QuantizeLinear", "DynamicQuantizeLinear")


def is_quantiser(node: NodeProto) -> bool:
    """Say whether a node only turns floats into integers or back."""
    return _is(node, *_NARROWING, "DequantizeLinear")


def one_dequantize_per_reader(graph: GraphProto) -> int:
    """Copy each DequantizeLinear of a tensor that depends on the run to every node that reads its result.

    Parameters
    ----------
    graph : onnx.GraphProto
        Sorted, with unique names of nodes, initializers not among its inputs; changed in place. The values of all its
        tensors stay bit-equal.

    Returns
    -------
    int
        How many copies were made.

    Notes
    -----
    The original name stays with a model output of that name and with the bodies that capture it, else with the first
    reader. A scale that depends on the run stays shared: it would have to cross beside each copy. Linear in the size of
    the graph.
    """
    if not any(_is(node, "DequantizeLinear") for node in graph.node):
        return 0
    direct: dict[str, list[NodeProto]] = {}
    kept = {value.name for value in graph.output}
    variable = {value.name for value in graph.input}
    candidates: list[NodeProto] = []
    for node in graph.node:
        reads = node_reads(node)
        if next(node_bodies(node), None) is not None:
            kept.update(reads)  # captures cannot be told from inputs by name alone
        else:
            for name in reads:
                direct.setdefault(name, []).append(node)
        if not variable.isdisjoint(reads):
            variable.update(node.output)
            if _is(node, "DequantizeLinear") and node.output[0] and variable.isdisjoint(node.input[1:]):
                candidates.append(node)
    taken = _Names(graph)
    copies: dict[str, list[NodeProto]] = {}
    for node in candidates:
        name = node.output[0]
        for reader in direct.get(name, ())[0 if name in kept else 1 :]:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name, copy.output[0] = taken.fresh(node.name), taken.fresh(name)
            for slot, read in enumerate(reader.input):
                if read == name:
                    reader.input[slot] = copy.output[0]
            copies.setdefault(node.name, []).append(copy)
    if copies:
        ordered = [one for node in graph.node for one in (node, *copies.get(node.name, ()))]
        rebuilt = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(rebuilt)
    return sum(len(made) for made in copies.values())


class _Names:
    """Names of nodes and tensors in a graph and its bodies; collected when the first fresh one is asked for."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._taken: set[str] = set()

    def fresh(self, stem: str) -> str:
        if not self._taken:
            self._collect(self._graph)
        number = 2
        while f"{stem}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{stem}_{number}")
        return f"{stem}_{number}"

    def _collect(self, graph: GraphProto) -> None:
        self._taken.update(value.name for value in (*graph.input, *graph.output, *graph.value_info))
        self._taken.update(tensor.name for tensor in graph.initializer)
        self._taken.update(tensor.values.name for tensor in graph.sparse_initializer)
        for node in graph.node:
            self._taken.update((node.name, *node.input, *node.output))
            for body in node_bodies(node):
                self._collect(body)


def narrowed_tensors(flow: Dataflow) -> list[str]:
    """Return what the quantising nodes of a model put out: there a quarter of the bytes crosses."""
    return [name for node in flow.nodes if _is(node, *_NARROWING) for name in node.output if name]


def with_quantisers(flow: Dataflow, groups: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Join quantising nodes that are groups of their own to their producers', dequantising ones to their readers'.

    Parameters
    ----------
    flow : Dataflow
    groups : iterable of sequences of int
        A partition of the node numbers.

    Returns
    -------
    list of tuple of int
        The new partition. A float tensor that others read, too, or that is a model output, stays between groups.

    Notes
    -----
    No cycle comes of it: whatever joins has one predecessor, or one successor, and that is what it joins.
    """
    members = [list(group) for group in groups]
    group_of = {node: index for index, group in enumerate(members) for node in group}
    for index in [index for index, group in enumerate(members) if len(group) == 1]:
        if len(members[index]) != 1:
            continue  # something joined it
        number = members[index][0]
        node = flow.nodes[number]
        if len(flow.reads[number]) != 1:
            continue  # a scale that depends on the run
        if _is(node, *_NARROWING):
            wide = flow.reads[number][0]
            partner = flow.producer.get(wide)
            alone = flow.consumers[wide] == (number,)
        elif _is(node, "DequantizeLinear"):
            wide = node.output[0]
            readers = flow.consumers.get(wide, ())
            partner = readers[0] if readers else None
            alone = len(readers) == 1
        else:
            continue
        if partner is None or not alone or wide in flow.outputs:
            continue
        members[group_of[partner]].append(number)
        members[index] = []
        group_of[number] = group_of[partner]
    return [tuple(sorted(group)) for group in members if group]


def _is(node: NodeProto, *op_types: str) -> bool:
    return node.op_type in op_types and node.domain in _DOMAINS
