"""What elimination sees of a problem: vertices that carry states, and links between two of them.

Every layer is a vertex. A tensor with one consumer is a link between two layers. A tensor with several is sent once
to each machine, so its producer's state also says to which machines it was sent, and each consumer is linked to that
part of the state. Tensors of one producer with the same consumers travel together and form one group. A layer tracks
only so many tensors; each further one gets a pseudo-vertex with the producer's label and its own sent machines.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from solvers._arrays import IndexArray
from solvers._jit import choose
from solvers.errors import MethodError
from solvers.problem import Problem

SEPARATE = -1
"""Kind of a link whose tensor has this consumer only: it pays when the machines differ. A kind >= 0 is the place of
the tensor among those whose sent machines the tail's state tracks."""

TWIN = -2
"""Kind of a link from a layer to the pseudo-vertex of one of its tensors: the labels must agree."""

SAME = -3
"""Kind of a link between colocated layers: the machines must agree."""


INDEX = np.int32
"""Of everything that counts layers, tensors and links in here: it halves the memory that is walked through."""

MOST = 1 << 27
"""Layers, tensors and links that leave room for all sums in 32 bits."""


class Network(NamedTuple):
    """Vertices, pairs of linked vertices, and the links over each pair; independent of costs and pins."""

    owners: IndexArray  # (n_vertices,) the layer itself, or the producer behind a pseudo-vertex
    first_shared: IndexArray  # (n_vertices,) where its tracked groups start in `shared_groups`
    n_shared: IndexArray  # (n_vertices,)
    shared_groups: IndexArray
    group_of_tensor: IndexArray  # (n_tensors,) -1 for a tensor without consumers
    group_counts: IndexArray  # (n_groups,) tensors in each group
    link_kinds: IndexArray  # (n_links,)
    link_tails: IndexArray
    link_heads: IndexArray
    link_pairs: IndexArray
    link_groups: IndexArray  # -1 for TWIN and SAME
    pair_ends: IndexArray  # (2 * n_pairs,) tail and head of each pair


def tracked_limit(n_machines: int) -> int:
    """Return how many tensors with several consumers a layer's own state tracks; keeps states under about 100."""
    return {1: 3, 2: 3, 3: 2}.get(n_machines, 1)


def build_network(problem: Problem) -> Network:
    """Group tensors and lay links. O(n_layers + n_consumers) unless one layer makes many different shared tensors."""
    n_layers, n_tensors, n_consumers = problem.n_layers, problem.n_tensors, len(problem.consumer_layers)
    backend = choose(n_layers)
    n_vertices = n_layers + n_tensors
    n_links = n_consumers + n_tensors
    if n_vertices + n_links > MOST:
        raise MethodError(f"dp counts layers and tensors in 32 bits: {n_vertices + n_links} are over {MOST}")
    owners, first_shared, n_shared = backend.rows(3, n_vertices, 0, INDEX)
    shared_groups = backend.full(n_tensors, 0, INDEX)
    group_of_tensor, group_counts = backend.full(n_tensors, -1, INDEX), backend.full(n_tensors, 0, INDEX)
    rows: list[Any] = backend.rows(5, n_links, 0, INDEX)
    pair_ends = backend.full(2 * n_links, 0, INDEX)
    used = backend.full(4, 0)
    backend.run(
        _build,
        tracked_limit(problem.n_machines),
        *(backend.view(a) for a in (problem.tensor_producer, problem.consumer_offsets, problem.consumer_layers)),
        _Vertices(owners, first_shared, n_shared, shared_groups),
        _Groups(group_of_tensor, group_counts),
        _Links(rows[0], rows[1], rows[2], rows[3], rows[4], pair_ends),
        _Scratch(
            backend.full(n_layers + 1, 0, INDEX),
            backend.full(n_tensors, 0, INDEX),
            backend.full(2 * n_layers, -1, INDEX),
            backend.full(2 * n_layers, 0, INDEX),
            backend.full(n_tensors, 0, INDEX),
        ),
        used,
    )
    n_vertices, n_groups, n_links, n_pairs = (int(k) for k in used)
    network = Network(
        owners=np.asarray(owners[:n_vertices], dtype=INDEX),
        first_shared=np.asarray(first_shared[:n_vertices], dtype=INDEX),
        n_shared=np.asarray(n_shared[:n_vertices], dtype=INDEX),
        shared_groups=np.asarray(shared_groups, dtype=INDEX),
        group_of_tensor=np.asarray(group_of_tensor, dtype=INDEX),
        group_counts=np.asarray(group_counts[:n_groups], dtype=INDEX),
        link_kinds=np.asarray(rows[0][:n_links], dtype=INDEX),
        link_tails=np.asarray(rows[1][:n_links], dtype=INDEX),
        link_heads=np.asarray(rows[2][:n_links], dtype=INDEX),
        link_pairs=np.asarray(rows[3][:n_links], dtype=INDEX),
        link_groups=np.asarray(rows[4][:n_links], dtype=INDEX),
        pair_ends=np.asarray(pair_ends[: 2 * n_pairs], dtype=INDEX),
    )
    return _with_colocated(problem, network) if problem.colocated else network


