"""Exact placement of layers on machines: arrays in, a proven placement out. Knows no ONNX and no graphs library."""

from solvers.analysis import Analysis, analyse
from solvers.batch import BatchSolution, solve_batch
from solvers.errors import InfeasibleError, MethodError, ProblemError, SolverError
from solvers.evaluation import Breakdown, breakdown, evaluate, stages
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.solve import solve

__distribution__ = "dnn-partition"
__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "BatchSolution",
    "Breakdown",
    "InfeasibleError",
    "MethodError",
    "Problem",
    "ProblemError",
    "Solution",
    "SolverError",
    "__version__",
    "analyse",
    "breakdown",
    "evaluate",
    "solve",
    "solve_batch",
    "stages",
]
