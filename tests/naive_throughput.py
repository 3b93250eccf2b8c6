"""Slow twin of the throughput solvers: every placement, its loads and its contiguity from the definitions alone.

Nothing here calls the package: costs are read from the problem's arrays and followed with dictionaries and loops.
"""

from itertools import permutations, product

INF = float("inf")


def tensors(problem):
    """Return (producer, consumers) of each tensor."""
    offsets = problem.consumer_offsets
    return [
        (int(producer), [int(layer) for layer in problem.consumer_layers[offsets[t] : offsets[t + 1]]])
        for t, producer in enumerate(problem.tensor_producer)
    ]


def kinds_of_machines(problem):
    return [kind for kind, count in enumerate(problem.machine_counts) for _ in range(int(count))]


def loads(problem, placement):
    """Return the load of each machine, or None if a layer or the memory is not allowed."""
    kinds = kinds_of_machines(problem)
    load = [0.0] * len(kinds)
    held = [0.0] * len(kinds)
    for layer, machine in enumerate(placement):
        load[machine] += float(problem.compute[layer][kinds[machine]])
        held[machine] += float(problem.memory_bytes[layer])
    for tensor, (producer, consumers) in enumerate(tensors(problem)):
        here = placement[producer]
        elsewhere = {placement[consumer] for consumer in consumers} - {here}
        if elsewhere:
            load[here] += float(problem.send[tensor][kinds[here]])
        for there in elsewhere:
            load[there] += float(problem.receive[tensor][kinds[there]])
    fits = all(held[m] <= float(problem.memory_limit_bytes[kind]) for m, kind in enumerate(kinds))
    return load if fits and INF not in load else None


def contiguous(problem, placement):
    """Tell whether some order of the machines makes every part the difference of two down-sets, trying all orders."""
    asked = [layer for layer, flag in enumerate(problem.contiguous) if flag]
    edges = [(a, b) for a, consumers in tensors(problem) for b in consumers if a in asked and b in asked]
    used = sorted({placement[layer] for layer in asked})
    for order in permutations(used):
        below, holds = set(), True
        for machine in order:
            below |= {layer for layer in asked if placement[layer] == machine}
            # A down-set holds, with each layer, every layer that it reads.
            holds = holds and all(a in below for a, b in edges if b in below)
        if holds:
            return True
    return not used


def value(problem, placement):
    """Return the largest load, inf if the placement breaks a rule."""
    for group in problem.colocated:
        if len({placement[layer] for layer in group}) > 1:
            return INF
    found = loads(problem, placement)
    if found is None or not contiguous(problem, placement):
        return INF
    return max(found, default=0.0)


def optimum(problem):
    """Return the least largest load over all placements, inf if none is allowed."""
    n_machines = len(kinds_of_machines(problem))
    best = INF
    for placement in product(range(n_machines), repeat=len(problem.compute)):
        found = loads(problem, placement)
        if found is not None and max(found, default=0.0) < best:
            best = min(best, value(problem, placement))
    return best


def down_set_count(n_elements, edges):
    """Count the subsets that hold, with each element, every one before it."""
    return sum(
        all(chosen[a] or not chosen[b] for a, b in edges) for chosen in product((False, True), repeat=n_elements)
    )


def comparable_pair_count(n_elements, edges):
    """Count the pairs of different down-sets of which one holds the other."""
    sets = [
        {element for element, flag in enumerate(chosen) if flag}
        for chosen in product((False, True), repeat=n_elements)
        if all(chosen[a] or not chosen[b] for a, b in edges)
    ]
    return sum(small < large for small in sets for large in sets)
