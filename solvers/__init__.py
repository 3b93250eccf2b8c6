"""Exact placement of layers on machines: arrays in, a proven placement out. Knows no ONNX and no graphs library."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from solvers.analysis import Analysis, analyse
from solvers.batch import BatchSolution, solve_batch
from solvers.errors import InfeasibleError, MethodError, ProblemError, SolverError
from solvers.evaluation import Breakdown, breakdown, evaluate, stages
from solvers.problem import Problem
from solvers.solution import PipelineSolution, Solution
from solvers.solve import solve

if TYPE_CHECKING:
    from solvers.alternatives import k_best
    from solvers.contiguous import maximise_throughput
    from solvers.contiguous_problem import PipelineLoads, PipelineProblem, pipeline_loads
    from solvers.envelope import ChainLines, Envelope, Lines, chain_lines, lower_envelope
    from solvers.family import (
        Family,
        bandwidth_family,
        delay_family,
        device_load_family,
        load_family,
        seconds_per_byte,
        server_load_family,
        weighted_family,
    )
    from solvers.limits import within_deadline, within_memory
    from solvers.memory import peak_activations, within_peak_memory
    from solvers.milp import AdditiveLimit
    from solvers.objectives import Power, energy_problem, weighted
    from solvers.parametric import Breakpoints, Segment, breakpoints
    from solvers.pareto import Front, Point, pareto_front
    from solvers.pipeline import pipeline_throughput, resource_totals
    from solvers.regions import Regions, optimal_regions
    from solvers.sweeps import Margin, Refinement, Sweep, margin, refine, sweep
    from solvers.tiers import relay_links, relay_value, solve_tiers
    from solvers.uncertainty import (
        Choice,
        Distribution,
        RegretChoice,
        best_expected,
        best_for_deadline,
        best_quantile,
        minimax_regret,
        optimal_probabilities,
        regrets,
        value_of_adapting,
    )

__distribution__ = "dnn-partition"
__version__ = "0.1.0"

_HOMES = {
    "AdditiveLimit": "milp",
    "Breakpoints": "parametric",
    "ChainLines": "envelope",
    "Choice": "uncertainty",
    "Distribution": "uncertainty",
    "Envelope": "envelope",
    "Family": "family",
    "Front": "pareto",
    "Lines": "envelope",
    "Margin": "sweeps",
    "PipelineLoads": "contiguous_problem",
    "PipelineProblem": "contiguous_problem",
    "Point": "pareto",
    "Power": "objectives",
    "Refinement": "sweeps",
    "Regions": "regions",
    "RegretChoice": "uncertainty",
    "Segment": "parametric",
    "Sweep": "sweeps",
    "bandwidth_family": "family",
    "best_expected": "uncertainty",
    "best_for_deadline": "uncertainty",
    "best_quantile": "uncertainty",
    "breakpoints": "parametric",
    "chain_lines": "envelope",
    "delay_family": "family",
    "device_load_family": "family",
    "energy_problem": "objectives",
    "k_best": "alternatives",
    "load_family": "family",
    "lower_envelope": "envelope",
    "margin": "sweeps",
    "maximise_throughput": "contiguous",
    "minimax_regret": "uncertainty",
    "optimal_probabilities": "uncertainty",
    "optimal_regions": "regions",
    "pareto_front": "pareto",
    "peak_activations": "memory",
    "pipeline_loads": "contiguous_problem",
    "pipeline_throughput": "pipeline",
    "refine": "sweeps",
    "regrets": "uncertainty",
    "relay_links": "tiers",
    "relay_value": "tiers",
    "resource_totals": "pipeline",
    "seconds_per_byte": "family",
    "server_load_family": "family",
    "solve_tiers": "tiers",
    "sweep": "sweeps",
    "value_of_adapting": "uncertainty",
    "weighted": "objectives",
    "weighted_family": "family",
    "within_deadline": "limits",
    "within_memory": "limits",
    "within_peak_memory": "memory",
}

__all__ = [
    "AdditiveLimit",
    "Analysis",
    "BatchSolution",
    "Breakdown",
    "Breakpoints",
    "ChainLines",
    "Choice",
    "Distribution",
    "Envelope",
    "Family",
    "Front",
    "InfeasibleError",
    "Lines",
    "Margin",
    "MethodError",
    "PipelineLoads",
    "PipelineProblem",
    "PipelineSolution",
    "Point",
    "Power",
    "Problem",
    "ProblemError",
    "Refinement",
    "Regions",
    "RegretChoice",
    "Segment",
    "Solution",
    "SolverError",
    "Sweep",
    "__version__",
    "analyse",
    "bandwidth_family",
    "best_expected",
    "best_for_deadline",
    "best_quantile",
    "breakdown",
    "breakpoints",
    "chain_lines",
    "delay_family",
    "device_load_family",
    "energy_problem",
    "evaluate",
    "k_best",
    "load_family",
    "lower_envelope",
    "margin",
    "maximise_throughput",
    "minimax_regret",
    "optimal_probabilities",
    "optimal_regions",
    "pareto_front",
    "peak_activations",
    "pipeline_loads",
    "pipeline_throughput",
    "refine",
    "regrets",
    "relay_links",
    "relay_value",
    "resource_totals",
    "seconds_per_byte",
    "server_load_family",
    "solve",
    "solve_batch",
    "solve_tiers",
    "stages",
    "sweep",
    "value_of_adapting",
    "weighted",
    "weighted_family",
    "within_deadline",
    "within_memory",
    "within_peak_memory",
]


def __getattr__(name: str) -> Any:
    # What a single solve does not need is loaded when it is asked for.
    if name not in _HOMES:
        raise AttributeError(f"module 'solvers' has no attribute {name!r}")
    value = getattr(import_module(f"solvers.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
