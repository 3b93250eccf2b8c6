"""Every objective on every number of machines, tried on small random problems and checked against enumeration.

``python -m tests.solvers.objective_table`` prints the table of docs/objectives.md.
"""

from functools import partial

import numpy as np

from solvers import (
    MethodError,
    PipelineProblem,
    Power,
    bandwidth_family,
    breakpoints,
    device_load_family,
    energy_problem,
    evaluate,
    k_best,
    maximise_throughput,
    pareto_front,
    pipeline_throughput,
    relay_links,
    solve,
    solve_tiers,
    weighted,
    within_deadline,
    within_memory,
    within_peak_memory,
)
from tests import naive, naive_labels, naive_throughput, naive_tiers
from tests.strategies import INF, random_network, random_problem

N_CASES = 10
COLUMNS = {
    "1 machine": (1, False),
    "2 machines": (2, False),
    "2, delays": (2, True),
    "3 machines": (3, False),
    "3, delays": (3, True),
    "4 machines": (4, False),
}
MOST_LAYERS = {1: 7, 2: 7, 3: 6, 4: 5}


def draw(rng, n_machines, delays):
    """Return a problem that some placement satisfies."""
    while True:
        if n_machines == 2 and delays:
            problem = random_problem(rng, max_layers=7)
        else:
            problem = random_network(rng, n_machines=n_machines, max_layers=MOST_LAYERS[n_machines], delays=delays)
        useful = np.isfinite(problem.compute).any(axis=0).all()
        if useful and not problem.colocated and naive.optimum(problem) < INF:
            return problem


def second_costs(rng, problem):
    """Return other costs on the same graph, delays included."""
    finite = np.isfinite(problem.compute)
    return problem.with_costs(
        compute=np.where(finite, rng.exponential(1.0, finite.shape), INF), per_byte=problem.per_byte * 0.7
    )


def close(value, expected):
    return abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


def verdict(problem, solution, least, greatest=None):
    """Check an answer against the enumerated least value; `greatest` bounds what a bracketed one may say."""
    slack = 1e-9 * max(1.0, abs(least))
    assert solution.bound <= least + slack, (solution, least)
    if solution.optimal:
        assert close(solution.value, least), (solution, least)
        return "exact"
    assert least - slack <= solution.value, (solution, least)
    assert greatest is None or solution.value <= greatest + slack, (solution, greatest)
    return "bound and gap"


def least_cost(method, rng, problem):
    values = [naive.value(problem, placement) for placement in naive.placements(problem)]
    apart = None
    if problem.n_machines > 2 and problem.delay.any():
        apart = min(naive.charged_apart(problem, placement) for placement in naive.placements(problem))
    return verdict(problem, solve(problem, method), min(values), apart)


def energy(rng, problem):
    power = Power.of_device(compute=2.0, send=1.5, receive=1.0, idle=0.5, n_machines=problem.n_machines)
    joules = energy_problem(problem, power)
    mixed = weighted([(problem, 0.3), (joules, 0.7)])
    found = {least_cost("auto", rng, joules), least_cost("auto", rng, mixed)}
    return found.pop() if len(found) == 1 else "bound and gap"


