"""Down-sets (ideals) of a partial order: all sets that hold, with each element, everything before it.

Elements are numbered along the order (each edge from a lower to a higher number). A down-set J is reached from
J without its highest element, so the down-sets form a tree rooted in the empty one, and each is made once. The other
ways of adding one element follow without any look-up by content: with m the highest element of J, P = J - {m} and an
element h < m that may be added to J, h may be added to P as well, and J + h is (P + h) + m, a child in the tree.

Dilworth's theorem bounds their number by the product of (length + 1) over the chains of a chain cover; it is
exponential in the width of the order and cannot be told without counting, so there is a limit.
"""

from typing import Any, NamedTuple

import numpy as np

from solvers._arrays import IntArray, read_only
from solvers._jit import choose
from solvers.errors import MethodError
from solvers.layer_graph import LayerGraph

PLAIN_DOWN_SETS = 200
"""Down-sets up to which the interpreter is used while numba is not loaded."""

_BITS = 62


class DownSets(NamedTuple):
    """The down-sets, smaller before larger, and how one element leads from one to another.

    The first is empty and the last is everything. ``elements[k]`` for k in ``offsets[j] .. offsets[j + 1]`` are those
    that may be added to the down-set j, highest first, and ``targets[k]`` is what results.
    """

    offsets: IntArray  # (n_down_sets + 1,)
    elements: IntArray  # (n_covers,)
    targets: IntArray  # (n_covers,)
    parent: IntArray  # (n_down_sets,) without its highest element; -1 for the empty one
    highest: IntArray  # (n_down_sets,) element; -1 for the empty one

    @property
    def n_sets(self) -> int:
        """Number of down-sets."""
        return len(self.parent)

    def members(self, index: int) -> list[int]:
        """Return the elements of a down-set, highest first."""
        found = []
        while self.parent[index] >= 0:
            found.append(int(self.highest[index]))
            index = int(self.parent[index])
        return found


def plain_size(n_down_sets: int) -> int:
    """Return the size to choose a backend for: the interpreter up to `PLAIN_DOWN_SETS`."""
    return n_down_sets * 2_000 // PLAIN_DOWN_SETS


def down_sets(n_elements: int, tails: IntArray, heads: IntArray, *, limit: int) -> DownSets:
    """Enumerate the down-sets of the order that the edges ``tails[k] -> heads[k]`` generate.

    Parameters
    ----------
    n_elements : int
    tails, heads : (n_edges,) int64 arrays, ``tails < heads``, each pair once.
    limit : int
        Most down-sets to make.

    Raises
    ------
    MethodError
        There are more than `limit`.

    Notes
    -----
    O(down-sets * width * (width + degree)) time, O(down-sets * (width + n_elements / 62)) memory.

    Examples
    --------
    Two chains of two elements side by side have 3 * 3 down-sets.

    >>> sets = down_sets(4, np.array([0, 2]), np.array([1, 3]), limit=100)
    >>> sets.n_sets, sets.members(8)
    (9, [3, 2, 1, 0])
    """
    graph = LayerGraph.of(n_elements, tails, heads)
    before = LayerGraph.of(n_elements, heads[::-1], tails[::-1])
    n_words = n_elements // _BITS + 1
    capacity = min(PLAIN_DOWN_SETS, limit)
    covers = 8 * capacity + n_elements
    while True:
        backend = choose(plain_size(capacity))
        words = backend.full(capacity * n_words, 0)
        parent, highest = backend.full(capacity, -1), backend.full(capacity, -1)
        offsets = backend.full(capacity + 1, 0)
        elements, targets = backend.full(covers, -1), backend.full(covers, -1)
        edges = (graph.successor_offsets, graph.successors, before.successor_offsets, before.successors)
        arrays = (words, parent, highest, offsets, elements, targets)
        count = backend.run(_enumerate, *(backend.view(one) for one in edges), n_words, *arrays)
        if count >= 0:
            break
        if count == _NO_ROOM_FOR_SETS:
            if capacity == limit:
                raise MethodError(f"there are more than {limit} down-sets")
            capacity = min(4 * capacity, limit)
        covers = max(4 * covers if count == _NO_ROOM_FOR_COVERS else covers, 8 * capacity + n_elements)
    n_covers = offsets[count]
    kept = (offsets[: count + 1], elements[:n_covers], targets[:n_covers], parent[:count], highest[:count])
    return DownSets(*(read_only(np.array(one, dtype=np.int64)) for one in kept))


def chain_of(n_elements: int) -> DownSets:
    """Return the down-sets of the total order 0 < 1 < ..: the prefixes.

    >>> chain_of(3).targets.tolist()
    [1, 2, 3]
    """
    counting = np.arange(n_elements + 1)
    offsets = np.minimum(np.arange(n_elements + 2), n_elements)
    return DownSets(offsets, counting[:-1], counting[1:], counting - 1, counting - 1)


_NO_ROOM_FOR_SETS = -1
_NO_ROOM_FOR_COVERS = -2


def _enumerate(
    successor_offsets: Any,
    successors: Any,
    predecessor_offsets: Any,
    predecessors: Any,
    n_words: int,
    words: Any,
    parent: Any,
    highest: Any,
    offsets: Any,
    elements: Any,
    targets: Any,
) -> int:
    """Fill the arrays level by level (sets of equal size); return the number of sets, or which array is too short.

    `words` (capacity * n_words) holds the members as bits, `highest` and `parent` (capacity) start as -1.
    """
    bits = 62
    capacity = len(parent)
    room = len(elements)
    count = 1
    first = 0
    while first < count:
        last = count
        for index in range(first, last):
            # What may be added: what could be before, and what the newest element was missing for; highest first.
            start = offsets[index]
            end = start
            newest = highest[index]
            here = index * n_words
            if newest < 0:
                candidates = len(predecessor_offsets) - 1
            else:
                above = parent[index]
                for k in range(offsets[above], offsets[above + 1]):
                    if elements[k] != newest:
                        if end == room:
                            return -2
                        elements[end] = elements[k]
                        end += 1
                candidates = successor_offsets[newest + 1] - successor_offsets[newest]
            for candidate in range(candidates):
                element = candidate if newest < 0 else successors[successor_offsets[newest] + candidate]
                ready = True
                for k in range(predecessor_offsets[element], predecessor_offsets[element + 1]):
                    needed = predecessors[k]
                    if (words[here + needed // bits] >> (needed % bits)) & 1 == 0:
                        ready = False
                        break
                if ready:
                    if end == room:
                        return -2
                    place = end
                    while place > start and elements[place - 1] < element:
                        elements[place] = elements[place - 1]
                        place -= 1
                    elements[place] = element
                    end += 1
            offsets[index + 1] = end
            for k in range(start, end):
                element = elements[k]
                if element < newest:
                    break
                if count == capacity:
                    return -1
                for word in range(n_words):
                    words[count * n_words + word] = words[here + word]
                words[count * n_words + element // bits] |= 1 << (element % bits)
                parent[count] = index
                highest[count] = element
                targets[k] = count
                count += 1
        for index in range(first, last):
            newest = highest[index]
            for k in range(offsets[index], offsets[index + 1]):
                element = elements[k]
                if element < newest:
                    above = parent[index]
                    j = offsets[above]
                    while elements[j] != element:
                        j += 1
                    beside = targets[j]
                    j = offsets[beside]
                    while elements[j] != newest:
                        j += 1
                    targets[k] = targets[j]
        first = last
    return count
