"""Random problems: seeded NumPy generators for counts, and Hypothesis strategies for properties."""

import numpy as np
from hypothesis import strategies as st

from solvers import Problem

INF = float("inf")


def chain_edges(rng, n):
    """Return the tensors of a path of n layers: (producer, consumers)."""
    return [(v, [v + 1]) for v in range(n - 1) for _ in range(1 + (rng.random() < 0.15))]


def series_parallel_edges(rng, n):
    """Return the tensors of a graph grown by subdividing and doubling edges; some producers share one tensor."""
    edges, count = [(0, 1)], 2
    while count < n:
        tail, head = edges[rng.integers(len(edges))]
        kind = rng.random()
        if kind < 0.45:
            edges.remove((tail, head))
        if kind < 0.85:
            edges += [(tail, count), (count, head)]
        elif kind < 0.93:
            edges.append((tail, count))
        else:
            edges.append((count, head))
        count += 1
    # Beyond three shared tensors a layer needs pseudo-vertices, which may keep a large graph from folding.
    return _numbered(_as_tensors(rng, edges, n_overlapping=100 if n <= 20 else 3), count)


def random_edges(rng, n):
    """Return the tensors of a random acyclic graph: dense, sparse, or in pieces."""
    density = rng.choice([0.1, 0.25, 0.5, 0.8])
    edges = [(a, b) for b in range(n) for a in range(b) if rng.random() < density]
    return _as_tensors(rng, edges)


def _as_tensors(rng, edges, *, n_overlapping=100):
    """Turn edges into tensors: all consumers on one tensor, one tensor each, or (up to 5) a mixture with overlaps."""
    consumers = {}
    for tail, head in edges:
        consumers.setdefault(tail, set()).add(head)
    tensors = []
    for tail, heads in consumers.items():
        heads = sorted(heads)
        style = rng.random()
        if style < 0.45:
            tensors.append((tail, heads))
        elif style < 0.75 or len(heads) > 5:
            tensors += [(tail, [head]) for head in heads]
        else:
            left = set(heads)
            n_made = 0
            while left:
                n_made += 1
                chosen = [head for head in heads if rng.random() < 0.6] if n_made < n_overlapping else sorted(left)
                tensors.append((tail, chosen))
                left -= set(chosen)
    return tensors


def _numbered(tensors, n):
    """Number the layers topologically."""
    successors = {v: set() for v in range(n)}
    missing = dict.fromkeys(range(n), 0)
    for tail, heads in tensors:
        successors[tail] |= set(heads)
    for heads in successors.values():
        for head in heads:
            missing[head] += 1
    order = [v for v in range(n) if missing[v] == 0]
    for v in order:
        for w in sorted(successors[v]):
            missing[w] -= 1
            if missing[w] == 0:
                order.append(w)
    number = {v: k for k, v in enumerate(order)}
    return [(number[tail], sorted(number[head] for head in heads)) for tail, heads in tensors]


EDGES = {"chain": chain_edges, "series-parallel": series_parallel_edges, "random": random_edges}


def random_problem(rng, *, kind=None, max_layers=12, n_layers=None):
    """Draw a problem of up to `max_layers` layers, of any shape, with pins, delays, limits and odd costs."""
    kind = kind or rng.choice(list(EDGES))
    n = int(n_layers or rng.integers(1, max_layers + 1))
    tensors = [(p, 0.0, c) for p, c in EDGES[kind](rng, max(n, 2) if kind == "series-parallel" else n)]
    n = max(n, 2) if kind == "series-parallel" else n
    compute = random_compute(rng, n)

    forbid = rng.choice([0.0, 0.0, 0.1, 0.3])
    for layer in range(n):
        if rng.random() < forbid:
            compute[layer, rng.integers(2)] = INF
    producers = {p for p, _, c in tensors if c}
    consumers = {v for _, _, c in tensors for v in c}
    output_on = rng.choice(["device", "server", "any", "mixed"])
    for layer in range(n):
        if layer not in consumers and rng.random() < 0.8:
            compute[layer] = 0.0, INF
        elif layer not in producers and output_on != "any":
            where = {"device": 0, "server": 1, "mixed": int(rng.integers(2))}[str(output_on)]
            if rng.random() < 0.8:
                compute[layer] = 0.0
                compute[layer, 1 - where] = INF
    tensors = [(p, random_size(rng), c) for p, _, c in tensors]
    if rng.random() < 0.3:
        tensors.append((int(rng.integers(n)), random_size(rng), []))
    order = rng.permutation(n) if rng.random() < 0.3 else np.arange(n)
    shuffled = np.empty_like(compute)
    shuffled[order] = compute
    tensors = [(int(order[p]), size, [int(order[v]) for v in c]) for p, size, c in tensors]
    return Problem.build(shuffled, tensors, **random_links(rng), **random_coding(rng, len(tensors), 2))


