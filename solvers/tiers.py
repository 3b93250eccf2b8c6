"""Ordered tiers (device, gateways, cloud) whose tensors are relayed from neighbour to neighbour: one minimum cut.

Relay model: a tensor pays link k upwards, from tier k to k + 1, once if its producer is on a tier <= k and some
consumer on one > k, and downwards likewise. For tensors with one consumer this is the pair model of
`solvers.evaluate`; a tensor consumed on several tiers shares the links on its way, which the pair model does not.

Delays are paid per message: one each time a link carries anything after it waited for something.
"""

from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._jit import Backend, choose
from solvers.blocks import blocks_of
from solvers.errors import InfeasibleError, MethodError, ProblemError
from solvers.evaluation import checked_placement
from solvers.flow_network import FREE, FlowNetwork
from solvers.max_flow import minimum_cut
from solvers.problem import Problem
from solvers.solution import Solution

SUM_TOLERANCE = 1e-9
"""How far a link cost may differ from the sum of those between neighbours, relative to the larger of the two."""

SUM_ERROR = 1e-13
"""How far two sums of the same costs may differ by rounding, relative to the sum."""


def relay_links(upwards: Any, downwards: Any) -> FloatArray:
    """Return the link matrix of tiers from the costs between neighbours.

    Parameters
    ----------
    upwards, downwards : (n_tiers - 1,) float64, >= 0, finite
        Entry k is the cost from tier k to k + 1, or back.

    Returns
    -------
    (n_tiers, n_tiers) float64, for `per_byte`, `per_tensor` or `delay` of a Problem.

    Raises
    ------
    ProblemError
        They are no lists of equal length of such numbers.

    Examples
    --------
    >>> relay_links([1, 4], [2, 3]).tolist()
    [[0.0, 1.0, 5.0], [2.0, 0.0, 4.0], [5.0, 3.0, 0.0]]
    """
    up, down = _link_costs("upwards", upwards), _link_costs("downwards", downwards)
    if up.ndim != 1 or up.shape != down.shape:
        raise ProblemError(
            f"upwards has shape {up.shape} and downwards {down.shape}; give one cost per pair of neighbours"
        )
    above = np.concatenate([[0.0], np.cumsum(up)])
    below = np.concatenate([[0.0], np.cumsum(down)])
    matrix: FloatArray = np.triu(above - above[:, None]) + np.tril(below[:, None] - below)
    return matrix


def _link_costs(name: str, values: Any) -> FloatArray:
    try:
        costs = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{name} is not an array of numbers: {error}") from None
    bad = ~np.isfinite(costs) | (costs < 0.0)
    if bool(bad.any()):
        raise ProblemError(f"{name} holds {costs[bad].flat[0]}; give finite numbers >= 0")
    with np.errstate(over="ignore"):
        if not np.isfinite(costs.sum()):
            raise ProblemError(f"{name} adds up to more than float64 holds; use a larger unit")
    return costs


def relay_value(problem: Problem, placement: Any) -> float:
    """Return what `placement`, (n_layers,) tiers, costs in the relay model; inf if it is not allowed.

    Messages are those of a sweep that goes up and down in turn, and on each pass runs whatever is ready: as few as
    can be if no path of layers goes up again after it went down, else a schedule that works but need not be best.

    Raises
    ------
    MethodError
        As in `solve_tiers`, whatever `relay` says.
    ProblemError
        The placement has the wrong shape or names tiers that do not exist.

    Notes
    -----
    O(n_layers + n_consumers + n_tensors * n_machines).
    """
    _check_tiers(problem)
    tiers = checked_placement(problem, placement)
    if any(len({int(tiers[layer]) for layer in group}) > 1 for group in problem.colocated):
        return float("inf")
    total = float(problem.compute[np.arange(problem.n_layers), tiers].sum())
    used = np.flatnonzero(problem.consumer_counts() > 0)
    producer = tiers[problem.tensor_producer[used]]
    consumers, starts = tiers[problem.consumer_layers], problem.consumer_offsets[used]
    none = np.empty(0, dtype=np.int64)
    highest = np.maximum.reduceat(consumers, starts) if len(used) else none
    lowest = np.minimum.reduceat(consumers, starts) if len(used) else none
    phases = _phases(problem, tiers)
    phase = phases[problem.tensor_producer[used]]
    sources = tiers[problem.graph.n_producers == 0]
    for k in range(problem.n_machines - 1):
        up, down = (producer <= k) & (highest > k), (producer > k) & (lowest <= k)
        total += float(problem.transfer_costs(k, k + 1)[used[up]].sum())
        total += float(problem.transfer_costs(k + 1, k)[used[down]].sum())
        asked = np.zeros(int(bool(np.any(sources > k))), dtype=np.int64)  # what has no producers is started at once
        upward_passes = np.concatenate([asked, phase[up] + phase[up] % 2])
        downward_passes = phase[down] + 1 - phase[down] % 2
        total += len(np.unique(upward_passes)) * float(problem.delay[k, k + 1])
        total += len(np.unique(downward_passes)) * float(problem.delay[k + 1, k])
    return total


