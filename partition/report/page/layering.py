"""Layers in groups, groups in rows: a layered layout of a directed acyclic graph that stays small.

Layers are put together that lie on one machine, in one band of depths, and hang together there; the band is as narrow
as the number of boxes allows. An edge never leads to an earlier stage nor to an earlier band, so groups have no cycle.
Rows are longest paths within a stage, and the order within a row follows the mean place of the neighbours, as Sugiyama,
Tagawa and Toda (1981, https://doi.org/10.1109/TSMC.1981.4308636) do it. Long edges hold a place in each row they pass.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_BOXES = 90
MOST_IN_ROW = 6
_MOST_PASSING = 10
_SWEEPS = 6


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that are drawn as one box; numbers of the layers, in topological order."""

    stage: int
    layers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in its row: a group's number, or None for an edge that passes."""

    group: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Groups in rows.

    Attributes
    ----------
    groups : tuple of Group
    rows : tuple of tuples of Place
        From top to bottom; all rows of a stage stand together, in the order of the stages.
    row_stages : tuple of int
        The stage of each row.
    routes : tuple
        Of each edge that is drawn: (from group, to group, ((row, index), ...)) from its start to its end.
    n_hidden : int
        Edges between groups that are not drawn, because too many pass the same rows.
    """

    groups: tuple[Group, ...]
    rows: tuple[tuple[Place, ...], ...]
    row_stages: tuple[int, ...]
    routes: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]
    n_hidden: int


def lay_out(stages: Sequence[int], edges: Sequence[tuple[int, int]], *, most_boxes: int = MOST_BOXES) -> Layout:
    """Group layers and put the groups into rows.

    Parameters
    ----------
    stages : sequence of int
        Of each layer, in topological order: 0 for what runs first.
    edges : sequence of (int, int)
        Between layers; never to an earlier stage.
    most_boxes : int
        Layers are put together until there are no more boxes than this, but one for each stage.
    """
    groups = _groups(stages, edges, most_boxes)
    group_of = {layer: number for number, group in enumerate(groups) for layer in group.layers}
    links = sorted({(group_of[a], group_of[b]) for a, b in edges if group_of[a] != group_of[b]})
    row_of, row_stages = _rows(groups, links)
    return _ordered(groups, links, row_of, row_stages)


def _groups(stages: Sequence[int], edges: Sequence[tuple[int, int]], most_boxes: int) -> tuple[Group, ...]:
    depth = [0] * len(stages)
    successors: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        successors[a].append(b)
    for layer in range(len(stages)):
        for reader in successors[layer]:
            depth[reader] = max(depth[reader], depth[layer] + 1)
    deepest = max(depth, default=0)
    band = max(1, -(-(deepest + 1) // most_boxes))  # every band has a box at least
    while True:
        groups = _banded(stages, edges, [one // band for one in depth])
        if len(groups) <= most_boxes or band > deepest:
            return groups
        # Not doubled: a band a little wider is often enough.
        band = max(band + 1, band * 5 // 4)


def _banded(stages: Sequence[int], edges: Sequence[tuple[int, int]], bands: Sequence[int]) -> tuple[Group, ...]:
    root = list(range(len(stages)))

    def find(layer: int) -> int:
        while root[layer] != layer:
            root[layer] = root[root[layer]]
            layer = root[layer]
        return layer

    for a, b in edges:
        if stages[a] == stages[b] and bands[a] == bands[b]:
            root[find(b)] = find(a)
    members: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for layer in range(len(stages)):
        members[stages[layer], bands[layer]][find(layer)].append(layer)
    groups = []
    for (stage, _), pieces in sorted(members.items()):
        ordered = sorted(pieces.values(), key=lambda one: (-len(one), one[0]))
        kept = ordered[: MOST_IN_ROW - 1] if len(ordered) > MOST_IN_ROW else ordered
        rest = [layer for piece in ordered[len(kept) :] for layer in piece]
        groups += [Group(stage, tuple(piece)) for piece in sorted(kept)]
        if rest:
            groups.append(Group(stage, tuple(sorted(rest))))
    return tuple(groups)


def _rows(groups: Sequence[Group], links: Sequence[tuple[int, int]]) -> tuple[list[int], tuple[int, ...]]:
    level = [0] * len(groups)
    readers: dict[int, list[int]] = defaultdict(list)
    for a, b in links:
        if groups[a].stage == groups[b].stage:
            readers[a].append(b)
    # Groups are in the order of stage and band, so what a group reads comes before it.
    for number in range(len(groups)):
        for reader in readers[number]:
            level[reader] = max(level[reader], level[number] + 1)
    row_of = [0] * len(groups)
    row_stages: list[int] = []
    for stage in sorted({group.stage for group in groups}):
        own = [number for number, group in enumerate(groups) if group.stage == stage]
        waiting: dict[int, list[int]] = defaultdict(list)
        for number in own:
            waiting[level[number]].append(number)
        for _, several in sorted(waiting.items()):
            for start in range(0, len(several), MOST_IN_ROW):
                for number in several[start : start + MOST_IN_ROW]:
                    row_of[number] = len(row_stages)
                row_stages.append(stage)
    return row_of, tuple(row_stages)


def _ordered(
    groups: tuple[Group, ...], links: Sequence[tuple[int, int]], row_of: Sequence[int], row_stages: tuple[int, ...]
) -> Layout:
    rows: list[list[int]] = [[] for _ in row_stages]  # nodes: groups, then places that edges hold
    for number in range(len(groups)):
        rows[row_of[number]].append(number)
    passing = [0] * len(rows)
    chains: list[tuple[int, int, list[int]]] = []
    n_nodes, n_hidden = len(groups), 0
    # Short ones first: those that pass the fewest rows are the easiest to follow.
    for a, b in sorted(links, key=lambda one: row_of[one[1]] - row_of[one[0]]):
        between = range(row_of[a] + 1, row_of[b])
        if any(passing[row] >= _MOST_PASSING for row in between):
            n_hidden += 1
            continue
        chain = [a]
        for row in between:
            passing[row] += 1
            rows[row].append(n_nodes)
            chain.append(n_nodes)
            n_nodes += 1
        chains.append((a, b, [*chain, b]))
    _sort_rows(rows, chains, n_nodes)
    place = {node: (row, index) for row, nodes in enumerate(rows) for index, node in enumerate(nodes)}
    return Layout(
        groups=groups,
        rows=tuple(tuple(Place(node if node < len(groups) else None) for node in nodes) for nodes in rows),
        row_stages=row_stages,
        routes=tuple((a, b, tuple(place[node] for node in chain)) for a, b, chain in chains),
        n_hidden=n_hidden,
    )


def _sort_rows(rows: list[list[int]], chains: Sequence[tuple[int, int, list[int]]], n_nodes: int) -> None:
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for _, _, chain in chains:
        for a, b in pairwise(chain):
            below[a].append(b)
            above[b].append(a)
    share = [0.5] * n_nodes

    def spread(nodes: list[int]) -> None:
        for index, node in enumerate(nodes):
            share[node] = (index + 0.5) / len(nodes)

    def sort_by(neighbours: Mapping[int, list[int]], nodes: list[int]) -> None:
        wanted = {}
        for node in nodes:
            near = neighbours.get(node)
            wanted[node] = sum(share[one] for one in near) / len(near) if near else share[node]
        nodes.sort(key=wanted.__getitem__)
        spread(nodes)

    for nodes in rows:
        spread(nodes)
    for _ in range(_SWEEPS):
        for nodes in rows:
            sort_by(above, nodes)
        for nodes in reversed(rows):
            sort_by(below, nodes)
    for nodes in rows:
        sort_by(above, nodes)
