"""Random problems for labels: pairs of costs on one graph, any number of machines, colocated layers."""

import numpy as np

from solvers import Problem
from tests.strategies import EDGES, random_coding, random_problem, random_size

INF = float("inf")
MOST_LAYERS = {2: 8, 3: 6, 4: 4}


def draw_problem(rng, n_machines=2, *, delays=True):
    """Draw a problem; more than two machines come without delays."""
    if n_machines == 2:
        problem = random_problem(rng, max_layers=MOST_LAYERS[2])
        if not delays:
            return rebuilt(problem, rng, delay=np.zeros((2, 2)), max_server_visits=None)
        return rebuilt(problem, rng)
    n = int(rng.integers(2, MOST_LAYERS[n_machines] + 1))
    tensors = EDGES[str(rng.choice(list(EDGES)))](rng, n)
    n = max([n, *(v + 1 for p, c in tensors for v in (p, *c))])
    compute = draw_compute(rng, (n, n_machines))
    for layer in range(n):
        if rng.random() < 0.3:
            compute[layer, rng.permutation(n_machines)[: rng.integers(1, n_machines)]] = INF
    links = rng.exponential(0.7, (2, n_machines, n_machines)) * (rng.random((2, n_machines, n_machines)) < 0.8)
    links[:, range(n_machines), range(n_machines)] = 0.0
    problem = Problem.build(
        compute,
        [(p, random_size(rng), c) for p, c in tensors],
        per_byte=links[0],
        per_tensor=links[1],
        max_server_visits=None,
        **random_coding(rng, len(tensors), n_machines),
    )
    return rebuilt(problem, rng)


def draw_compute(rng, shape):
    """Draw positive, small whole or signed costs."""
    style = rng.integers(4)
    if style == 0:
        return rng.integers(0, 4, shape).astype(np.float64)
    if style == 1:
        return rng.normal(0.0, 2.0, shape)
    return rng.exponential(1.5, shape)


def rebuilt(problem, rng, *, delay=None, max_server_visits="same"):
    """Return the problem with a colocated group at times, and with another delay and limit if given."""
    groups = ()
    if rng.random() < 0.25 and problem.n_layers >= 3:
        chosen = rng.permutation(problem.n_layers)[: rng.integers(2, 4)].tolist()
        if np.isfinite(problem.compute[chosen]).all(axis=0).any():
            groups = (tuple(chosen),)
    return Problem(
        compute=problem.compute,
        tensor_producer=problem.tensor_producer,
        tensor_size_bytes=problem.tensor_size_bytes,
        consumer_offsets=problem.consumer_offsets,
        consumer_layers=problem.consumer_layers,
        per_tensor=problem.per_tensor,
        per_byte=problem.per_byte,
        delay=problem.delay if delay is None else delay,
        max_server_visits=problem.max_server_visits if max_server_visits == "same" else max_server_visits,
        colocated=groups,
        encode=problem.encode,
        decode=problem.decode,
    )


def draw_second(rng, problem, *, signed=True):
    """Draw another objective on the same graph: other costs, now and then another pin, other prices and delays."""
    shape = problem.compute.shape
    compute = draw_compute(rng, shape) if signed else rng.exponential(1.5, shape)
    forbidden = np.isinf(problem.compute)
    if rng.random() < 0.15:
        layer = int(rng.integers(shape[0]))
        if (~forbidden[layer]).sum() > 1 and not problem.colocated:
            forbidden = forbidden.copy()
            forbidden[layer, int(rng.choice(np.flatnonzero(~forbidden[layer])))] = True
    compute = np.where(forbidden, INF, compute)
    prices = rng.choice([0.0, 0.3, 1.0, 2.0], shape[1:] * 2).astype(np.float64)
    np.fill_diagonal(prices, 0.0)
    return problem.with_costs(
        compute=compute,
        per_byte=problem.per_byte * prices,
        delay=problem.delay * rng.choice([0.0, 0.5, 2.0]),
        encode=problem.encode * rng.spawn(1)[0].choice([0.0, 0.5, 2.0]),
    )
