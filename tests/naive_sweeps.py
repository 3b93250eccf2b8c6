"""Slow twins of the sweeps: the line of every placement by enumeration, and what follows from all lines.

Nothing here calls the package. Sums that decide on ties are exact fractions of the float64 costs.
"""

from fractions import Fraction
from itertools import product

from tests import naive

INF = float("inf")


def placements(problem):
    """Yield every placement that respects the forbidden machines and the colocated groups."""
    choices = [[k for k, cost in enumerate(row) if cost != INF] for row in problem.compute]
    for placement in product(*choices):
        if all(len({placement[layer] for layer in group}) == 1 for group in problem.colocated if group):
            yield placement


def value(problem, placement):
    """Return a placement's value: by simulation for two machines, with one delay per tensor sent for more."""
    if len(problem.compute[0]) <= 2:
        return naive.value(problem, placement)
    total = sum(float(problem.compute[layer][machine]) for layer, machine in enumerate(placement))
    for t, producer in enumerate(problem.tensor_producer):
        here = placement[producer]
        readers = problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]
        for there in {placement[reader] for reader in readers} - {here}:
            total += float(problem.per_tensor[here][there] + problem.delay[here][there])
            total += float(problem.tensor_size_bytes[t]) * float(problem.per_byte[here][there])
            total += float(problem.encode[t][here]) + float(problem.decode[t][there])
    return total


def lines(family):
    """Return {placement: (intercept, slope)} of all feasible placements."""
    found = {}
    for placement in placements(family.base):
        intercept = value(family.base, placement)
        if intercept < INF:
            found[placement] = intercept, value(family.slope, placement)
    return found


def envelope(rows, low, high):
    """Walk along the least of `rows` of (intercept, slope) from low to high: [(begin, end, intercept, slope)].

    At each point the next line is the one of smaller slope that is met first; ties go to the smallest slope.
    """
    exact = {(Fraction(a), Fraction(b)) for a, b in rows}
    x, end = Fraction(low), Fraction(high)
    current = min(exact, key=lambda line: (line[0] + line[1] * x, line[1]))
    segments = []
    while True:
        steeper = [line for line in exact if line[1] < current[1]]
        crossings = [((line[0] - current[0]) / (current[1] - line[1]), line[1], line) for line in steeper]
        if not crossings or min(crossings)[0] >= end:
            segments.append((x, end, *current))
            return segments
        crossing, _, following = min(crossings)
        segments.append((x, crossing, *current))
        x, current = crossing, following


def n_touching(rows, low, high):
    """Count the distinct lines that are least somewhere on the closed range, within rounding."""
    exact = {(Fraction(a), Fraction(b)) for a, b in rows}
    segments = envelope(rows, low, high)
    points = {Fraction(low), Fraction(high), *(begin for begin, *_ in segments)}
    touching = set()
    for x in points:
        least = min(a + b * x for a, b in exact)
        slack = Fraction(1, 10**9) * (1 + abs(least))
        touching |= {line for line in exact if line[0] + line[1] * x <= least + slack}
    return len(touching)


def least(rows, theta):
    """Return the least value of `rows` at theta."""
    return min(a + b * theta for a, b in rows)


def expected(row, thetas, weights):
    """Return the mean value of one line."""
    return sum(w * (row[0] + row[1] * x) for x, w in zip(thetas, weights, strict=True)) / sum(weights)


def quantile(row, thetas, weights, q):
    """Return the least value of one line that is not exceeded with probability q."""
    values = sorted((row[0] + row[1] * x, w) for x, w in zip(thetas, weights, strict=True))
    reached = 0.0
    for result, weight in values:
        reached += weight
        if reached >= q * sum(weights) * (1 - 1e-9):
            return result
    return values[-1][0]


def chance(row, thetas, weights, deadline):
    """Return how probable it is that one line stays within the deadline."""
    met = sum(w for x, w in zip(thetas, weights, strict=True) if row[0] + row[1] * x <= deadline)
    return met / sum(weights)


def regret(row, rows, low, high, *, n_points=201):
    """Return the largest regret of one line over an even grid."""
    grid = [low + (high - low) * k / (n_points - 1) for k in range(n_points)]
    return max(row[0] + row[1] * x - least(rows, x) for x in grid)


def sorted_values(problem):
    """Return [(value, placement)] of all feasible placements, by value."""
    rows = [(value(problem, placement), placement) for placement in placements(problem)]
    return sorted(row for row in rows if row[0] < INF)