def solve_tiers(problem: Problem, *, relay: bool = False) -> Solution:
    """Return the cheapest placement on ordered tiers, machine 0 the lowest.

    Parameters
    ----------
    problem : Problem
        With three machines or more, and link matrices (`per_tensor`, `per_byte`, `delay`) in which each entry is the
        sum of those between the neighbours on its way, within `SUM_TOLERANCE`: see `relay_links`.
    relay : bool
        Accept tensors with several consumers, priced by the relay model. Otherwise each tensor must have one at most,
        so that the relay model and the pair model agree.

    Returns
    -------
    Solution
        Its value is `relay_value`, which is also `evaluate` if there are no delays and each tensor has one consumer.
        Proven without delays. With them it is proven if no path of layers goes up again after it went down; else the
        value is that of a schedule that works, and the bound counts each used link once per direction.

    Raises
    ------
    MethodError
        Fewer than three machines; a link matrix is no sum over neighbours (the message names the pair); a tensor has
        several consumers and `relay` is False; there are delays and a last layer may stay above tier 0.

    Notes
    -----
    One cut, with delays one per tier, with up to (n_machines - 1) * (n_layers + 2 * n_tensors) nodes. Compute may
    have any sign. Ties go to the lower tiers.

    Ishikawa, "Exact optimization for Markov random fields with convex priors", IEEE TPAMI 2003, stacks binary cuts.

    Examples
    --------
    >>> inf = float("inf")
    >>> links = relay_links([1, 2], [1, 2])
    >>> problem = Problem.build(
    ...     [[0, inf, inf], [9, 5, 1], [9, 5, 4], [0, inf, inf]],
    ...     [(0, 1.0, [1]), (1, 1.0, [2]), (2, 0.5, [3])],
    ...     per_byte=links,
    ...     max_server_visits=None,
    ... )
    >>> solution = solve_tiers(problem)
    >>> solution, solution.placement.tolist()
    (Solution(9.5, optimal, 2 of 4 layers off the device, tiers), [0, 2, 2, 0])
    """
    _check_tiers(problem)
    counts = problem.consumer_counts()
    if not relay and bool(np.any(counts > 1)):
        tensor = int(np.argmax(counts > 1))
        raise MethodError(
            f"tiers relays {problem.tensor(tensor)} once to all of its {counts[tensor]} consumers, where the pair "
            "model sends it to each of their machines; pass relay=True if the links do relay"
        )
    delays = bool(np.any(problem.delay))
    if delays:
        _check_ends(problem)
    best: IntArray | None = None
    best_value, bound = float("inf"), float("inf")
    for deepest in range(problem.n_machines) if delays else [problem.n_machines - 1]:
        tiers = _cut(problem, deepest)
        if tiers is None:
            continue
        value = relay_value(problem, tiers)
        charged = value
        if delays:
            charged = relay_value(problem.with_costs(delay=np.zeros_like(problem.delay)), tiers)
            charged += sum(float(problem.delay[k, k + 1] + problem.delay[k + 1, k]) for k in range(deepest))
        bound = min(bound, charged)
        if value < best_value:
            best, best_value = tiers, value
    if best is None:
        raise InfeasibleError("no placement obeys the allowed tiers and the colocated layers; lift a restriction")
    if not delays and not bool(np.any(counts > 1)):
        return Solution.of(problem, best, "tiers")
    close = best_value - bound <= SUM_ERROR * abs(best_value)
    return Solution(read_only(best), best_value, best_value if close else min(bound, best_value), "tiers")


