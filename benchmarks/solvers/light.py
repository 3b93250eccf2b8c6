"""The nine light topologies as solver problems, at both granularities, with frozen costs.

Device and server by roofline, from each layer's operations and memory traffic, so that no calibration file can move
the figures:

    device(v) = 20 us + operations / 5e9 per s + traffic / 2e9 bytes per s
    server(v) = device(v) / ratio;  gateway(v) = device(v) / 4

Links: the presets 3g, 4g and wifi; ratios: 2, 10, 50. The uniform costs: compute and sizes independent in [0, 1), 1
per byte. The device holds the input and wants the output. No delays and any number of visits, unless asked for.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.settings import SEED
from graph_io import light_model, load_graph, load_model
from graph_io.graph import Granularity
from partition.links import Link
from partition.problem import build_bridge
from solvers import Analysis, BatchSolution, Problem, solve_batch

FloatArray = NDArray[np.float64]

LINKS = ("3g", "4g", "wifi")
RATIOS = (2.0, 10.0, 50.0)
GATEWAY_RATIO = 4.0
GRANULARITIES: tuple[Granularity, ...] = ("layer", "node")
QUICK = ("squeezenet", "shufflenet", "densenet121")


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Many cost vectors for one graph, as `solvers.solve_batch` takes them.

    Attributes
    ----------
    compute : (B, n_layers, n_machines) float64
    per_byte : (B, n_machines, n_machines) float64
    tensor_size_bytes : (B, n_tensors) float64 or None
        None: the problem's own.
    """

    compute: FloatArray
    per_byte: FloatArray
    tensor_size_bytes: FloatArray | None

    def __len__(self) -> int:
        return len(self.compute)

    def problems(self, problem: Problem) -> list[Problem]:
        """Return the same as problems of their own on the graph of `problem`."""
        sizes = self.tensor_size_bytes
        return [
            problem.with_costs(
                compute=self.compute[index],
                per_byte=self.per_byte[index],
                tensor_size_bytes=None if sizes is None else sizes[index],
            )
            for index in range(len(self))
        ]

    def solved(self, problem: Problem, analysis: Analysis) -> BatchSolution:
        """Solve all of them as one batch."""
        return solve_batch(
            problem,
            compute=self.compute,
            per_byte=self.per_byte,
            tensor_size_bytes=self.tensor_size_bytes,
            analysis=analysis,
        )


@cache
def light_problems(name: str) -> dict[Granularity, Problem]:
    """Build one light topology at either granularity, with the link "wifi", its delays and the ratio 10."""
    model = load_model(light_model(name))
    found: dict[Granularity, Problem] = {}
    for granularity in GRANULARITIES:
        graph = load_graph(model, granularity=granularity)
        latency_s: dict[str, tuple[float, float]] = {}
        for layer in graph.nodes:
            content = graph.nodes[layer]["layer"]
            device = 2e-5 + content.flops / 5e9 + content.traffic_bytes / 2e9
            latency_s[layer] = (device, device / 10.0)
        link = Link.parse("wifi")
        bridge = build_bridge(
            graph, latency_s, link, objective="latency", output_on="device", input_bytes={}, power=None
        )
        found[granularity] = bridge.latency
    return found


def without_delays(problem: Problem) -> Problem:
    """Return the problem that a plain cut solves: no delays, any number of visits."""
    nothing = np.zeros((problem.n_machines, problem.n_machines))
    return replace(problem, delay=nothing, max_server_visits=None)


def with_gateway(problem: Problem) -> Problem:
    """Return the problem with a gateway between device and server, links half as long to either side."""
    device, server = problem.compute.T
    gateway = np.where(np.isfinite(device), device / GATEWAY_RATIO, np.inf)
    pinned = ~np.isfinite(problem.compute).all(axis=1)
    gateway[pinned] = np.inf
    nothing = np.zeros((3, 3))
    up, down = problem.per_byte[0, 1], problem.per_byte[1, 0]
    return replace(
        problem,
        compute=np.column_stack([device, gateway, server]),
        per_tensor=nothing,
        per_byte=_three_links(up, down),
        delay=nothing,
        max_server_visits=None,
    )


def grid_costs(problem: Problem, n_noisy: int) -> Costs:
    """Price every link and ratio, each with `n_noisy` device profiles: the device's times exp(0.2 z), z per layer."""
    random = np.random.default_rng([SEED, problem.n_layers])
    compute, per_byte = [], []
    for text in LINKS:
        link = Link.parse(text)
        for ratio in RATIOS:
            for _ in range(n_noisy):
                costs = problem.compute * np.exp(0.2 * random.standard_normal(problem.n_layers))[:, None]
                free = np.isfinite(costs).all(axis=1)
                costs[free, -1] = costs[free, 0] / ratio
                compute.append(costs)
                up, down = link.upload_s_per_byte, link.download_s_per_byte
                per_byte.append(
                    np.array([[0.0, up], [down, 0.0]]) if problem.n_machines == 2 else _three_links(up, down)
                )
    return Costs(np.array(compute), np.array(per_byte), None)


def uniform_costs(problem: Problem, n_vectors: int) -> Costs:
    """Draw compute and sizes from [0, 1); what is forbidden stays so, pseudo-layers cost nothing."""
    random = np.random.default_rng([SEED + 1, problem.n_layers])
    n_machines = problem.n_machines
    compute = random.random((n_vectors, problem.n_layers, n_machines))
    pinned = ~np.isfinite(problem.compute).all(axis=1)
    compute[:, pinned] = problem.compute[pinned]
    per_byte = np.broadcast_to(1.0 - np.eye(n_machines), (n_vectors, n_machines, n_machines))
    return Costs(compute, np.ascontiguousarray(per_byte), random.random((n_vectors, problem.n_tensors)))


def _three_links(up: float, down: float) -> FloatArray:
    half = 0.5
    return np.array([[0.0, half * up, up], [half * down, 0.0, half * up], [down, half * down, 0.0]])
