"""Placement on any number of machines as a mixed-integer program for scipy's HiGHS, relative gap 0.

Variables: x[v, k] = layer v is on machine k (binary); y[t, i, j] = tensor t, produced on i, is wanted on j.

    minimise  sum compute[v, k] x[v, k] + sum cost(t, i, j) y[t, i, j]
    sum over k of x[v, k] = 1                       for each layer v
    y[t, i, j] <= x[producer of t, i]               for each tensor, i and j
    x[v, j] <= sum over i of y[t, i, j]             for each consumer v of t, and j

A tensor kept where it is, y[t, i, i], costs nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import Problem

IntArray = NDArray[np.int64]


def highs(problem: Problem, *, time_limit_s: float | None = None) -> IntArray | None:
    """Construct, solve and read the placement; None if the time was up first."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    n_layers, n_machines, n_tensors = problem.n_layers, problem.n_machines, problem.n_tensors
    n_places, n_pairs = n_layers * n_machines, n_machines * n_machines
    n_variables = n_places + n_tensors * n_pairs
    counts, consumers = problem.consumer_counts(), problem.consumer_layers
    allowed = np.isfinite(problem.compute)
    links = problem.per_tensor + problem.tensor_size_bytes[:, None, None] * problem.per_byte
    objective = np.concatenate([np.where(allowed, problem.compute, 0.0).ravel(), links.ravel()])
    upper = np.concatenate([allowed.ravel().astype(np.float64), np.ones(n_tensors * n_pairs)])

    machine = np.arange(n_machines)
    wanted = n_places + np.arange(n_tensors * n_pairs).reshape(n_tensors, n_machines, n_machines)
    # Rows: one place each; kept below the producer's; the consumer's below what is wanted.
    below = n_layers + np.arange(n_tensors * n_pairs)
    above = n_layers + n_tensors * n_pairs + np.arange(len(consumers) * n_machines).reshape(-1, n_machines)
    at_producer = problem.tensor_producer[:, None, None] * n_machines + machine[None, :, None]
    at_consumer = consumers[:, None] * n_machines + machine
    owner = np.repeat(np.arange(n_tensors), counts)
    entries = (
        (np.repeat(np.arange(n_layers), n_machines), np.arange(n_places), 1.0),
        (below, wanted.ravel(), 1.0),
        (below, np.broadcast_to(at_producer, wanted.shape).ravel(), -1.0),
        (above.ravel(), at_consumer.ravel(), 1.0),
        (
            np.broadcast_to(above[:, None, :], (len(consumers), n_machines, n_machines)).ravel(),
            wanted[owner].ravel(),
            -1.0,
        ),
    )
    rows = np.concatenate([row for row, _, _ in entries])
    columns = np.concatenate([column for _, column, _ in entries])
    values = np.concatenate([np.full(len(row), value) for row, _, value in entries])
    n_rows = n_layers + n_tensors * n_pairs + len(consumers) * n_machines
    matrix = coo_array((values, (rows, columns)), shape=(n_rows, n_variables)).tocsc()
    least = np.full(n_rows, -np.inf)
    least[:n_layers] = 1.0
    most = np.zeros(n_rows)
    most[:n_layers] = 1.0
    options: Any = {"mip_rel_gap": 0.0}
    if time_limit_s is not None:
        options["time_limit"] = time_limit_s
    result = milp(
        objective,
        constraints=LinearConstraint(matrix, least, most),
        integrality=np.concatenate([np.ones(n_places), np.zeros(n_tensors * n_pairs)]),
        bounds=Bounds(0.0, upper),
        options=options,
    )
    if result.status == 1:
        return None
    if result.status != 0:
        raise RuntimeError(f"HiGHS ended with status {result.status} on {problem}: {result.message}")
    places = np.asarray(result.x[:n_places], dtype=np.float64).reshape(n_layers, n_machines)
    return np.asarray(places.argmax(axis=1), dtype=np.int64)
