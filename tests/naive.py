"""Slow twins of the solvers, from the definitions alone: an evaluator that sends messages and a full enumeration.

Nothing here calls the package: costs are read from the problem's arrays and followed with dictionaries and loops.
"""

from itertools import product

INF = float("inf")


def value(problem, placement):
    """Simulate one inference and add up what it costs; inf if a layer is forbidden or the server asked too often.

    The machines take turns, the device first. On its turn a machine runs every layer of its own whose tensors have
    all arrived; then it hands over what it has made, with one message, if anything is left to run on the other.

    With more than two machines, or one, there are no turns, and every machine runs what it can; once nothing can run,
    each machine sends each other one, in one message, all that it has made and that the other still lacks.
    """
    n_layers = len(problem.compute)
    machine = [int(k) for k in placement]
    total = 0.0
    for layer in range(n_layers):
        total += float(problem.compute[layer][machine[layer]])
    if total == INF or any(len({machine[layer] for layer in group}) > 1 for group in problem.colocated):
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
    for t, (producer, size, consumers) in enumerate(tensors):
        here = machine[producer]
        for there in {machine[consumer] for consumer in consumers} - {here}:
            total += float(problem.per_tensor[here][there]) + size * float(problem.per_byte[here][there])
            total += float(problem.encode[t][here]) + float(problem.decode[t][there])

    if len(problem.compute[0]) != 2:
        return total + _gathered_delays(problem, machine, tensors, reads)

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


def _gathered_delays(problem, machine, tensors, reads):
    has = {t: {machine[producer]} for t, (producer, _, _) in enumerate(tensors)}
    wanted = {(t, machine[c]) for t, (_, _, consumers) in enumerate(tensors) for c in consumers}
    done, total = set(), 0.0
    while len(done) < len(machine):
        progress = True
        while progress:
            ready = [
                layer
                for layer in range(len(machine))
                if layer not in done and all(tensors[t][0] in done and machine[layer] in has[t] for t in reads[layer])
            ]
            done |= set(ready)
            progress = bool(ready)
        sent = {(t, there) for t, there in wanted if tensors[t][0] in done and there not in has[t]}
        for here, there in {(machine[tensors[t][0]], there) for t, there in sent}:
            total += float(problem.delay[here][there])
        for t, there in sent:
            has[t].add(there)
    return total


def charged_apart(problem, placement):
    """Return the value if every tensor sent to a machine pays a delay of its own."""
    total = sum(float(problem.compute[layer][k]) for layer, k in enumerate(placement))
    if any(len({placement[layer] for layer in group}) > 1 for group in problem.colocated):
        return INF
    for t in range(len(problem.tensor_producer)):
        here = placement[int(problem.tensor_producer[t])]
        size = float(problem.tensor_size_bytes[t])
        readers = problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]
        for there in {placement[int(c)] for c in readers} - {here}:
            total += float(problem.per_tensor[here][there]) + size * float(problem.per_byte[here][there])
            total += float(problem.encode[t][here]) + float(problem.decode[t][there])
            total += float(problem.delay[here][there])
    return total


def optimum(problem):
    """Return the least value over all placements, inf if none is feasible."""
    return min(value(problem, placement) for placement in placements(problem))


def placements(problem):
    """Yield every placement that respects the forbidden machines."""
    choices = [[k for k in range(len(row)) if row[k] != INF] for row in problem.compute]
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


def legal_cut(nodes, inputs, outputs, cut):
    """Tell whether tensors are a legal cut of a graph, straight from the definition.

    Every path from an input to an output meets the cut, no member is downstream of another, and each member lies on
    such a path. ``nodes`` are pairs of what a node reads, captures of its bodies included, and what it writes; a tensor
    inside a body is in none of them, so it is no member of any legal cut.
    """
    cut = set(cut)
    from_inputs, to_outputs = _downstream(nodes, inputs), _upstream(nodes, outputs)
    if not cut or not cut <= from_inputs & to_outputs:
        return False
    if _downstream(nodes, set(inputs) - cut, stop=cut) & set(outputs):
        return False
    return not any((_downstream(nodes, {member}) - {member}) & cut for member in cut)


def _downstream(nodes, start, stop=frozenset()):
    """Return the tensors that can be reached, those of ``start`` included, without passing one of ``stop``."""
    reached = set(start)
    while True:
        fresh = {name for reads, writes in nodes if reached & set(reads) for name in writes} - reached - set(stop)
        if not fresh:
            return reached
        reached |= fresh


def _upstream(nodes, goal):
    reached = set(goal)
    while True:
        fresh = {name for reads, writes in nodes if reached & set(writes) for name in reads} - reached
        if not fresh:
            return reached
        reached |= fresh


def nodes_of_onnx(graph):
    """Return the pairs of reads and writes of an ONNX graph's nodes for `legal_cut`, weights left out."""
    weights = {tensor.name for tensor in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    return [(_reads(node) - weights - {""}, set(node.output) - {""}) for node in graph.node]


def _reads(node):
    found = set(node.input)
    for attribute in node.attribute:
        for body in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
            own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
            own |= {one.values.name for one in body.sparse_initializer}
            own |= {name for inner in body.node for name in inner.output}
            used = {value.name for value in body.output}.union(*(_reads(inner) for inner in body.node))
            found |= used - own
    return found