def _check_tiers(problem: Problem) -> None:
    if problem.n_machines < 3:
        raise MethodError(f"tiers takes 3 machines or more, the problem has {problem.n_machines}")
    for name in ("per_tensor", "per_byte", "delay"):
        matrix = getattr(problem, name)
        near = relay_links(np.diagonal(matrix, 1), np.diagonal(matrix, -1))
        bad = np.abs(matrix - near) > SUM_TOLERANCE * np.maximum(matrix, near)
        if bool(np.any(bad)):
            i, j = (int(k) for k in np.argwhere(bad)[0])
            raise MethodError(
                f"tiers needs {name} from machine {i} to machine {j} to be the sum of those between neighbours on the "
                f"way, {near[i, j]:.6g}; it is {matrix[i, j]:.6g}"
            )
    if problem.crossing_work.size:
        tensor = int(np.argmax(problem.crossing_work.reshape(problem.n_tensors, -1).any(axis=1)))
        raise ProblemError(
            f"tiers relays tensors through the machines in between and has no rule for what these pay, yet "
            f"{problem.tensor(tensor)} costs something to encode or decode; leave encode and decode out"
        )


def _check_ends(problem: Problem) -> None:
    """Refuse last layers that may stay above tier 0, since a link below them need not carry anything down."""
    graph = problem.graph
    last = graph.successor_offsets[1:] == graph.successor_offsets[:-1]
    above = last & np.isfinite(problem.compute[:, 1:]).any(axis=1)
    if bool(np.any(above)):
        name = problem.layer(int(np.argmax(above)))
        raise MethodError(
            f"tiers counts each used link once per direction if there are delays, yet {name} "
            "ends above machine 0; keep every last layer on machine 0 or leave the delays out"
        )


def _phases(problem: Problem, tiers: IntArray) -> IntArray:
    """Return in which pass each layer runs, (n_layers,) int64: even passes go up, odd ones down."""
    graph, backend = problem.graph, choose(problem.n_layers)
    out = backend.full(problem.n_layers, 0)
    arguments = (graph.order, graph.successor_offsets, graph.successors, tiers)
    backend.run(_pass, *(backend.load(argument) for argument in arguments), out)
    return np.array(out, dtype=np.int64)


def _pass(order: Any, offsets: Any, successors: Any, tiers: Any, out: Any) -> int:
    """Raise `out`, which starts at 0, to the passes."""
    for position in range(len(order)):
        layer = order[position]
        for k in range(offsets[layer], offsets[layer + 1]):
            successor = successors[k]
            number = out[layer]
            if tiers[successor] > tiers[layer]:
                number += number % 2
            elif tiers[successor] < tiers[layer]:
                number += 1 - number % 2
            if number > out[successor]:
                out[successor] = number
    return 0


def _cut(problem: Problem, deepest: int) -> IntArray | None:
    """Return the cheapest placement without delays on tiers up to `deepest`, or None if a block fits nowhere there.

    Node (b, k) is on the sink's side if block b sits above tier k. An arc that is never cut from (b, k) to
    (b, k + 1) keeps the order. What a block costs on tier k + 1 more than on k is an arc of node (b, k) to a
    terminal, so that compute may have any sign; a forbidden tier l is an arc from (b, l) to (b, l - 1), or pins.
    """
    block = blocks_of(problem.n_layers, problem.colocated)
    n_blocks = int(block.max(initial=-1)) + 1
    costs = np.zeros((n_blocks, deepest + 1))
    np.add.at(costs, block, problem.compute[:, : deepest + 1])
    allowed = np.isfinite(costs)
    if not bool(allowed.any(axis=1).all()):
        return None
    if deepest == 0:
        return np.zeros(problem.n_layers, dtype=np.int64)
    steps = np.diff(_filled(costs), axis=1)  # (n_blocks, deepest)
    upwards = np.stack([problem.transfer_costs(k, k + 1) for k in range(deepest)])
    downwards = np.stack([problem.transfer_costs(k + 1, k) for k in range(deepest)])
    never = 2.0 * float(np.abs(steps).sum() + upwards.sum() + downwards.sum()) + 1.0

    tails, heads, forwards, backwards, n_nodes = _arcs(problem, block, upwards, downwards)
    nodes = np.arange(n_blocks * deepest).reshape(n_blocks, deepest)
    tails.append(nodes[:, :-1].ravel())
    heads.append(nodes[:, 1:].ravel())
    forwards.append(np.full(tails[-1].shape, never))
    backwards.append(np.where(allowed[:, 1:-1], 0.0, never).ravel())
    pins = np.full(n_nodes, FREE, dtype=np.int64)
    pins[nodes[~allowed[:, 0], 0]] = 1
    pins[nodes[~allowed[:, -1], -1]] = 0
    excess = np.concatenate([steps.ravel(), np.zeros(n_nodes - n_blocks * deepest)])

    backend = choose(problem.n_layers)
    network = _network(
        np.concatenate(tails),
        np.concatenate(heads),
        np.concatenate(forwards),
        np.concatenate(backwards),
        excess,
        backend,
    )
    sides = minimum_cut(network, pins, backend, keep=False)
    return np.asarray(sides[: n_blocks * deepest].reshape(n_blocks, deepest).sum(axis=1)[block], dtype=np.int64)


