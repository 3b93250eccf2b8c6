"""Throughput by down-sets: generated layer graphs with many down-sets, and workload files with known optima.

A generated graph is a stem, one block of parallel branches with a few links from branch to branch, and a head. The
output of the stem is one tensor that every branch reads, and a layer with a link has one tensor that two layers read.
There are six equal machines. With numpy's default generator, in this order:

- links: for each layer of a branch but its last, with the given probability one to a uniformly drawn later position in
  the next branch;
- compute times: lognormal, median 1, sigma 0.8;
- transfer times: lognormal, median 0.4, sigma 0.8, times 0.9^depth.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partition.workload import load_workload
from solvers import PipelineSolution, maximise_throughput
from solvers.contiguous_problem import PipelineProblem

N_MACHINES = 6
KNOWN_OPTIMA = {
    # Largest load by the dynamic program of the authors of the files, memory limit included.
    "bert24_inference": 17.78990625,
    "resnet50_training": 78.6318125,
    "bert_l-3_inference": 27.9185676799125,
}


@dataclass(frozen=True, slots=True)
class DownSetGraph:
    """A frozen generated graph, and the seconds that it may take."""

    name: str
    branch_lengths: tuple[int, ...]
    link_probability: float
    seed: int
    limit_s: float
    limit_without_pruning_s: float

    def problem(self) -> PipelineProblem:
        """Generate the graph and its costs."""
        rng = np.random.default_rng(self.seed)
        stem, head = 2, 2
        first = stem + np.concatenate([[0], np.cumsum(self.branch_lengths)])
        n_layers = int(first[-1]) + head
        readers: list[list[int]] = [[] for _ in range(n_layers)]
        depth = np.zeros(n_layers)
        readers[0].append(1)
        depth[1] = 1
        for number, length in enumerate(self.branch_lengths):
            chain = range(int(first[number]), int(first[number + 1]))
            depth[chain] = np.arange(length) + 2
            readers[1].append(chain[0])
            for layer in chain[:-1]:
                readers[layer].append(layer + 1)
            readers[chain[-1]].append(n_layers - 2)
        for number, length in enumerate(self.branch_lengths[:-1]):
            for position in range(length - 1):
                if rng.random() < self.link_probability and position + 1 < self.branch_lengths[number + 1]:
                    target = int(rng.integers(position + 1, self.branch_lengths[number + 1]))
                    readers[int(first[number]) + position].append(int(first[number + 1]) + target)
        readers[n_layers - 2].append(n_layers - 1)
        depth[-2:] = depth.max() + np.array([1, 2])
        compute = rng.lognormal(0.0, 0.8, n_layers)
        transfer = 0.4 * rng.lognormal(0.0, 0.8, n_layers) * 0.9**depth
        tensors = [(layer, float(transfer[layer]), readers[layer]) for layer in range(n_layers - 1)]
        return PipelineProblem.build(compute[:, None], tensors, machine_counts=[N_MACHINES])


GRAPHS = (
    DownSetGraph("18k", (5, 5, 4, 4, 4, 4), 0.1, 3, limit_s=2, limit_without_pruning_s=10),
    DownSetGraph("34k", (5, 5, 5, 5, 5, 4), 0.1, 4, limit_s=10, limit_without_pruning_s=60),
)
_QUICK = DownSetGraph("small", (4, 4, 4, 3), 0.1, 1, limit_s=2, limit_without_pruning_s=10)


def down_set_problems(quick: bool = False) -> list[tuple[DownSetGraph, PipelineProblem]]:
    """Return the generated graphs with their problems; ``quick`` leaves the largest out."""
    return [(graph, graph.problem()) for graph in (GRAPHS[:1] if quick else GRAPHS)]


def measure_down_sets(quick: bool) -> list[dict[str, Any]]:
    """Solve each generated graph with and without pruning, after one small unmeasured one.

    Returns
    -------
    list of dict
        graph, n_layers, down_sets, comparable_pairs, pairs_looked_at (with pruning), value, equal_without_pruning,
        seconds, seconds_without_pruning, limit_s, limit_without_pruning_s. Seconds are medians of 5 runs with pruning
        and of 3 without (1 if quick), from the problem to the solution.
    """
    maximise_throughput(_QUICK.problem())
    rows = []
    for graph, problem in down_set_problems(quick):
        seconds, found = _timed(problem, 5, prune=True)
        seconds_whole, whole = _timed(problem, 1 if quick else 3, prune=False)
        rows.append(
            {
                "graph": graph.name,
                "n_layers": problem.n_layers,
                "down_sets": found.n_down_sets,
                "comparable_pairs": whole.n_pairs,
                "pairs_looked_at": found.n_pairs,
                "value": found.value,
                "equal_without_pruning": bool(np.isclose(found.value, whole.value, rtol=1e-12, atol=0)),
                "seconds": seconds,
                "seconds_without_pruning": seconds_whole,
                "limit_s": graph.limit_s,
                "limit_without_pruning_s": graph.limit_without_pruning_s,
            }
        )
    return rows


def measure_workloads(folder: Path) -> list[dict[str, Any]]:
    """Solve the workload files with known optima that lie in a folder, with the machines that each file names.

    Returns
    -------
    list of dict
        workload, n_layers, accelerators, cpus, down_sets, value, known_optimum, difference, seconds (median of 5).

    Raises
    ------
    partition.InputError
        One of the files is missing or cannot be used.
    """
    maximise_throughput(_QUICK.problem())
    rows = []
    for name, optimum in KNOWN_OPTIMA.items():
        workload = load_workload(folder / f"{name}.json")
        seconds, found = _timed(workload.problem(), 5, prune=True)
        rows.append(
            {
                "workload": name,
                "n_layers": len(workload.nodes),
                "accelerators": workload.n_accelerators,
                "cpus": workload.n_cpus,
                "down_sets": found.n_down_sets,
                "value": found.value,
                "known_optimum": optimum,
                "difference": abs(found.value - optimum),
                "seconds": seconds,
            }
        )
    return rows


def _timed(problem: PipelineProblem, repetitions: int, *, prune: bool) -> tuple[float, PipelineSolution]:
    seconds = []
    for _ in range(repetitions):
        before = time.perf_counter()
        found = maximise_throughput(problem, prune=prune)
        seconds.append(time.perf_counter() - before)
    return float(np.median(seconds)), found