def deadline(rng, problem):
    other = second_costs(rng, problem)
    rows = naive_labels.table(other, problem)
    limit = sorted(row[1][1] for row in rows)[len(rows) // 3]
    least = min(row[1][0] for row in rows if row[1][1] <= limit * (1 + 1e-12 * np.sign(limit)))
    return verdict(other, within_deadline(other, problem, limit), least)


def front(rng, problem):
    other = second_costs(rng, problem)
    rows = naive_labels.front([(row[1][0], row[1][1]) for row in naive_labels.table(problem, other)])
    found = pareto_front(problem, other)
    pairs = [(point.first, point.second) for point in found.points]
    assert found.exact
    assert len(pairs) == len(rows)
    assert all(close(a, c) and close(b, d) for (a, b), (c, d) in zip(sorted(pairs), rows, strict=True))
    return "exact"


def memory(rng, problem):
    def used(sizes, placement):
        return naive_labels.memory_used(sizes, placement, problem.n_machines)

    return fitting(rng, problem, within_memory, used, 1.0)


def peaks(rng, problem):
    return fitting(rng, problem, within_peak_memory, partial(naive_labels.peak_memory, problem), 3.0)


def fitting(rng, problem, solver, used, share):
    sizes = rng.integers(1, 5, problem.n_layers).astype(np.float64)
    limits = [INF] * (problem.n_machines - 1) + [share * float(sizes.sum() / 2)]
    if problem.n_machines == 1:
        limits = [used(sizes, [0] * problem.n_layers)[0]]
    values = [
        naive.value(problem, placement)
        for placement in naive.placements(problem)
        if all(one <= top for one, top in zip(used(sizes, placement), limits, strict=True))
    ]
    if not values or min(values) == INF:
        return None
    return verdict(problem, solver(problem, sizes, limits), min(values))


def pipeline(rng, problem):
    least = min(naive_tiers.busiest(problem, p, half_duplex=False) for p in naive_labels.placements(problem))
    return verdict(problem, pipeline_throughput(problem), least)


def contiguous(rng, problem):
    compute = np.abs(np.where(np.isinf(problem.compute), INF, problem.compute))
    rows = naive_labels.rows(problem)
    tensors = [(producer, size, consumers) for producer, size, consumers in rows if consumers]
    machines = PipelineProblem.build(compute, tensors, machine_counts=[1] * problem.n_machines)
    values = []
    for placement in naive.placements(problem):
        loads = naive_throughput.loads(machines, placement)
        if loads is not None and naive_throughput.contiguous(machines, placement):
            values.append(max(loads))
    if not values:
        return None
    return verdict(problem, maximise_throughput(machines), min(values))


def tiers(rng, problem):
    n_links = problem.n_machines - 1
    neighbours = {
        name: relay_links(rng.uniform(0.1, 2, n_links), rng.uniform(0.1, 2, n_links)) for name in ("per_byte", "delay")
    }
    delay = neighbours["delay"] if problem.delay.any() else np.zeros_like(problem.delay)
    compute = problem.compute.copy()
    if problem.delay.any():
        last = np.diff(problem.graph.successor_offsets) == 0
        compute[last, 1:] = INF
        compute[last, 0] = 0.0
    chain = problem.without_transfers(compute).with_costs(per_byte=neighbours["per_byte"], delay=delay)
    least = min(naive_tiers.relay_value(chain, placement) for placement in naive_tiers.placements(chain))
    return verdict(chain, solve_tiers(chain, relay=True), least)


def alternatives(rng, problem):
    values = sorted(naive.value(problem, placement) for placement in naive.placements(problem))
    found = k_best(problem, 3)
    finite = [value for value in values if value < INF][:3]
    if all(solution.optimal for solution in found):
        assert len(found) == len(finite)
        assert all(close(one.value, value) for one, value in zip(found, finite, strict=True))
        return "exact"
    assert found[0].bound <= values[0] + 1e-9 * max(1.0, abs(values[0]))
    return "bound and gap"


def sweeping(rng, problem):
    links = rng.uniform(0.3, 1.7, problem.per_byte.shape) * (1 - np.eye(problem.n_machines))
    problem = problem.with_costs(per_byte=links)
    family = device_load_family(problem) if problem.n_machines == 1 else bandwidth_family(problem)
    found = breakpoints(family, 0.01, 10.0)
    for theta in (0.01, 0.3, 10.0):
        one = family.at(theta)
        least = min(naive.value(one, placement) for placement in naive.placements(one))
        if found.proven:
            assert close(float(found.values_at([theta])[0]), least)
        else:
            assert evaluate(one, solve(one).placement) >= least - 1e-9
    return "exact" if found.proven else "bound and gap"


ROWS = {
    "least latency: `solve`": partial(least_cost, "auto"),
    "... by `chain`": partial(least_cost, "chain"),
    "... by `dp`": partial(least_cost, "dp"),
    "... by `min-cut`": partial(least_cost, "min-cut"),
    "... by `milp`": partial(least_cost, "milp"),
    "energy, weighted sums": energy,
    "least energy in time: `within_deadline`": deadline,
    "latency against energy: `pareto_front`": front,
    "weights in memory: `within_memory`": memory,
    "weights and activations: `within_peak_memory`": peaks,
    "rate of a pipeline: `pipeline_throughput`": pipeline,
    "contiguous parts: `maximise_throughput`": contiguous,
    "ordered tiers, relayed: `solve_tiers`": tiers,
    "`k_best`": alternatives,
    "all bandwidths or loads: `breakpoints`": sweeping,
}


def cell(row, column):
    """Return what one objective answered on all its problems, sorted from best to worst."""
    n_machines, delays = COLUMNS[column]
    found = set()
    for case in range(N_CASES):
        rng = np.random.default_rng((case, n_machines, delays))
        problem = draw(rng, n_machines, delays)
        try:
            found.add(ROWS[row](rng, problem))
        except MethodError:
            found.add("refuses")
    found.discard(None)
    order = ["exact", "bound and gap", "refuses"]
    return ", ".join(sorted(found, key=order.index))


def table(cells):
    """Return the lines of the table; cells maps (row, column) to what `cell` says."""
    lines = ["| objective | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    lines += [f"| {row} | " + " | ".join(cells[row, column] for column in COLUMNS) + " |" for row in ROWS]
    return lines


if __name__ == "__main__":
    print("\n".join(table({(row, column): cell(row, column) for row in ROWS for column in COLUMNS})))
