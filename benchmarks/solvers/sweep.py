"""Many bandwidths: a chain's cuts against the NumPy matrix, and all breakpoints of the light topologies."""

from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.section import Section, seconds, spread, table
from benchmarks.settings import SEED, Settings
from benchmarks.solvers import light
from benchmarks.solvers.graphs import with_costs
from benchmarks.solvers.section import DifferentOptimaError, same_value
from benchmarks.solvers.timing import alternate
from benchmarks.solvers.topologies import chain
from graph_io import LIGHT_MODELS
from solvers import Problem, Solution, analyse, bandwidth_family, breakpoints, chain_lines, lower_envelope, solve

N_CUTS = 100
N_BANDWIDTHS = 100_000
MATRIX_LIMIT = 20.0
BREAKPOINTS_LIMIT_S = 1e-3
LOWEST, HIGHEST = 0.1e6, 1000e6
"""Bit per second."""


def measure(settings: Settings) -> Section:
    """Measure the chain and each topology."""
    rounds = settings.repetitions or (5 if settings.quick else 15)
    names = settings.models or (light.QUICK if settings.quick else LIGHT_MODELS)
    against = matrix(N_CUTS, N_BANDWIDTHS, rounds)
    rows: list[dict[str, Any]] = []
    for name in names:
        problem = light.light_problems(name)["layer"]
        rows.append({"kind": "breakpoints", "model": name} | all_breakpoints(problem, rounds))
    bars = [
        Bar(
            "sweep: NumPy's matrix over the envelope, 100 cuts, 1e5 bandwidths",
            against["ratio"],
            MATRIX_LIMIT,
            "higher",
        )
    ]
    bars += [
        Bar(
            f"sweep: all breakpoints, ms: {row['model']}",
            1e3 * row["breakpoints_s"],
            1e3 * BREAKPOINTS_LIMIT_S,
            "lower",
        )
        for row in rows
    ]
    headings = ("all breakpoints", "layers", "cuts", "solves", "time")
    lines = [
        (row["model"], str(row["layers"]), str(row["cuts"]), str(row["solves"]), spread(row, "breakpoints"))
        for row in rows
    ]
    notes = (
        f"chain of {N_CUTS} cuts, {N_BANDWIDTHS} bandwidths, equal values at each: lines, envelope and look-up "
        f"{seconds(against['envelope_s'])}, "
        f"matrix {seconds(against['matrix_s'])}, ratio {against['ratio']:.1f}; with the matrix in memory "
        f"that is held between calls {against['ratio_in_held_memory']:.1f}",
        "all breakpoints: 0.1 Mbit/s to 1 Gbit/s, links in the ratio of the preset wifi, rtt 20 ms, one server visit",
    )
    return Section(tuple(bars), (against, *rows), (table("Every bandwidth", headings, lines),), notes)


def matrix(n_cuts: int, n_bandwidths: int, rounds: int) -> dict[str, Any]:
    """Choose the best cut of a chain at many bandwidths: our whole way from the problem, NumPy from its lines on.

    Raises
    ------
    DifferentOptimaError
        They differ at a bandwidth.
    """
    problem = with_costs(chain(n_cuts + 1), "realistic")
    problem = problem.with_costs(delay=[[0.0, 0.01], [0.01, 0.0]])
    random = np.random.default_rng([SEED, n_bandwidths])
    thetas = 8.0 / 10.0 ** random.uniform(np.log10(LOWEST), np.log10(HIGHEST), n_bandwidths)
    lines = chain_lines(bandwidth_family(problem)).lines
    if len(lines) != n_cuts:
        raise RuntimeError(f"the chain has {len(lines)} cuts, not {n_cuts}")
    intercepts, slopes = np.array(lines.intercepts), np.array(lines.slopes)

    held = np.empty((n_cuts, n_bandwidths))

    def in_held_memory() -> Any:
        np.multiply(slopes[:, None], thetas, out=held)
        np.add(held, intercepts[:, None], out=held)
        return held.argmin(axis=0)

    def by_envelope() -> Any:
        return lower_envelope(chain_lines(bandwidth_family(problem)).lines).best(thetas)

    calls = {
        "envelope": by_envelope,
        "matrix": lambda: (intercepts[:, None] + slopes[:, None] * thetas).argmin(axis=0),
        "matrix_by_rows": lambda: (intercepts + slopes * thetas[:, None]).argmin(axis=1),
        "matrix_in_held_memory": in_held_memory,
    }
    ours, other = calls["envelope"](), calls["matrix"]()
    values = [intercepts[chosen] + slopes[chosen] * thetas for chosen in (ours, other)]
    if not np.allclose(values[0], values[1], rtol=1e-12, atol=0.0):
        raise DifferentOptimaError("the envelope and the matrix choose cuts of different value")
    row: dict[str, Any] = {"kind": "matrix", "cuts": n_cuts, "bandwidths": n_bandwidths}
    # The matrix leaves caches and heap as no other caller does: each contestant warms up for itself.
    for name, timing in alternate(calls, rounds=rounds, least_s=20e-3).items():
        row |= timing.row(name)
    # The layout that suits NumPy better counts.
    row["ratio"] = min(row["matrix_s"], row["matrix_by_rows_s"]) / row["envelope_s"]
    row["ratio_in_held_memory"] = row["matrix_in_held_memory_s"] / row["envelope_s"]
    return row


def all_breakpoints(problem: Problem, rounds: int) -> dict[str, Any]:
    """Find all breakpoints of a graph over a range of bandwidths, the symbolic phase done before.

    Raises
    ------
    DifferentOptimaError
        At a bandwidth between two breakpoints, one solve finds another value.
    """
    analysis = analyse(problem)
    family = bandwidth_family(problem)
    low, high = 8.0 / HIGHEST, 8.0 / LOWEST

    def analysed(one: Problem) -> Solution:
        return solve(one, analysis=analysis)

    found = breakpoints(family, low, high, solver=analysed)
    edges = np.concatenate([[low], found.thetas, [high]])
    middles = 0.5 * (edges[1:] + edges[:-1])
    for theta, value in zip(middles, found.values_at(middles), strict=True):
        same_value(f"theta {theta}", solve(family.at(float(theta)), "min-cut").value, {"breakpoints": float(value)})
    timing = alternate({"breakpoints": lambda: breakpoints(family, low, high, solver=analysed)}, rounds=rounds)
    return {
        "layers": problem.n_layers,
        "cuts": len(found.segments),
        "solves": found.n_solves,
        **timing["breakpoints"].row("breakpoints"),
    }
