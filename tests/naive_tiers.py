"""Slow twins for several machines: costs by the pair model and the relay model, and every placement.

Nothing here calls the package: costs are read from the problem's arrays and followed with dictionaries and loops.
"""

from itertools import product

INF = float("inf")


def placements(problem):
    """Yield every placement that respects forbidden machines and colocated layers."""
    n_machines = len(problem.compute[0]) if len(problem.compute) else 1
    choices = [[k for k in range(n_machines) if row[k] != INF] for row in problem.compute]
    for placement in product(*choices):
        if all(len({placement[layer] for layer in group}) <= 1 for group in problem.colocated):
            yield placement


def tensors_of(problem):
    """Return the tensors as (producer, size, consumers)."""
    offsets = problem.consumer_offsets
    return [
        (
            int(problem.tensor_producer[t]),
            float(problem.tensor_size_bytes[t]),
            [int(c) for c in problem.consumer_layers[offsets[t] : offsets[t + 1]]],
        )
        for t in range(len(problem.tensor_producer))
    ]


def computing(problem, placement):
    """Return what the layers cost on their machines."""
    return sum(float(problem.compute[layer][machine]) for layer, machine in enumerate(placement))


def sent(problem, placement):
    """Return (link, encode, decode, from, to) of each tensor sent in the pair model: once to each other machine."""
    rows = []
    for t, (producer, size, consumers) in enumerate(tensors_of(problem)):
        here = placement[producer]
        for there in {placement[c] for c in consumers} - {here}:
            cost = float(problem.per_tensor[here][there]) + size * float(problem.per_byte[here][there])
            rows.append((cost, float(problem.encode[t][here]), float(problem.decode[t][there]), here, there))
    return rows


def pair_value(problem, placement, *, delays=True):
    """Return compute and transfers, with a delay for each tensor sent."""
    total = computing(problem, placement)
    for cost, encode, decode, here, there in sent(problem, placement):
        total += cost + encode + decode + (float(problem.delay[here][there]) if delays else 0.0)
    return total


def busiest(problem, placement, *, half_duplex):
    """Return the largest total of a machine or a link."""
    totals = {}
    for layer, machine in enumerate(placement):
        totals[machine] = totals.get(machine, 0.0) + float(problem.compute[layer][machine])
    for machine in range(len(problem.compute[0])):
        totals.setdefault(machine, 0.0)
    for cost, encode, decode, here, there in sent(problem, placement):
        totals[here] += encode
        totals[there] += decode
        link = frozenset((here, there)) if half_duplex else (here, there)
        totals[link] = totals.get(link, 0.0) + cost
    if len(problem.compute[0]) > 1:
        totals["an idle link"] = 0.0
    return max(totals.values())


def relay_value(problem, placement):
    """Carry tensors from tier to neighbouring tier by a token that sweeps up and down, and add up what it costs.

    At a tier the token runs every layer that is ready. On its way it takes along everything made so far that someone
    further on still needs; one that takes something pays the link's delay. A layer without producers is started by
    the first sweep, which pays its way up to it even with empty hands.
    """
    n_tiers = len(problem.compute[0])
    total = computing(problem, placement)
    tensors = tensors_of(problem)
    reads = {layer: [t for t, row in enumerate(tensors) if layer in row[2]] for layer in range(len(placement))}
    for producer, size, consumers in tensors:
        tiers = [placement[c] for c in consumers]
        for k in range(n_tiers - 1):
            if placement[producer] <= k and any(tier > k for tier in tiers):
                total += float(problem.per_tensor[k][k + 1]) + size * float(problem.per_byte[k][k + 1])
            if placement[producer] > k and any(tier <= k for tier in tiers):
                total += float(problem.per_tensor[k + 1][k]) + size * float(problem.per_byte[k + 1][k])

    held = [set() for _ in range(n_tiers)]
    done = set()

    def run(tier):
        progress = True
        while progress:
            progress = False
            for layer, own in enumerate(placement):
                if own == tier and layer not in done and all(t in held[tier] for t in reads[layer]):
                    done.add(layer)
                    held[tier].update(t for t, row in enumerate(tensors) if row[0] == layer)
                    progress = True

    def carry(here, there, *, asked):
        wanted = set()
        for t in held[here] - held[there]:
            for consumer in tensors[t][2]:
                tier = placement[consumer]
                if (tier >= there) if there > here else (tier <= there):
                    wanted.add(t)
        held[there].update(wanted)
        return float(problem.delay[here][there]) if wanted or asked else 0.0

    starts = [placement[layer] for layer in range(len(placement)) if not reads[layer]]
    first = True
    run(0)
    while len(done) < len(placement):
        for tier in range(n_tiers - 1):
            total += carry(tier, tier + 1, asked=first and any(start > tier for start in starts))
            run(tier + 1)
        first = False
        for tier in range(n_tiers - 1, 0, -1):
            total += carry(tier, tier - 1, asked=False)
            run(tier - 1)
    return total


def alternates(problem, placement):
    """Tell whether some path of layers goes up again after it went down."""
    follows = {}
    for producer, _, consumers in tensors_of(problem):
        follows.setdefault(producer, set()).update(consumers)

    def search(layer, came_down):
        for after in follows.get(layer, ()):
            if came_down and placement[after] > placement[layer]:
                return True
            if search(after, came_down or placement[after] < placement[layer]):
                return True
        return False

    return any(search(layer, False) for layer in range(len(placement)))