class _Vertices(NamedTuple):
    owners: Any
    first_shared: Any
    n_shared: Any
    shared_groups: Any


class _Groups(NamedTuple):
    of_tensor: Any
    counts: Any


class _Links(NamedTuple):
    kinds: Any
    tails: Any
    heads: Any
    pairs: Any
    groups: Any
    pair_ends: Any


class _Scratch(NamedTuple):
    first: Any  # (n_layers + 1,) tensors by producer
    tensors: Any  # (n_tensors,)
    marks: Any  # (2 * n_layers,) by consumer: producer of the pair below; tensor that was compared last
    values: Any  # (2 * n_layers,) by consumer: pair; its separate group + 1
    distinct: Any  # (n_tensors,) one tensor of each shared group of the producer at hand


def _with_colocated(problem: Problem, network: Network) -> Network:
    columns = (network.link_kinds, network.link_tails, network.link_heads, network.link_pairs, network.link_groups)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    ends = network.pair_ends.tolist()
    known = {frozenset(ends[2 * pair : 2 * pair + 2]): pair for pair in range(len(ends) // 2)}
    for members in problem.colocated:
        for tail, head in pairwise(members):
            pair = known.setdefault(frozenset((tail, head)), len(known))
            if 2 * pair == len(ends):
                ends += [tail, head]
            rows.append((SAME, tail, head, pair, -1))
    kinds, tails, heads, pairs, groups = np.array(rows, dtype=INDEX).reshape(-1, 5).T.copy()
    return network._replace(
        link_kinds=kinds,
        link_tails=tails,
        link_heads=heads,
        link_pairs=pairs,
        link_groups=groups,
        pair_ends=np.array(ends, dtype=INDEX),
    )


def _build(
    limit: int,
    producers: Any,
    offsets: Any,
    consumers: Any,
    vertices: Any,
    groups: Any,
    links: Any,
    scratch: Any,
    used: Any,
) -> int:
    """Fill the arrays of a Network; `used` gets the numbers of vertices, groups, links and pairs."""
    n_layers = len(scratch.first) - 1
    n_tensors = len(producers)
    first = scratch.first
    for tensor in range(n_tensors):
        first[producers[tensor] + 1] += 1
    for layer in range(n_layers):
        first[layer + 1] += first[layer]
    for tensor in range(n_tensors - 1, -1, -1):
        first[producers[tensor] + 1] -= 1
        scratch.tensors[first[producers[tensor] + 1]] = tensor
    # first[layer + 1] is now where the tensors of `layer` start; they end where those of the next layer start.
    n_vertices = n_layers
    n_groups = 0
    n_links = 0
    n_pairs = 0
    n_tracked = 0
    for layer in range(n_layers):
        vertices.owners[layer] = layer
        vertices.first_shared[layer] = n_tracked
        begin = first[layer + 1]
        end = first[layer + 2] if layer + 2 <= n_layers else n_tensors
        n_distinct = 0
        for k in range(begin, end):
            tensor = scratch.tensors[k]
            count = offsets[tensor + 1] - offsets[tensor]
            if count < 2:
                continue
            for c in range(offsets[tensor], offsets[tensor + 1]):
                scratch.marks[n_layers + consumers[c]] = tensor
            group = -1
            # Looking back at a few is enough: groups that stay apart cost time, not exactness.
            for d in range(max(0, n_distinct - 64), n_distinct):
                other = scratch.distinct[d]
                if offsets[other + 1] - offsets[other] == count:
                    equal = True
                    for c in range(offsets[other], offsets[other + 1]):
                        if scratch.marks[n_layers + consumers[c]] != tensor:
                            equal = False
                            break
                    if equal:
                        group = groups.of_tensor[other]
                        break
            if group < 0:
                group = n_groups
                n_groups += 1
                scratch.distinct[n_distinct] = tensor
                n_distinct += 1
            groups.of_tensor[tensor] = group
            groups.counts[group] += 1
        for place in range(n_distinct):
            if place < limit < n_distinct:
                # The tensors with most consumers are tracked in the state.
                most = place
                for d in range(place + 1, n_distinct):
                    at_most = scratch.distinct[most]
                    here = scratch.distinct[d]
                    if offsets[here + 1] - offsets[here] > offsets[at_most + 1] - offsets[at_most]:
                        most = d
                chosen = scratch.distinct[most]
                scratch.distinct[most] = scratch.distinct[place]
                scratch.distinct[place] = chosen
            tensor = scratch.distinct[place]
            group = groups.of_tensor[tensor]
            vertex = layer
            kind = place
            if place >= limit:
                vertex = n_vertices
                kind = 0
                vertices.owners[vertex] = layer
                vertices.first_shared[vertex] = n_tracked
                links.kinds[n_links] = -2
                links.tails[n_links] = layer
                links.heads[n_links] = vertex
                links.pairs[n_links] = n_pairs
                links.groups[n_links] = -1
                n_links += 1
                links.pair_ends[2 * n_pairs] = layer
                links.pair_ends[2 * n_pairs + 1] = vertex
                n_pairs += 1
                n_vertices += 1
            vertices.n_shared[vertex] += 1
            vertices.shared_groups[n_tracked] = group
            n_tracked += 1
            for c in range(offsets[tensor], offsets[tensor + 1]):
                consumer = consumers[c]
                pair = n_pairs
                if vertex == layer and scratch.marks[consumer] == layer:
                    pair = scratch.values[consumer]
                else:
                    links.pair_ends[2 * n_pairs] = vertex
                    links.pair_ends[2 * n_pairs + 1] = consumer
                    n_pairs += 1
                    if vertex == layer:
                        scratch.marks[consumer] = layer
                        scratch.values[consumer] = pair
                        scratch.values[n_layers + consumer] = 0
                links.kinds[n_links] = kind
                links.tails[n_links] = vertex
                links.heads[n_links] = consumer
                links.pairs[n_links] = pair
                links.groups[n_links] = group
                n_links += 1
        for k in range(begin, end):
            tensor = scratch.tensors[k]
            if offsets[tensor + 1] - offsets[tensor] != 1:
                continue
            consumer = consumers[offsets[tensor]]
            if scratch.marks[consumer] != layer:
                scratch.marks[consumer] = layer
                scratch.values[consumer] = n_pairs
                scratch.values[n_layers + consumer] = 0
                links.pair_ends[2 * n_pairs] = layer
                links.pair_ends[2 * n_pairs + 1] = consumer
                n_pairs += 1
            group = scratch.values[n_layers + consumer] - 1
            if group < 0:
                group = n_groups
                n_groups += 1
                scratch.values[n_layers + consumer] = group + 1
                links.kinds[n_links] = -1
                links.tails[n_links] = layer
                links.heads[n_links] = consumer
                links.pairs[n_links] = scratch.values[consumer]
                links.groups[n_links] = group
                n_links += 1
            groups.of_tensor[tensor] = group
            groups.counts[group] += 1
    used[0] = n_vertices
    used[1] = n_groups
    used[2] = n_links
    used[3] = n_pairs
    return 0
