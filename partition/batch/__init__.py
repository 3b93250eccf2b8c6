"""Many models, links and pairs of machines at once: one table of best cuts."""

from partition.batch.machines import ScaledMachine
from partition.batch.models import BatchModel, find_models
from partition.batch.solve import solve_each, solve_many
from partition.batch.table import BatchRow, BatchTable, ModelRows

__all__ = [
    "BatchModel",
    "BatchRow",
    "BatchTable",
    "ModelRows",
    "ScaledMachine",
    "find_models",
    "solve_each",
    "solve_many",
]
