"""Slow twins of fronts, limits and pipeline totals: full enumeration from the definitions, for any number of machines.

Nothing here calls the package: costs are read from the problem's arrays and followed with dictionaries and loops.
"""

from itertools import product

INF = float("inf")


def placements(*problems):
    """Yield every placement that all problems allow and that keeps colocated layers together."""
    n_machines = len(problems[0].compute[0])
    choices = [
        [k for k in range(n_machines) if all(problem.compute[layer][k] != INF for problem in problems)]
        for layer in range(len(problems[0].compute))
    ]
    for placement in product(*choices):
        if all(len({placement[layer] for layer in group}) == 1 for group in problems[0].colocated if group):
            yield placement


def rows(problem):
    """Return the tensors as (producer, size, consumers)."""
    found = []
    for t in range(len(problem.tensor_producer)):
        begin, end = problem.consumer_offsets[t], problem.consumer_offsets[t + 1]
        consumers = [int(c) for c in problem.consumer_layers[begin:end]]
        found.append((int(problem.tensor_producer[t]), float(problem.tensor_size_bytes[t]), consumers))
    return found


def transfers(problem, placement):
    """Return {(i, j): cost on the link} of all tensors sent, each once to each machine that wants it."""
    sent = {}
    for producer, size, consumers in rows(problem):
        here = placement[producer]
        for there in {placement[consumer] for consumer in consumers} - {here}:
            price = float(problem.per_tensor[here][there]) + size * float(problem.per_byte[here][there])
            sent[here, there] = sent.get((here, there), 0.0) + price
    return sent


def coding(problem, placement):
    """Return {machine: cost} of what each machine encodes and decodes, once for each tensor and machine sent to."""
    paid = dict.fromkeys(range(len(problem.compute[0])), 0.0)
    for t, (producer, _, consumers) in enumerate(rows(problem)):
        here = placement[producer]
        for there in {placement[consumer] for consumer in consumers} - {here}:
            paid[here] += float(problem.encode[t][here])
            paid[there] += float(problem.decode[t][there])
    return paid


def messages(problem, placement):
    """Return how many messages two machines exchange when they take turns, the device first."""
    reads = {layer: [] for layer in range(len(placement))}
    tensors = rows(problem)
    for t, (_, _, consumers) in enumerate(tensors):
        for consumer in consumers:
            reads[consumer].append(t)
    held = {0: set(), 1: set()}
    done = set()
    turn, count = 0, 0
    while True:
        progress = True
        while progress:
            progress = False
            for layer in range(len(placement)):
                if layer not in done and placement[layer] == turn and all(t in held[turn] for t in reads[layer]):
                    done.add(layer)
                    progress = True
                    held[turn] |= {t for t, row in enumerate(tensors) if row[0] == layer}
        if len(done) == len(placement):
            return count
        turn, count = 1 - turn, count + 1
        held[turn] |= held[1 - turn]


def table(*problems):
    """Return [(placement, value in each problem, messages)] of all feasible placements.

    Two machines: delays per message and the limit on visits count. More: no delays.
    """
    first = problems[0]
    two = len(first.compute[0]) == 2
    found = []
    for placement in placements(*problems):
        count = messages(first, placement) if two else 0
        if first.max_server_visits is not None and (count + 1) // 2 > first.max_server_visits:
            continue
        values = []
        for problem in problems:
            total = sum(float(problem.compute[layer][machine]) for layer, machine in enumerate(placement))
            total += sum(transfers(problem, placement).values()) + sum(coding(problem, placement).values())
            if two:
                total += (count + 1) // 2 * float(problem.delay[0][1]) + count // 2 * float(problem.delay[1][0])
            values.append(total)
        found.append((placement, tuple(values), count))
    return found


def front(pairs, tolerance=1e-9):
    """Return the undominated pairs by rising first value; differences below `tolerance` do not count."""
    kept = []
    for pair in sorted(pairs):
        if not kept or pair[1] < kept[-1][1] - tolerance:
            kept.append(pair)
    return kept


def memory_used(sizes, placement, n_machines):
    """Return the bytes on each machine."""
    used = [0.0] * n_machines
    for layer, machine in enumerate(placement):
        used[machine] += float(sizes[layer])
    return used


def peak_memory(problem, sizes, placement):
    """Return weights plus the most bytes of tensors held at any step, on each machine."""
    order = [int(layer) for layer in problem.graph.order]
    held = [0.0] * problem.n_machines
    for now in range(len(order)):
        live = [0.0] * problem.n_machines
        for producer, size, consumers in rows(problem):
            made = order.index(producer)
            for machine in range(problem.n_machines):
                uses = [order.index(reader) for reader in consumers if placement[reader] == machine]
                if placement[producer] == machine:
                    uses.append(made)
                if uses and made <= now <= max(uses):
                    live[machine] += size
        held = [max(most, one) for most, one in zip(held, live, strict=True)]
    return [a + b for a, b in zip(held, memory_used(sizes, placement, problem.n_machines), strict=True)]


def busiest(problem, placement, *, half_duplex):
    """Return the largest resource total of two machines."""
    device = sum(float(row[0]) for row, machine in zip(problem.compute, placement, strict=True) if machine == 0)
    server = sum(float(row[1]) for row, machine in zip(problem.compute, placement, strict=True) if machine == 1)
    paid = coding(problem, placement)
    device, server = device + paid[0], server + paid[1]
    sent = transfers(problem, placement)
    up, down = sent.get((0, 1), 0.0), sent.get((1, 0), 0.0)
    return max(device, server, up + down) if half_duplex else max(device, server, up, down)
