"""Slow twins of the solvers, from the definitions alone: an evaluator that sends messages and a full enumeration.

Nothing here calls the package: costs are read from the problem's arrays and followed with dictionaries and loops.
"""

from itertools import product

INF = float("inf")


def value(problem, placement):
    """Simulate one inference and add up what it costs; inf if a layer is forbidden or the server asked too often.

    The machines take turns, the device first. On its turn a machine runs every layer of its own whose tensors have
    all arrived; then it hands over what it has made, with one message, if anything is left to run on the other.
    """
    n_layers = len(problem.compute)
    machine = [int(k) for k in placement]
    total = 0.0
    for layer in range(n_layers):
        total += float(problem.compute[layer][machine[layer]])
    if total == INF:
        return INF

    reads = {layer: [] for layer in range(n_layers)}
    tensors = []
    for t in range(len(problem.tensor_producer)):
        consumers = [
            int(c) for c in problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]
        ]
        tensors.append((int(problem.tensor_producer[t]), float(problem.tensor_size_bytes[t]), consumers))
        for consumer in consumers:
            reads[consumer].append(t)
    for producer, size, consumers in tensors:
        here = machine[producer]
        for there in {machine[consumer] for consumer in consumers} - {here}:
            total += float(problem.per_tensor[here][there]) + size * float(problem.per_byte[here][there])

    held = {0: set(), 1: set()}
    done = set()
    turn, visits = 0, 0
    while True:
        progress = True
        while progress:
            progress = False
            for layer in range(n_layers):
                if layer not in done and machine[layer] == turn and all(t in held[turn] for t in reads[layer]):
                    done.add(layer)
                    progress = True
                    held[turn] |= {t for t, row in enumerate(tensors) if row[0] == layer}
        if len(done) == n_layers:
            break
        total += float(problem.delay[turn][1 - turn])
        turn = 1 - turn
        visits += turn
        held[turn] |= held[1 - turn]
    if problem.max_server_visits is not None and visits > problem.max_server_visits:
        return INF
    return total


def optimum(problem):
    """Return the least value over all placements, inf if none is feasible."""
    return min(value(problem, placement) for placement in placements(problem))


def placements(problem):
    """Yield every placement that respects the forbidden machines."""
    choices = [[k for k in (0, 1) if row[k] != INF] for row in problem.compute]
    yield from product(*choices)


def is_chain(problem):
    """Tell whether the layers form one path, by walking it."""
    n_layers = len(problem.compute)
    follows, followed = {}, {}
    for t in range(len(problem.tensor_producer)):
        for c in problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]:
            follows.setdefault(int(problem.tensor_producer[t]), set()).add(int(c))
            followed.setdefault(int(c), set()).add(int(problem.tensor_producer[t]))
    heads = [layer for layer in range(n_layers) if layer not in followed]
    if len(heads) != 1:
        return n_layers == 0
    layer, seen = heads[0], 1
    while layer in follows:
        if len(follows[layer]) != 1:
            return False
        (layer,) = follows[layer]
        if len(followed[layer]) != 1:
            return False
        seen += 1
    return seen == n_layers


def folds(problem):
    """Tell whether the plain graph of layers vanishes by deleting vertices of degree <= 2 and joining neighbours.

    Only where no layer has more than three tensors with several consumers: beyond that the graph to fold differs.
    """
    around = {layer: set() for layer in range(len(problem.compute))}
    for t in range(len(problem.tensor_producer)):
        p = int(problem.tensor_producer[t])
        for c in problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]:
            around[p].add(int(c))
            around[int(c)].add(p)
    while around:
        small = [v for v in around if len(around[v]) <= 2]
        if not small:
            return False
        gone = small[0]
        others = around.pop(gone)
        for a in others:
            around[a].discard(gone)
            around[a] |= others - {a}
    return True