def random_compute(rng, n):
    """Draw costs: comparable machines, a faster server, small integers (many ties), or any sign."""
    style = rng.integers(4)
    if style == 0:
        return rng.exponential(1.0, (n, 2))
    if style == 1:
        device = rng.exponential(3.0, n)
        return np.stack([device, device * rng.uniform(0.05, 0.5)], axis=1)
    if style == 2:
        return rng.integers(0, 4, (n, 2)).astype(np.float64)
    return rng.normal(0.0, 2.0, (n, 2))


def random_size(rng):
    """Draw a size: zero at times, small whole numbers at others."""
    style = rng.random()
    if style < 0.1:
        return 0.0
    return float(rng.integers(1, 4)) if style < 0.4 else float(rng.exponential(1.5))


def random_links(rng):
    """Draw link matrices and a limit on visits."""

    def pair(choices, scale):
        if rng.random() < 0.3:
            up = down = float(rng.choice(choices)) * scale
        else:
            up, down = (float(rng.choice(choices) * rng.uniform(0.3, 1.7)) * scale for _ in range(2))
        return [[0.0, up], [down, 0.0]]

    return {
        "per_byte": pair([0.0, 0.2, 0.5, 1.0, 3.0], 1.0),
        "per_tensor": pair([0.0, 0.0, 0.3], 1.0),
        "delay": pair([0.0, 0.0, 0.3, 1.0, 3.0], 1.0),
        "max_server_visits": [1, 1, 1, 2, None, None, 0][rng.integers(7)],
    }


def random_coding(rng, n_tensors, n_machines):
    """Draw what senders and receivers pay per tensor: nothing half of the time, of one of the two at others.

    From a stream of its own, so that what is drawn afterwards does not depend on it.
    """
    (rng,) = rng.spawn(1)
    if rng.random() < 0.5:
        return {}
    shape = (n_tensors, n_machines)
    costs = {}
    for name in ("encode", "decode"):
        style = rng.random()
        if style < 0.7:
            costs[name] = rng.exponential(0.4, shape) if style < 0.4 else rng.integers(0, 3, shape).astype(np.float64)
            costs[name] *= rng.random(shape) < 0.7
    return costs


def random_network(rng, *, n_machines, max_layers, delays=False):
    """Draw a problem on any number of machines: any link matrix, pins, colocated layers, odd costs."""
    n = int(rng.integers(2, max_layers + 1))
    kind = str(rng.choice(list(EDGES)))
    tensors = [(p, random_size(rng), c) for p, c in EDGES[kind](rng, n)]
    style = rng.integers(3)
    if style == 0:
        compute = rng.exponential(1.0, (n, n_machines))
    elif style == 1:
        compute = rng.integers(0, 4, (n, n_machines)).astype(np.float64)
    else:
        compute = rng.normal(0.0, 2.0, (n, n_machines))
    forbid = rng.choice([0.0, 0.1, 0.4])
    for layer in range(n):
        allowed = int(rng.integers(n_machines))
        for k in range(n_machines):
            if k != allowed and rng.random() < forbid:
                compute[layer, k] = INF
    off = 1.0 - np.eye(n_machines)

    def matrix(scale):
        return rng.choice([0.0, 0.3, 1.0, 3.0], (n_machines, n_machines)) * rng.uniform(0.3, 1.7) * scale * off

    colocated = []
    if rng.random() < 0.3 and n > 2:
        members = [int(v) for v in rng.permutation(n)[: rng.integers(2, 4)]]
        if np.isfinite(compute[members]).all(axis=0).any():
            colocated.append(members)
    return Problem.build(
        compute,
        tensors,
        per_byte=matrix(1.0),
        per_tensor=matrix(0.3),
        delay=matrix(1.0) if delays else None,
        max_server_visits=None,
        colocated=colocated,
        **random_coding(rng, len(tensors), n_machines),
    )


@st.composite
def problems(draw, *, max_layers=8, kind=None):
    """Draw a random problem whose seed Hypothesis chooses; the size shrinks by itself."""
    n_layers = draw(st.integers(1, max_layers))
    kind = kind or draw(st.sampled_from(sorted(EDGES)))
    seed = draw(st.integers(0, 2**32 - 1))
    return random_problem(np.random.default_rng(seed), kind=kind, n_layers=n_layers)


@st.composite
def offloading_problems(draw, *, max_layers=12):
    """Draw what a device with a faster server sees: input and outputs on the device, no delays, no overheads.

    Returns (compute, tensors, per_byte) for `Problem.build`.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["chain", "series-parallel", "random"]))
    n = draw(st.integers(2, max_layers))
    tensors = [(p, float(rng.uniform(0.1, 5.0)), c) for p, c in EDGES[kind](rng, n)]
    device = rng.uniform(0.1, 3.0, n)
    compute = np.stack([device, device * rng.uniform(0.05, 0.9, n)], axis=1)
    consumers = {v for _, _, c in tensors for v in c}
    producers = {p for p, _, c in tensors if c}
    for layer in range(n):
        if layer not in consumers or layer not in producers:
            compute[layer] = 0.0, INF
    up, down = rng.uniform(0.2, 2.0, 2)
    return compute, tensors, np.array([[0.0, up], [down, 0.0]])
