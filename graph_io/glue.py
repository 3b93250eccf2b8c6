"""Keep what reads a value that cannot travel in one group with what makes it."""

from collections.abc import Collection

import networkx as nx

from graph_io.dataflow import Dataflow
from graph_io.fusion import Group


def glued_groups(flow: Dataflow, groups: tuple[Group, ...], names: Collection[str]) -> tuple[Group, ...]:
    """Join groups until no named value passes from one to another and none waits for another that waits for it.

    Parameters
    ----------
    flow : Dataflow
    groups : tuple of tuple of int
        A partition of the node numbers.
    names : collection of str
        Values that may not pass: sequences, optionals and maps.

    Returns
    -------
    tuple of tuple of int
        A partition that `groups` refines, the finest of this kind, in topological order.

    Notes
    -----
    Joining the ends of each named value, then each knot of groups that wait for each other: what is left between knots
    has no cycle. Linear in the size of the graph.
    """
    if not names:
        return groups
    member = {node: number for number, group in enumerate(groups) for node in group}
    needs: nx.DiGraph[int] = nx.DiGraph()
    needs.add_nodes_from(range(len(groups)))
    for node, read in enumerate(flow.reads):
        for name in read:
            if name in flow.producer:
                needs.add_edge(member[flow.producer[name]], member[node])
                if name in names:
                    # An edge back makes a knot of maker and reader.
                    needs.add_edge(member[node], member[flow.producer[name]])
    joined = [
        tuple(sorted(node for number in knot for node in groups[number]))
        for knot in nx.strongly_connected_components(needs)
    ]
    member = {node: number for number, group in enumerate(joined) for node in group}
    order: nx.DiGraph[int] = nx.DiGraph()
    order.add_nodes_from(range(len(joined)))
    for node, read in enumerate(flow.reads):
        before = {member[flow.producer[name]] for name in read if name in flow.producer} - {member[node]}
        order.add_edges_from((maker, member[node]) for maker in before)
    ranked = nx.lexicographical_topological_sort(order, key=lambda number: joined[number][-1])
    return tuple(joined[number] for number in ranked)
