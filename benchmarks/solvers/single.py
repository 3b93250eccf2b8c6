"""One solve through the public face: warm against PyMaxflow, and in a fresh process, where nobody waits for numba."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section, seconds, spread, table
from benchmarks.settings import Settings
from benchmarks.solvers import flow_libraries, light
from benchmarks.solvers.section import same_optimum
from benchmarks.solvers.timing import Timing, alternate
from solvers import Problem, analyse, solve

MODELS = ("densenet121", "shufflenet")
WITH_ANALYSIS_LIMIT = 3.0
ANALYSED_LIMIT = 1.5
FRESH_LAYERS = 100
_FRESH = """
import json, sys, time
start = time.perf_counter()
import numpy as np
numpy_s = time.perf_counter() - start
start = time.perf_counter()
from solvers import Problem, solve
import_s = time.perf_counter() - start
n = int(sys.argv[1])
random = np.random.default_rng(0)
compute = random.random((n, 2))
compute[0] = compute[-1] = 0.0, np.inf
tensors = [(layer, float(size), [layer + 1]) for layer, size in enumerate(random.random(n - 1))]
tensors[1] = (1, tensors[1][1], [2, 3])
problem = Problem.build(compute, tensors, per_byte=[[0.0, 1.0], [1.0, 0.0]])
start = time.perf_counter()
solution = solve(problem)
solve_s = time.perf_counter() - start
print(json.dumps({
    "numpy_s": numpy_s, "import_s": import_s, "solve_s": solve_s, "numba": "numba" in sys.modules,
    "scipy": "scipy" in sys.modules, "method": solution.method, "optimal": solution.optimal,
}))
"""


def measure(settings: Settings) -> Section:
    """Measure two topologies warm, and a small graph in fresh processes."""
    rounds = settings.repetitions or (5 if settings.quick else 15)
    rows: list[dict[str, Any]] = []
    for name in MODELS:
        problem = light.without_delays(light.light_problems(name)["layer"])
        rows += [{"kind": "single", "model": name} | row for row in compare(problem, rounds)]
    fresh = fresh_process(3 if settings.quick else 7)
    return _section(rows, fresh)


def compare(problem: Problem, rounds: int) -> list[dict[str, Any]]:
    """Measure one graph with each cost vector of the grid and as many uniform ones; a row for each.

    Raises
    ------
    DifferentOptimaError
        PyMaxflow found another optimum.
    """
    rows = []
    analysis = analyse(problem)
    grid = light.grid_costs(problem, 1)
    uniform = light.uniform_costs(problem, len(grid))
    for kind, costs in (("grid", grid), ("uniform", uniform)):
        for index, one in enumerate(costs.problems(problem)):
            timings = alternate(
                {
                    "solve": lambda one=one: solve(one),  # type: ignore[misc]
                    "dp": lambda one=one: solve(one, "dp"),  # type: ignore[misc]
                    "analysed": lambda one=one: solve(one, analysis=analysis),  # type: ignore[misc]
                    "pymaxflow": lambda one=one: flow_libraries.pymaxflow(one),  # type: ignore[misc]
                },
                rounds=rounds,
            )
            solution = solve(one, analysis=analysis)
            same_optimum(f"{kind} {index}", one, solution.value, "PyMaxflow", flow_libraries.pymaxflow(one))
            same_optimum(f"{kind} {index}", one, solution.value, "solve without analysis", solve(one).placement)
            row: dict[str, Any] = {
                "costs": kind,
                "vector": index,
                "layers": one.n_layers,
                "method": solution.method,
            }
            for name, timing in timings.items():
                row |= timing.row(name)
            rows.append(row)
    return rows


def fresh_process(repetitions: int) -> dict[str, Any]:
    """Solve one small graph in fresh processes.

    Raises
    ------
    RuntimeError
        A process failed, or loaded numba.
    """
    found = []
    for _ in range(repetitions):
        command = [sys.executable, "-c", _FRESH, str(FRESH_LAYERS)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode != 0:
            raise RuntimeError(f"a measured process failed: {done.stderr.strip()}")
        found.append(json.loads(done.stdout))
    if any(one["numba"] for one in found):
        raise RuntimeError("a single small solve in a fresh process loaded numba")
    row: dict[str, Any] = {
        "kind": "fresh process",
        "layers": FRESH_LAYERS,
        "method": found[0]["method"],
        "numba_loaded": False,
        "scipy_loaded": any(one["scipy"] for one in found),
    }
    for name in ("numpy", "import", "solve"):
        row |= Timing.of([one[f"{name}_s"] for one in found]).row(name)
    return row


def _section(rows: list[dict[str, Any]], fresh: dict[str, Any]) -> Section:
    bars, lines = [], []
    for model in MODELS:
        for kind in ("grid", "uniform"):
            chosen = [row for row in rows if row["model"] == model and row["costs"] == kind]
            middle = {
                name: Timing.of([row[f"{name}_s"] for row in chosen]).row(name)
                for name in ("solve", "dp", "analysed", "pymaxflow")
            }
            merged = {key: value for part in middle.values() for key, value in part.items()}
            lines.append(
                (
                    f"{model}, {kind}",
                    str(chosen[0]["layers"]),
                    *(spread(merged, name) for name in ("solve", "dp", "analysed", "pymaxflow")),
                    *(f"{merged[f'{name}_s'] / merged['pymaxflow_s']:.2f}" for name in ("solve", "dp", "analysed")),
                )
            )
        chosen = [row for row in rows if row["model"] == model]
        middles = {name: Timing.of([row[f"{name}_s"] for row in chosen]).median_s for name in middle}
        for name, what, limit in (
            ("solve", "nothing known before", WITH_ANALYSIS_LIMIT),
            ("dp", "with the symbolic phase", WITH_ANALYSIS_LIMIT),
            ("analysed", "symbolic phase done", ANALYSED_LIMIT),
        ):
            value = middles[name] / middles["pymaxflow"]
            bars.append(Bar(f"single warm solve over PyMaxflow, {what}: {model}", value, limit, "lower"))
    headings = ("one solve", "layers", "auto", "dp, all phases", "dp, analysed", "PyMaxflow", "ratio", "dp", "analysed")
    notes = (
        f"fresh process, {fresh['layers']} layers: import {seconds(fresh['import_s'])} after NumPy's "
        f"{seconds(fresh['numpy_s'])}, first solve {seconds(fresh['solve_s'])} by {fresh['method']}; numba not loaded",
        "one solve: medians over the cost vectors, in brackets the least and the most",
    )
    return Section(tuple(bars), (*rows, fresh), (table("One warm solve", headings, lines),), notes)