def _network(
    tails: IntArray, heads: IntArray, forwards: FloatArray, backwards: FloatArray, excess: FloatArray, backend: Backend
) -> FlowNetwork:
    """Sort pairs of nodes, with a capacity in each direction, into arcs by tail. O(n_pairs log n_pairs)."""
    n_nodes, n_pairs = len(excess), len(tails)
    order = np.argsort(np.concatenate([tails, heads]), kind="stable")
    position = np.empty(2 * n_pairs, dtype=np.int64)
    position[order] = np.arange(2 * n_pairs)
    opposite = np.concatenate([position[n_pairs:], position[:n_pairs]])[order]
    first = np.zeros(n_nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(tails, minlength=n_nodes) + np.bincount(heads, minlength=n_nodes), out=first[1:])
    return FlowNetwork(
        n_nodes=n_nodes,
        first=backend.load(first, np.int32),
        head=backend.load(np.concatenate([heads, tails])[order], np.int32),
        opposite=backend.load(opposite, np.int32),
        capacity=backend.load(np.concatenate([forwards, backwards])[order], np.float64),
        excess=backend.load(excess, np.float64),
        node_of=backend.load(np.arange(n_nodes), np.int32),
    )


def _filled(costs: FloatArray) -> FloatArray:
    """Replace each inf by the cost of the nearest allowed tier below, or else the lowest allowed one."""
    filled = costs.copy()
    for tier in range(1, costs.shape[1]):
        filled[:, tier] = np.where(np.isinf(filled[:, tier]), filled[:, tier - 1], filled[:, tier])
    for tier in range(costs.shape[1] - 2, -1, -1):
        filled[:, tier] = np.where(np.isinf(filled[:, tier]), filled[:, tier + 1], filled[:, tier])
    return filled


def _arcs(
    problem: Problem, block: IntArray, upwards: FloatArray, downwards: FloatArray
) -> tuple[list[IntArray], list[IntArray], list[FloatArray], list[FloatArray], int]:
    """Return tails, heads and capacities of the tensors' arcs, in each direction, and the number of nodes.

    `upwards` and `downwards`, (n_links, n_tensors). A tensor read by one block besides its producer's is a pair of
    opposite arcs per link; one read by several has two nodes of its own per link.
    """
    n_links = len(upwards)
    owner = np.repeat(np.arange(problem.n_tensors), problem.consumer_counts())
    pairs = np.stack([owner, block[problem.consumer_layers]], axis=1)
    pairs = np.unique(pairs[block[problem.tensor_producer[owner]] != pairs[:, 1]], axis=0)
    counts = np.bincount(pairs[:, 0], minlength=problem.n_tensors)
    producer = block[problem.tensor_producer]
    alone = counts[pairs[:, 0]] == 1
    tensor, reader = pairs[~alone, 0], pairs[~alone, 1]
    shared = np.flatnonzero(counts > 1)
    gather = np.full(problem.n_tensors, -1, dtype=np.int64)
    gather[shared] = np.arange(len(shared))
    first = (int(block.max(initial=-1)) + 1) * n_links
    n_shared = len(shared)

    tails: list[IntArray] = []
    heads: list[IntArray] = []
    forwards: list[FloatArray] = []
    backwards: list[FloatArray] = []
    for k in range(n_links):
        out, back = first + 2 * k * n_shared, first + (2 * k + 1) * n_shared
        tails += [
            producer[pairs[alone, 0]] * n_links + k,
            producer[shared] * n_links + k,
            out + gather[tensor],
            back + gather[shared],
            reader * n_links + k,
        ]
        heads += [
            pairs[alone, 1] * n_links + k,
            out + gather[shared],
            reader * n_links + k,
            producer[shared] * n_links + k,
            back + gather[tensor],
        ]
        up, down = upwards[k], downwards[k]
        forwards += [up[pairs[alone, 0]], up[shared], up[tensor], down[shared], down[tensor]]
        backwards += [down[pairs[alone, 0]], *(np.zeros(n) for n in (n_shared, len(tensor), n_shared, len(tensor)))]
    return tails, heads, forwards, backwards, first + 2 * n_links * n_shared
